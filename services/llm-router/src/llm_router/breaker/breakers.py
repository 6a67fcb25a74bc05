"""The breakers of all targets of this process, and the permits that the chain needs from them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

from llm_router.breaker.breaker import Breaker
from llm_router.breaker.permit import Permit
from llm_router.breaker.shared import SharedBreakerState
from llm_router.metrics import Metrics
from servicekit.lifecycle import repeat

# Within this time a router in use learns what others have seen.
_BUSY_INTERVAL_SECONDS = 0.2
_IDLE_INTERVAL_SECONDS = 1.0
_IDLE_AFTER_SECONDS = 30.0


class Breakers:
    """One per process. Permits cost no await while a breaker is closed or at rest."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        shared: SharedBreakerState | None = None,
        lease_timeout_seconds: float = 0.05,
    ) -> None:
        """`clock` gives monotonic seconds. With `shared`, `keep_shared` has to run beside the requests.

        A request waits at most `lease_timeout_seconds` for the lease of a probe; if Redis is slower, this process
        probes by itself. An exchange in the background may take five times as long.
        """
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._shared = shared
        self._lease_timeout = lease_timeout_seconds
        self._exchange_timeout = 5 * lease_timeout_seconds
        self._breakers: dict[str, Breaker] = {}
        self._has_news = asyncio.Event()
        self._last_used = clock()

    def keep(self, targets: Mapping[str, str]) -> None:
        """Have a breaker for each of `targets` (name -> fingerprint), known ones as they are, and forget all others.

        One with another fingerprint begins anew, for all routers that know it: a key that was replaced is used at once,
        and routers that still have the old one do not close the way to it.
        """
        for name in [name for name, known in self._breakers.items() if targets.get(name) != known.fingerprint]:
            self._breakers.pop(name).forget()
        for name, fingerprint in targets.items():
            if name not in self._breakers:
                self._breakers[name] = self._create(name, fingerprint)

    def admits(self, target: str) -> bool:
        """Tell whether any attempt on `target` is permitted; a breaker that waits for its probe permits none."""
        return self._breaker(target).admits

    async def admit(self, target: str) -> Permit | None:
        """Permit an attempt on `target`; None while it must not be called. Only a probe may wait a moment."""
        breaker = self._use(target)
        if breaker.admits:
            return Permit(breaker, self._metrics)
        return await self._probe(breaker) if breaker.may_probe else None

    def insist(self, target: str) -> Permit:
        """Permit an attempt on the last target of a route, whatever its breaker says; content closes the breaker."""
        return Permit(self._use(target), self._metrics, closes=True)

    async def keep_shared(self) -> None:
        """Exchange with the other routers until cancelled; returns at once without Redis."""
        if self._shared is not None:
            await repeat("share_breakers", 0.0, self._exchange_next)

    async def exchange(self) -> None:
        """Report to Redis what happened and learn what is decided, in one bounded round trip."""
        if self._shared is None:
            return
        breakers = list(self._breakers.values())
        updates = [breaker.update() for breaker in breakers]
        replies = await self._shared.exchange(updates, self._exchange_timeout)
        for number, breaker in enumerate(breakers):
            if replies is None:
                breaker.lose_redis()
            else:
                breaker.learn(updates[number], replies[number])

    def _use(self, target: str) -> Breaker:
        now = self._clock()
        if now - self._last_used > _IDLE_AFTER_SECONDS:
            self._has_news.set()
        self._last_used = now
        return self._breaker(target)

    def _breaker(self, target: str) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breakers[target] = self._create(target, "")
        return breaker

    def _create(self, target: str, fingerprint: str) -> Breaker:
        return Breaker(
            target,
            self._metrics,
            fingerprint=fingerprint,
            clock=self._clock,
            rng=self._rng,
            report_soon=self._has_news.set,
        )

    async def _probe(self, breaker: Breaker) -> Permit | None:
        token = secrets.token_hex(8)
        breaker.probe.reserve(token)
        try:
            is_leased = await self._lease(breaker, token)
        except BaseException:
            breaker.probe.end(token)
            raise
        if is_leased:
            breaker.probe.start()
            return Permit(breaker, self._metrics, closes=True, probe=token)
        breaker.refuse_probe()
        return Permit(breaker, self._metrics) if breaker.admits else None

    async def _lease(self, breaker: Breaker, token: str) -> bool:
        if self._shared is None:
            return True
        request = breaker.lease_request(token)
        replies = await self._shared.exchange([request], self._lease_timeout)
        if replies is None:
            breaker.lose_redis()
            return True
        breaker.learn(request, replies[0])
        return replies[0].is_leased

    async def _exchange_next(self) -> None:
        """Wait for news, or until it is time to ask for those of others; then exchange."""
        is_idle = self._clock() - self._last_used > _IDLE_AFTER_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_INTERVAL_SECONDS if is_idle else _BUSY_INTERVAL_SECONDS):
                await self._has_news.wait()
        self._has_news.clear()
        await self.exchange()
