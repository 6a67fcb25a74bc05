# What the pages of the runbook use; read it into a shell first: `. runbook/env.sh`. Needs kubectl, curl and jq.
: "${NAMESPACE:=spillway}" "${RELEASE:=spillway}" "${PROMETHEUS:=http://127.0.0.1:9090}"

# kubectl in the namespace of the release.
k() { kubectl -n "$NAMESPACE" "$@"; }

# What Prometheus says now: `query 'edge_open_streams'` prints a value and its labels a line.
query() {
  curl -sSfG "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" |
    jq -r '.data.result[] | [.value[1], (.metric | to_entries | map("\(.key)=\(.value)") | join(" "))] | @tsv'
}

# The log of a component over the last 15 minutes, or longer: `logs edge 6h`. A pod that has none yet is passed over.
logs() {
  k logs -l "app.kubernetes.io/component=$1" --since="${2:-15m}" --tail=-1 --max-log-requests=50 --ignore-errors
}

# How often it said something, by fields: `told llm-router attempt_failed target reason http_status`.
told() {
  told_event=$2 told_component=$1
  shift 2
  logs "$told_component" |
    jq -rR --arg event "$told_event" \
      'fromjson? | select(.event == $event) | [.[$ARGS.positional[]] | tostring] | @tsv' --args "$@" |
    sort | uniq -c | sort -rn
}

# What one process counts, where there is no Prometheus: `figures llm-router 9101 breaker` (the edge's port is 8080).
figures() {
  k exec --pod-running-timeout=3s "deploy/$RELEASE-$1" -- python -c '
import sys, urllib.request
for line in urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=5):
    if not line.startswith(b"#") and sys.argv[2].encode() in line: sys.stdout.buffer.write(line)
' "$2" "$3"
}

# Valkey's and Postgres's own clients, where they are the chart's; with stores of your own, theirs.
valkey() { k exec --pod-running-timeout=3s "sts/$RELEASE-valkey" -- valkey-cli "$@"; }
psql() { k exec --pod-running-timeout=3s "sts/$RELEASE-postgres" -- psql -U spillway -d spillway "$@"; }

# The operator's commands of the ledger: `ledger prices missing`.
ledger() { k exec -i --pod-running-timeout=3s "deploy/$RELEASE-cost-ledger" -c cost-ledger -- python -m cost_ledger "$@"; }
