"""What the llm-router counts."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llm_router.errors import CredentialRefused, ModelMissing, ProviderRateLimited
from llm_router.routes.file import Target

_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0, 120.0)


class Metrics:
    """The collectors, registered once on the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "llm_router_attempts_total",
            "Attempts that ended, by how.",
            ["provider", "target", "outcome"],
            registry=registry,
        )
        self.retries = Counter(
            "llm_router_retries_total", "Second tries on the same target.", ["target", "reason"], registry=registry
        )
        self.fallbacks = Counter(
            "llm_router_fallbacks_total",
            "Moves to the next target of the route.",
            ["from_target", "to_target", "reason"],
            registry=registry,
        )
        self.passed_over = Counter(
            "llm_router_targets_passed_over_total",
            "Times a target was not asked in its turn because its breaker is open.",
            ["target"],
            registry=registry,
        )
        self.target_demand = Counter(
            "llm_router_target_demand_total",
            "Requests whose turn came to a target, once each: asked, passed over or out of reach, all the same.",
            ["target", "provider"],
            registry=registry,
        )
        self.hedges = Counter(
            "llm_router_hedges_total",
            "Second attempts beside a silent one, by whether they answered first: outcome won or lost.",
            ["target", "outcome"],
            registry=registry,
        )
        self.continuations = Counter(
            "llm_router_continuations_total",
            "Answers that broke off and were carried on by another target.",
            ["from_target", "to_target"],
            registry=registry,
        )
        self.requests = Counter(
            "llm_router_requests_total",
            "Requests that ended, by how.",
            ["requested_model", "outcome"],
            registry=registry,
        )
        self.all_targets_failed = Counter(
            "llm_router_all_targets_failed_total",
            "Requests that no target of the route answered.",
            ["requested_model"],
            registry=registry,
        )
        self.needs_hand = Counter(
            "llm_router_target_refusals_total",
            "Refusals that only a person can mend: credential, quota, a model that does not exist.",
            ["target", "reason"],
            registry=registry,
        )
        self.routes_reloads = Counter(
            "llm_router_routes_reloads_total",
            "Changes of the routes file or of a credential file that were seen: ok (in force) or rejected.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("ok", "rejected"):
            self.routes_reloads.labels(outcome)
        self.routes_stale = Gauge(
            "llm_router_routes_stale",
            "1 while the routes on disk are refused and older ones are in force.",
            registry=registry,
        )
        self.tls_certificate_expires = Gauge(
            "llm_router_tls_certificate_expires_timestamp_seconds",
            "When the certificate for calls between services, and its authority, end, in Unix time.",
            ["file"],
            registry=registry,
        )
        self.tls_files_stale = Gauge(
            "llm_router_tls_files_stale",
            "1 while the TLS files on disk are refused, by us or by all peers, and older ones are in force.",
            registry=registry,
        )
        self.open_streams = Gauge("llm_router_open_streams", "Streams that are running.", registry=registry)
        self.time_to_first_chunk = Histogram(
            "llm_router_time_to_first_chunk_seconds",
            "From the start of an attempt to its first content.",
            ["target"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.breaker_open = Gauge(
            "llm_router_breaker_open",
            "1 while the target's breaker is open and requests pass it by, else 0.",
            ["target"],
            registry=registry,
        )
        self.breaker_openings = Counter(
            "llm_router_breaker_openings_total",
            "Breakers that this process opened; what it learned from others is counted there.",
            ["target", "reason"],
            registry=registry,
        )
        self.breaker_probes = Counter(
            "llm_router_breaker_probes_total",
            "Probes of targets whose breaker was open, by outcome: ok, failed, abandoned.",
            ["target", "outcome"],
            registry=registry,
        )
        self.breaker_share_failures = Counter(
            "llm_router_breaker_share_failures_total",
            "Exchanges of breaker states over Redis that failed; meanwhile this process goes by what it sees itself.",
            registry=registry,
        )

    def show(self, models: Iterable[str], targets: Iterable[Target]) -> None:
        """Show what is counted of these from now on, be it 0.

        A series that begins with 1 has never risen for Prometheus: the first request would wake nobody up.
        """
        for model in models:
            self.all_targets_failed.labels(model)
        for target in targets:
            self.target_demand.labels(target.name, target.provider)
            for error in (CredentialRefused, ModelMissing):
                self.needs_hand.labels(target.name, error.code)
            for reason in ("failure_ratio", CredentialRefused.code, ProviderRateLimited.code):
                self.breaker_openings.labels(target.name, reason)
            for outcome in ("ok", "failed", "abandoned"):
                self.breaker_probes.labels(target.name, outcome)
            for outcome in ("won", "lost"):
                self.hedges.labels(target.name, outcome)
