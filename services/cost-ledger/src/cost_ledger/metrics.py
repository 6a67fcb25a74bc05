"""What the ledger counts."""

from __future__ import annotations

from servicekit.loop_lag import BUCKETS as LAG_BUCKETS
from servicekit.metrics import MetricTable, counter, gauge, histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500)
_OUTCOMES = ("recorded", "duplicate")
_PROVIDERS = ("openai", "anthropic", "vllm")


class Metrics(MetricTable):
    """The ledger's collectors."""

    admitted_events = counter(
        "cost_ledger_admitted_events_total",
        "Admitted events that were recorded, or found recorded (duplicate).",
        "outcome",
        present=_OUTCOMES,
    )
    settled_events = counter(
        "cost_ledger_settled_events_total",
        "Settled events that were recorded, or found recorded (duplicate).",
        "outcome",
        present=_OUTCOMES,
    )
    loop_lag = histogram(
        "cost_ledger_event_loop_lag_seconds",
        "How late the event loop gets to what is due, measured ten times a second.",
        buckets=LAG_BUCKETS,
    )
    dead_letters = counter(
        "cost_ledger_dead_letters_total",
        "Entries moved to the dead-letter stream.",
        "reason",
        present=("unreadable", "invalid", "refused"),
    )
    cost_usd = counter(
        "cost_ledger_cost_usd_total",
        "Cost of the attempts recorded, in USD as a float: for alerts and graphs; the tables have it exactly.",
        "provider",
        present=_PROVIDERS,
    )
    unpriced_attempts = counter(
        "cost_ledger_unpriced_attempts_total",
        "Attempts recorded with usage but without a price.",
        "provider",
        present=_PROVIDERS,
    )
    unsettled_requests = counter(
        "cost_ledger_unsettled_requests_total", "Requests marked unsettled because their end did not come in time."
    )
    database_errors = counter(
        "cost_ledger_database_errors_total",
        "Failed database operations, retried by the consumer or answered UNAVAILABLE.",
    )
    stream_errors = counter("cost_ledger_stream_errors_total", "Failed calls to Redis that the consumer retries.")
    batch_events = histogram("cost_ledger_batch_events", "Events per batch.", buckets=_EVENTS)
    batch_seconds = histogram(
        "cost_ledger_batch_seconds", "From a batch's first statement to its commit.", buckets=_SECONDS
    )
    lag_seconds = histogram(
        "cost_ledger_lag_seconds", "From an event's occurrence to its commit.", buckets=_LAG_SECONDS
    )
    backlog_events = gauge("cost_ledger_backlog_events", "Entries of the stream that are not recorded yet.")
    oldest_event_seconds = gauge(
        "cost_ledger_oldest_event_seconds",
        "How long the oldest entry that is not recorded has been on the stream; 0 when there is none.",
    )
    dead_letter_events = gauge("cost_ledger_dead_letter_events", "Entries of the dead-letter stream.")
    sweeps_put_off = counter(
        "cost_ledger_sweeps_put_off_total",
        "Sweeps for unsettled requests that were postponed because their ends may still be on the stream.",
    )
    budget_publish_failures = counter(
        "cost_ledger_budget_publish_failures_total",
        "Failed publications of budgets and their figures to Redis; what they lack is published by the next one.",
    )
    key_publish_failures = counter(
        "cost_ledger_key_publish_failures_total",
        "Failed publications of API keys to Redis; what they lack is published by the next one.",
    )
    captures = counter(
        "cost_ledger_captures_total",
        "Captured texts that edges sent, by what became of them; those of tenants that do not want it are not stored.",
        "outcome",
        present=("recorded", "duplicates", "unwanted"),
    )
    captures_expired = counter(
        "cost_ledger_captures_expired_total", "Captured texts deleted because their time was over."
    )
    partitions_ahead = gauge("cost_ledger_partitions_ahead", "Months after the current one that have their partitions.")
    oldest_partition = gauge(
        "cost_ledger_oldest_partition_timestamp_seconds", "When the oldest month that is kept began, in Unix time."
    )
    partitions_dropped = counter(
        "cost_ledger_partitions_dropped_total", "Partitions dropped because their retention was over."
    )
    partitions_put_off = counter(
        "cost_ledger_partitions_put_off_total",
        "Times that creating or dropping partitions was postponed because of a long transaction.",
    )
    calls_refused = counter(
        "cost_ledger_calls_refused_total",
        "Calls of callers that did not show the token, or another one.",
        "reason",
        present=("token_missing", "token_wrong"),
    )
    log_lines_lost = counter(
        "cost_ledger_log_lines_lost_total",
        "Log lines that could not be written: the disk was full, or their reader had gone or was too slow.",
    )
    tls_certificate_expires = gauge(
        "cost_ledger_tls_certificate_expires_timestamp_seconds",
        "When the certificate for calls between services, and its authority, end, in Unix time.",
        "file",
    )
    tls_files_stale = gauge(
        "cost_ledger_tls_files_stale",
        "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
    )
