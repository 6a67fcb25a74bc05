"""What the edge counts."""

from __future__ import annotations

from servicekit.loop_lag import BUCKETS as LAG_BUCKETS
from servicekit.metrics import MetricTable, counter, gauge, histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)


class Metrics(MetricTable):
    """The edge's collectors."""

    requests = counter(
        "edge_requests_total",
        "Chat and embedding requests that ended, by outcome.",
        "requested_model",
        "outcome",
        "cache_status",
    )
    refusals = counter(
        "edge_refusals_total",
        "Chat and embedding requests refused before anything was spent, by error code.",
        "reason",
        present=("router_unavailable", "overloaded", "spend_unrecordable", "internal_error"),
    )
    stream_ends = counter(
        "edge_stream_ends_total",
        "Streams that ended, by terminal frame: ok, error; client_cancelled: the client left; cut: no terminal frame.",
        "outcome",
        present=("ok", "error", "client_cancelled", "cut"),
    )
    http_responses = counter("edge_http_responses_total", "HTTP responses of all endpoints.", "method", "code")
    open_connections = gauge("edge_open_connections", "Connections of clients, busy and idle.")
    connections_refused = counter(
        "edge_connections_refused_total",
        "Connections refused because there were too many: from one address, or in total.",
        "reason",
        present=("address", "total"),
    )
    bad_requests = counter(
        "edge_bad_requests_total",
        "Requests that ended their connection before any endpoint answered: not HTTP/1.1, too large, or too slow.",
        "reason",
        present=("malformed", "host", "framing", "too_large", "head_timeout", "body_timeout", "nothing_sent"),
    )
    slow_clients = counter(
        "edge_slow_clients_total",
        "Connections that were cut because their client did not take its answer: in time, or while memory was short.",
        "reason",
        present=("stalled", "memory"),
    )
    time_to_first_token = histogram(
        "edge_time_to_first_token_seconds",
        "From the acceptance of a request to its first content frame.",
        "cache_status",
        buckets=_SECONDS,
    )
    duration = histogram(
        "edge_request_duration_seconds",
        "From the acceptance of a chat or embedding request to its end.",
        "outcome",
        buckets=_SECONDS,
    )
    checks_skipped = counter(
        "edge_checks_skipped_total", "Checks that let a request pass unchecked because Redis was unavailable."
    )
    idempotency_skipped = counter(
        "edge_idempotency_skipped_total",
        "Requests with an Idempotency-Key whose key was not looked up, or whose answer was not kept, without Redis.",
    )
    limits_exceeded = counter(
        "edge_limits_exceeded_total", "Requests refused by a limit, by its name and unit.", "limit", "unit"
    )
    limits_exceeded_in_shadow = counter(
        "edge_limits_exceeded_in_shadow_total",
        "Requests that a limit in shadow mode would have refused.",
        "limit",
        "unit",
    )
    limits_decided_alone = counter(
        "edge_limits_decided_alone_total",
        "Requests held to this edge's own part of their limits because Redis was unavailable.",
    )
    budget_requests = counter(
        "edge_budget_requests_total",
        "Requests whose budget is nearly or wholly used up, by its name, who has it apart and what became of them: "
        "`nearly_exhausted` and `warn` (nothing), `economy`, `emergency`, `stopped`.",
        "budget",
        "each",
        "action",
    )
    budgets_stale = gauge(
        "edge_budgets_stale", "1 while what the ledger publishes cannot be read and older budgets are in force."
    )
    limits_stale = gauge(
        "edge_limits_stale", "1 while the limits file on disk is refused and the limits of an older one are in force."
    )
    open_streams = gauge("edge_open_streams", "Chat and embedding requests in progress.")
    loop_lag = histogram(
        "edge_event_loop_lag_seconds",
        "How late the event loop gets to what is due, measured ten times a second.",
        buckets=LAG_BUCKETS,
    )
    bodies_read_here = counter(
        "edge_bodies_read_here_total",
        "Long bodies read by the edge's own process, for want of one of their own; they hold up its streams.",
    )
    stops_unanswered = counter(
        "edge_stops_unanswered_total",
        "Calls that were cancelled because their router did not accept or act on the request to stop.",
    )
    cache_bypasses = counter(
        "edge_cache_bypasses_total", "Requests that bypassed the response cache.", "reason", present=("cache_error",)
    )
    cache_unusable_entries = counter(
        "edge_cache_unusable_entries_total",
        "Entries of the response cache that were damaged, or no answer to their request, and counted as misses.",
    )
    unquoted_attempts = counter(
        "edge_unquoted_attempts_total",
        "Attempts whose cost could not be quoted because no price was known.",
        "provider",
    )
    cost_events_spooled = counter(
        "edge_cost_events_spooled_total", "Cost events written to the spool because Redis was unavailable."
    )
    cost_events_lost = counter(
        "edge_cost_events_lost_total",
        "Settled events that neither Redis nor the spool accepted; the ledger shows those requests as unsettled.",
    )
    cost_events_resent = counter(
        "edge_cost_events_resent_total",
        "Cost events sent to Redis again because it restarted after it had accepted them.",
    )
    spool_depth = gauge("edge_spool_events", "Cost events waiting in the spool.")
    price_book_failures = counter(
        "edge_price_book_failures_total", "Failed refreshes of the price book; quotes then use the last one."
    )
    guardrail_findings = counter(
        "edge_guardrail_findings_total",
        "Requests in which a rule of the guardrails has found something, by what the policy does about it.",
        "rule",
        "action",
        "side",
    )
    guardrail_data_marked = counter(
        "edge_guardrail_data_marked_total",
        "Requests in which results of tools or documents were marked as data.",
    )
    guardrail_format_unchecked = counter(
        "edge_guardrail_format_unchecked_total",
        "Answers that went out although nobody could say whether they fit the schema of their request.",
        "reason",
        present=("schema", "busy", "too_long"),
    )
    guardrail_webhook_failures = counter(
        "edge_guardrail_webhook_failures_total",
        "Requests about which a webhook of the guardrails said nothing, by what became of them.",
        "rule",
        "reason",
        "request",
    )
    guardrails_stale = gauge(
        "edge_guardrails_stale", "1 while the guardrail policy on disk is refused and an older one is in force."
    )
    captures = counter(
        "edge_captures_total",
        "Captured texts that the ledger was sent; those of tenants that have just turned it off are not stored.",
        "outcome",
        present=("recorded", "unwanted"),
    )
    captures_dropped = counter(
        "edge_captures_dropped_total",
        "Texts that were to be captured and are not, by what was missing: a key, room, time, the ledger.",
        "reason",
        present=("no_key", "queue_full", "unreadable", "ledger_unavailable", "refused", "shutdown"),
    )
    capture_tenants_unknown = counter(
        "edge_capture_tenants_unknown_total",
        "Times that the ledger did not say whose texts are captured; what it said last stays.",
    )
    capture_keys_stale = gauge(
        "edge_capture_keys_stale", "1 while the file of the capture keys is refused and an older one is in force."
    )
    keys_stale = gauge(
        "edge_keys_stale", "1 while the key file on disk is refused and the keys of an older one are in force."
    )
    tokens_refused = counter(
        "edge_tokens_refused_total",
        "Tokens (JWT) that were not taken, by what is wrong with them.",
        "reason",
    )
    jwks_failures = counter(
        "edge_jwks_failures_total",
        "Times that the keys of an issuer of tokens could not be read; its last ones stay in force.",
        "issuer",
    )
    issuers_stale = gauge(
        "edge_jwt_issuers_stale",
        "1 while the file of the issuers of tokens is refused and those of an older one are in force.",
    )
    account_keys = gauge("edge_account_keys", "API keys of the ledger that this edge has in memory.")
    account_keys_current = gauge(
        "edge_account_keys_current_timestamp_seconds",
        "When the ledger, or Redis for it, last said that no key has changed since, in Unix time; 0: never.",
    )
    account_keys_fallbacks = counter(
        "edge_account_keys_fallbacks_total",
        "Times that the ledger did not tell of changes of keys: Redis did, or nobody did and what is in memory stays.",
        "source",
        present=("redis", "memory"),
    )
    account_keys_unusable = counter(
        "edge_account_keys_unusable_total",
        "Keys of the ledger that this edge cannot take: hashed with a pepper that it does not have, or one too many.",
        "reason",
        present=("pepper", "too_many"),
    )
    log_lines_lost = counter(
        "edge_log_lines_lost_total",
        "Log lines that could not be written: the disk was full, or their reader had gone or was too slow.",
    )
    tls_certificate_expires = gauge(
        "edge_tls_certificate_expires_timestamp_seconds",
        "When the certificate for calls between services, and its authority, expire, in Unix time.",
        "file",
    )
    tls_files_stale = gauge(
        "edge_tls_files_stale",
        "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
    )
