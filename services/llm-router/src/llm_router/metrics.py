"""What the llm-router counts."""

from __future__ import annotations

from collections.abc import Iterable

from llm_router.errors import CredentialRefused, ModelMissing, ProviderRateLimited, TargetMoved
from llm_router.target import Target
from servicekit.loop_lag import BUCKETS as LAG_BUCKETS
from servicekit.metrics import MetricTable, counter, gauge, histogram

_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0, 120.0, 300.0, 900.0)


class Metrics(MetricTable):
    """The router's collectors."""

    requests = counter("llm_router_requests_total", "Requests that ended, by outcome.", "requested_model", "outcome")
    all_targets_failed = counter(
        "llm_router_all_targets_failed_total", "Requests that no target of the route answered.", "requested_model"
    )
    stops_refused = counter(
        "llm_router_stops_refused_total", "Requests to stop a call that did not present the secret of its caller."
    )
    open_streams = gauge("llm_router_open_streams", "Streams in progress.")
    loop_lag = histogram(
        "llm_router_event_loop_lag_seconds",
        "How late the event loop gets to what is due, measured ten times a second.",
        buckets=LAG_BUCKETS,
    )
    attempts = counter("llm_router_attempts_total", "Attempts that ended, by outcome.", "provider", "target", "outcome")
    time_to_first_chunk = histogram(
        "llm_router_time_to_first_chunk_seconds",
        "From the start of an attempt to its first content.",
        "target",
        buckets=_SECONDS,
    )
    usage_disagreements = counter(
        "llm_router_usage_disagreements_total",
        "Attempts whose total_tokens is not the sum of the counts it is made of.",
        "provider",
        "target",
    )
    retries = counter("llm_router_retries_total", "Second attempts at the same target.", "target", "reason")
    fallbacks = counter(
        "llm_router_fallbacks_total", "Moves to the next target of the route.", "from_target", "to_target", "reason"
    )
    hedges = counter(
        "llm_router_hedges_total",
        "Second attempts started beside a silent one, by outcome: won (it answered first) or lost.",
        "target",
        "outcome",
    )
    continuations = counter(
        "llm_router_continuations_total",
        "Answers that broke off and were continued by another target.",
        "from_target",
        "to_target",
    )
    passed_over = counter(
        "llm_router_targets_passed_over_total",
        "Times a target was skipped in its turn because its breaker is open.",
        "target",
    )
    target_demand = counter(
        "llm_router_target_demand_total",
        "Requests whose turn came to a target, counted once each, whether it was asked, skipped or unreachable.",
        "target",
        "provider",
    )
    target_refusals = counter(
        "llm_router_target_refusals_total",
        "Refusals that need an operator: credential, quota, a model that does not exist, an address that has moved.",
        "target",
        "reason",
    )
    breaker_open = gauge(
        "llm_router_breaker_open", "1 while the target's breaker is open and requests skip it, else 0.", "target"
    )
    breaker_openings = counter(
        "llm_router_breaker_openings_total",
        "Breakers opened by this process; openings learned from another process are counted by that one.",
        "target",
        "reason",
    )
    breaker_probes = counter(
        "llm_router_breaker_probes_total",
        "Probes of targets whose breaker was open, by outcome: ok, failed, abandoned.",
        "target",
        "outcome",
    )
    breaker_share_failures = counter(
        "llm_router_breaker_share_failures_total",
        "Failed exchanges of breaker states over Redis; until one succeeds this process goes by its own attempts.",
    )
    routes_reloads = counter(
        "llm_router_routes_reloads_total",
        "Changes of the routes file or of a credential file, by outcome: ok (in force) or rejected.",
        "outcome",
        present=("ok", "rejected"),
    )
    routes_stale = gauge(
        "llm_router_routes_stale", "1 while the routes on disk are refused and older ones are in force."
    )
    calls_refused = counter(
        "llm_router_calls_refused_total",
        "Calls of callers that did not show the token, or another one, and calls that were too many or too long.",
        "reason",
        present=("token_missing", "token_wrong", "too_many_calls", "too_many_bytes"),
    )
    log_lines_lost = counter(
        "llm_router_log_lines_lost_total",
        "Log lines that could not be written: the disk was full, or their reader had gone or was too slow.",
    )
    tls_certificate_expires = gauge(
        "llm_router_tls_certificate_expires_timestamp_seconds",
        "When the certificate for calls between services, and its authority, expire, in Unix time.",
        "file",
    )
    tls_files_stale = gauge(
        "llm_router_tls_files_stale",
        "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
    )

    def export_zeros(self, models: Iterable[str], targets: Iterable[Target]) -> None:
        """Export the series of these models and targets that an alert or a panel watches, from now on.

        Prometheus sees no increase in a series that begins with 1, so the first event would go unnoticed.
        """
        for model in models:
            self.all_targets_failed.labels(model)
        for target in targets:
            self.target_demand.labels(target.name, target.billed_by.name)
            self.usage_disagreements.labels(target.billed_by.name, target.name)
            for error in (CredentialRefused, ModelMissing, TargetMoved):
                self.target_refusals.labels(target.name, error.code)
            for reason in ("failure_ratio", CredentialRefused.code, ProviderRateLimited.code, TargetMoved.code):
                self.breaker_openings.labels(target.name, reason)
            for outcome in ("ok", "failed", "abandoned"):
                self.breaker_probes.labels(target.name, outcome)
            for outcome in ("won", "lost"):
                self.hedges.labels(target.name, outcome)
