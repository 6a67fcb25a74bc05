# Functions that the runbook pages use. Source it first: `. runbook/env.sh`. Needs kubectl, curl and jq.
: "${NAMESPACE:=spillway}" "${RELEASE:=spillway}" "${PROMETHEUS:=http://127.0.0.1:9090}"

# kubectl in the namespace of the release.
k() { kubectl -n "$NAMESPACE" "$@"; }

# Query Prometheus: `query 'edge_open_streams'` prints one line per series, the value and its labels.
query() {
  curl -sSfG "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" |
    jq -r '.data.result[] | [.value[1], (.metric | to_entries | map("\(.key)=\(.value)") | join(" "))] | @tsv'
}

# Print the log of a component for the last 15 minutes, or longer: `logs edge 6h`. Pods without a log are skipped.
logs() {
  k logs -l "app.kubernetes.io/component=$1" --since="${2:-15m}" --tail=-1 --max-log-requests=50 --ignore-errors
}

# Count a component's log events by fields: `count_events llm-router attempt_failed target reason http_status`.
count_events() {
  count_events_component=$1 count_events_event=$2
  shift 2
  logs "$count_events_component" |
    jq -rR --arg event "$count_events_event" \
      'fromjson? | select(.event == $event) | [.[$ARGS.positional[]] | tostring] | @tsv' --args "$@" |
    sort | uniq -c | sort -rn
}

# Read the metrics of one process, without Prometheus: `metrics llm-router 9101 breaker` (the edge's port is 9103, the ledger's 9102).
metrics() {
  k exec --pod-running-timeout=3s "deploy/$RELEASE-$1" -- python -c '
import sys, urllib.request
for line in urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=5):
    if not line.startswith(b"#") and sys.argv[2].encode() in line: sys.stdout.buffer.write(line)
' "$2" "$3"
}

# The clients of the chart's Valkey and Postgres. With stores of your own, replace these two.
valkey() { k exec --pod-running-timeout=3s "sts/$RELEASE-valkey" -- valkey-cli "$@"; }
psql() { k exec --pod-running-timeout=3s "sts/$RELEASE-postgres" -- psql -U spillway -d spillway "$@"; }

# Run one of the ledger's operator commands: `ledger prices missing`.
ledger() { k exec -i --pod-running-timeout=3s "deploy/$RELEASE-cost-ledger" -c cost-ledger -- python -m cost_ledger "$@"; }
