"""Breakers as one router process has them, with a clock that tests move."""

from __future__ import annotations

import random
import time

from prometheus_client import CollectorRegistry

from llm_router.breaker.breakers import Breakers, Permit
from llm_router.breaker.shared import RedisShare
from llm_router.errors import ProviderError, ProviderUnavailable
from llm_router.metrics import Metrics

DOWN = ProviderUnavailable("down", http_status=503)


class FakeClock:
    """Monotonic seconds that pass when told to."""

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
        """With `redis_url` the time is real, for Redis has its own; `is_patient` waits long for it."""
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.metrics = metrics = Metrics(self.registry)
        self.share = None if redis_url is None else RedisShare.connect(redis_url, metrics)
        self.breakers = Breakers(
            metrics,
            clock=self.clock if redis_url is None else time.monotonic,
            jitter=random.Random(7),
            share=self.share,
            lease_timeout_seconds=5.0 if is_patient else 0.05,
        )
        self.breakers.keep(targets)

    async def admitted(self, target: str = "t") -> Permit:
        """Return a permit that has to be given."""
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
        """Tell whether attempts are refused; gives what it was permitted back."""
        permit = await self.breakers.admit(target)
        if permit is not None:
            permit.abandoned()
        return permit is None or permit.is_probe

    async def rest(self, least: float, *, target: str = "t") -> Permit:
        """Expect that nothing is permitted for `least` seconds, and a probe after the jitter; return its permit."""
        self.clock.advance(least - 0.01)
        assert await self.breakers.admit(target) is None
        self.clock.advance(least * 0.2 + 0.01)
        permit = await self.admitted(target)
        assert permit.is_probe
        return permit

    def counted(self, name: str, **labels: str) -> float | None:
        """Return what the metric `name` says; None when there is no such series."""
        return self.registry.get_sample_value(name, labels)
