"""The permission for one attempt on a target."""

from __future__ import annotations

from types import TracebackType

from llm_router.breaker.breaker import Breaker
from llm_router.errors import ProviderError
from llm_router.metrics import Metrics


class Permit:
    """Permits one attempt, which ends once: `succeeded`, `failed` or `abandoned`; what comes later is ignored.

    Used as a context manager, an attempt that did not end in it is abandoned. No method raises or waits.
    """

    def __init__(self, breaker: Breaker, metrics: Metrics, *, closes: bool = False, probe: str = "") -> None:
        """`closes`: content from the target closes the breaker. `probe`: the token of the lease it runs on."""
        self._breaker = breaker
        self._metrics = metrics
        self._closes = closes
        self._probe = probe
        self._generation = breaker.generation
        self._is_over = False
        self.is_probe = bool(probe)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandoned()

    def mark_alive(self) -> None:
        """Report content: the verdict of a probe. The attempt goes on, and its end is counted as any other."""
        if not self._is_over:
            self._mark_healthy()

    def succeeded(self) -> None:
        """Report a whole answer."""
        if self._is_over:
            return
        self._mark_healthy()
        self._is_over = True
        self._breaker.count(None, self._generation)

    def failed(self, error: ProviderError) -> None:
        """Report why there is no whole answer; an error that is not the target's fault is counted neither way."""
        if self._is_over:
            return
        if error.target_is_healthy:
            self._mark_healthy()
        if not error.blames_target:
            self.abandoned()
            return
        self._is_over = True
        if not self._probe:
            self._breaker.count(error, self._generation)
            return
        if self._breaker.is_open and self._breaker.generation == self._generation:
            self._breaker.fail_probe(error)
        self._end_probe("failed")

    def abandoned(self) -> None:
        """Report that it was given up for reasons other than the target: cancelled, or out of time."""
        if self._is_over:
            return
        self._is_over = True
        if self._probe:
            self._end_probe("abandoned")

    def _mark_healthy(self) -> None:
        if not self._closes:
            return
        self._closes = False
        self._generation = self._breaker.mark_healthy()
        if self._probe:
            self._end_probe("ok")

    def _end_probe(self, outcome: str) -> None:
        self._breaker.probe.end(self._probe)
        self._probe = ""
        self._metrics.breaker_probes.labels(self._breaker.target, outcome).inc()
