"""The breakers of one router process, with a clock that tests move."""

from __future__ import annotations

import random
import time

from prometheus_client import CollectorRegistry

from llm_router.breaker.breakers import Breakers
from llm_router.breaker.permit import Permit
from llm_router.breaker.shared import SharedBreakerState
from llm_router.errors import ProviderError, ProviderUnavailable
from llm_router.metrics import Metrics

DOWN = ProviderUnavailable("down", http_status=503)


class FakeClock:
    """Monotonic seconds that pass when a test advances them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Pod:
    """The breakers of one router process and what it counts."""

    def __init__(
        self, redis_url: str | None = None, *, targets: tuple[str, ...] = ("t",), is_patient: bool = True
    ) -> None:
        """With `redis_url` the time is real, since Redis has its own; `is_patient` waits long for its replies."""
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.metrics = metrics = Metrics(self.registry)
        rng = random.Random(7)
        self.shared = None if redis_url is None else SharedBreakerState.connect(redis_url, metrics, rng)
        self.breakers = Breakers(
            metrics,
            clock=self.clock if redis_url is None else time.monotonic,
            rng=rng,
            shared=self.shared,
            lease_timeout_seconds=5.0 if is_patient else 0.05,
        )
        self.breakers.keep(dict.fromkeys(targets, ""))

    async def admitted(self, target: str = "t") -> Permit:
        """Return a permit; fails when none is given."""
        permit = await self.breakers.admit(target)
        assert permit is not None
        return permit

    async def fails(self, times: int, error: ProviderError = DOWN, *, target: str = "t") -> None:
        """Let `times` permitted attempts fail."""
        for _ in range(times):
            (await self.admitted(target)).failed(error)

    async def succeeds(self, times: int, *, target: str = "t") -> None:
        """Let `times` permitted attempts succeed."""
        for _ in range(times):
            (await self.admitted(target)).succeeded()

    async def is_open(self, target: str = "t") -> bool:
        """Return whether attempts are refused; a permit that was given is abandoned."""
        permit = await self.breakers.admit(target)
        if permit is not None:
            permit.abandoned()
        return permit is None or permit.is_probe

    async def rest(self, least: float, *, target: str = "t") -> Permit:
        """Expect no permit for `least` seconds, and one for a probe after the jitter; return it."""
        self.clock.advance(least - 0.01)
        assert await self.breakers.admit(target) is None
        self.clock.advance(least * 0.2 + 0.01)
        permit = await self.admitted(target)
        assert permit.is_probe
        return permit

    def counted(self, name: str, **labels: str) -> float | None:
        """Return the value of the metric `name`; None when there is no such series."""
        return self.registry.get_sample_value(name, labels)
