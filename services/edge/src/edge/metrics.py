"""What the edge counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The collectors, registered once on the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "edge_requests_total",
            "Requests for chat and for embeddings that ended, by how.",
            ["requested_model", "outcome", "cache_status"],
            registry=registry,
        )
        self.refusals = Counter(
            "edge_refusals_total",
            "Requests for chat and for embeddings that were refused before anything was spent, by the error's code.",
            ["reason"],
            registry=registry,
        )
        self.stream_ends = Counter(
            "edge_stream_ends_total",
            "Streams that ended, by the last frame: ok or error; client_cancelled: nobody read on; cut: no such frame.",
            ["outcome"],
            registry=registry,
        )
        self.http_responses = Counter(
            "edge_http_responses_total",
            "HTTP responses of all endpoints.",
            ["method", "code"],
            registry=registry,
        )
        self.time_to_first_token = Histogram(
            "edge_time_to_first_token_seconds",
            "From the acceptance of a request to its first content frame.",
            ["cache_status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.duration = Histogram(
            "edge_request_duration_seconds",
            "From the acceptance of a request for chat or embeddings to its end.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.open_streams = Gauge("edge_open_streams", "Chat requests that are running.", registry=registry)
        self.stops_unanswered = Counter(
            "edge_stops_unanswered_total",
            "Calls that were cancelled because their router did not take, or not follow, the request to stop.",
            registry=registry,
        )
        self.cache_bypasses = Counter(
            "edge_cache_bypasses_total", "Requests that passed by the response cache.", ["reason"], registry=registry
        )
        self.unquoted_attempts = Counter(
            "edge_unquoted_attempts_total",
            "Attempts whose cost could not be quoted because no price was known.",
            ["provider"],
            registry=registry,
        )
        self.cost_events_spooled = Counter(
            "edge_cost_events_spooled_total",
            "Cost events that went to the spool because Redis was away.",
            registry=registry,
        )
        self.cost_events_lost = Counter(
            "edge_cost_events_lost_total",
            "Settled events that neither Redis nor the spool took; the ledger shows those requests as unsettled.",
            registry=registry,
        )
        self.cost_events_told_again = Counter(
            "edge_cost_events_told_again_total",
            "Cost events that Redis had taken and was told again because it was started since.",
            registry=registry,
        )
        self.spool_depth = Gauge("edge_spool_events", "Cost events that wait in the spool.", registry=registry)
        self.price_book_failures = Counter(
            "edge_price_book_failures_total",
            "Refreshes of the price book that failed; quotes then use the last one.",
            registry=registry,
        )
        self.tls_certificate_expires = Gauge(
            "edge_tls_certificate_expires_timestamp_seconds",
            "When the certificate for calls between services, and its authority, end, in Unix time.",
            ["file"],
            registry=registry,
        )
        self.tls_files_stale = Gauge(
            "edge_tls_files_stale",
            "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
            registry=registry,
        )
        # Present from the start, so that an alert on an increase sees the first one.
        for reason in ("router_unavailable", "spend_unrecordable", "internal_error"):
            self.refusals.labels(reason)
        for outcome in ("ok", "error", "client_cancelled", "cut"):
            self.stream_ends.labels(outcome)
        self.cache_bypasses.labels("cache_error")
