"""What the ledger counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)


class LedgerMetrics:
    """The ledger's collectors, on the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`outcome` is `recorded` or `duplicate`; `reason` is the kind of a PoisonedEvent."""
        self.admitted_events = Counter(
            "cost_ledger_admitted_events_total",
            "Admitted events recorded, or found recorded.",
            ["outcome"],
            registry=registry,
        )
        self.settled_events = Counter(
            "cost_ledger_settled_events_total",
            "Settled events recorded, or found recorded.",
            ["outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "cost_ledger_dead_letters_total",
            "Entries moved to the dead-letter stream.",
            ["reason"],
            registry=registry,
        )
        self.cost_usd = Counter(
            "cost_ledger_cost_usd_total",
            "Cost of the attempts recorded, in USD as a float: for alerts and graphs; the tables have it exactly.",
            ["provider"],
            registry=registry,
        )
        self.unpriced_attempts = Counter(
            "cost_ledger_unpriced_attempts_total",
            "Attempts recorded with usage but without a price.",
            ["provider"],
            registry=registry,
        )
        self.unsettled_requests = Counter(
            "cost_ledger_unsettled_requests_total",
            "Requests whose end did not come in time.",
            registry=registry,
        )
        self.database_errors = Counter(
            "cost_ledger_database_errors_total",
            "Failed database work that is tried again or answered UNAVAILABLE.",
            registry=registry,
        )
        self.stream_errors = Counter(
            "cost_ledger_stream_errors_total", "Failed calls to Redis, tried again.", registry=registry
        )
        self.batch_events = Histogram(
            "cost_ledger_batch_events",
            "Events per batch.",
            buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "cost_ledger_batch_seconds",
            "From a batch's first statement to its commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag_seconds = Histogram(
            "cost_ledger_lag_seconds",
            "From an event's occurrence to its commit.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self.backlog_events = Gauge(
            "cost_ledger_backlog_events", "Entries of the stream not yet recorded.", registry=registry
        )
        self.oldest_event_seconds = Gauge(
            "cost_ledger_oldest_event_seconds",
            "How long the oldest entry that is not recorded has been on the stream; 0 when there is none.",
            registry=registry,
        )
        self.dead_letter_events = Gauge(
            "cost_ledger_dead_letter_events", "Entries of the dead-letter stream.", registry=registry
        )
        self.sweeps_put_off = Counter(
            "cost_ledger_sweeps_put_off_total",
            "Times that requests without an end were not given up because ends may still be on the stream.",
            registry=registry,
        )
        self.partitions_ahead = Gauge(
            "cost_ledger_partitions_ahead",
            "Months after the current one that have their partitions.",
            registry=registry,
        )
        self.oldest_partition = Gauge(
            "cost_ledger_oldest_partition_timestamp_seconds",
            "When the oldest month that is kept began, in Unix time.",
            registry=registry,
        )
        self.partitions_dropped = Counter(
            "cost_ledger_partitions_dropped_total", "Partitions dropped because their time was over.", registry=registry
        )
        self.partitions_put_off = Counter(
            "cost_ledger_partitions_put_off_total",
            "Times that a long transaction was in the way of making or dropping partitions.",
            registry=registry,
        )
        self.tls_certificate_expires = Gauge(
            "cost_ledger_tls_certificate_expires_timestamp_seconds",
            "When the certificate for calls between services, and its authority, end, in Unix time.",
            ["file"],
            registry=registry,
        )
        self.tls_files_stale = Gauge(
            "cost_ledger_tls_files_stale",
            "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
            registry=registry,
        )
        # Present from the start, so that an alert on an increase sees the first one.
        for reason in ("unreadable", "invalid", "refused"):
            self.dead_letters.labels(reason)
        for provider in ("openai", "anthropic", "vllm"):
            self.unpriced_attempts.labels(provider)
            self.cost_usd.labels(provider)
        for outcome in ("recorded", "duplicate"):
            self.admitted_events.labels(outcome)
            self.settled_events.labels(outcome)
