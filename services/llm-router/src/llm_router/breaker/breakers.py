"""The breakers of all targets of this process, and the permits that the chain asks them for."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType

from llm_router.breaker.breaker import Breaker
from llm_router.breaker.shared import RedisShare
from llm_router.errors import ProviderError
from llm_router.metrics import Metrics
from servicekit.lifecycle import repeat

# Within this time a router in use learns what others found out.
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
        jitter: random.Random,
        share: RedisShare | None = None,
        lease_timeout_seconds: float = 0.05,
    ) -> None:
        """`clock` gives monotonic seconds. With a `share`, `keep_shared` has to run beside the requests.

        A request waits for the lease of a probe at most `lease_timeout_seconds`; if Redis is slower, this process
        probes by itself. An exchange, which nobody waits for, may take five times as long.
        """
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._share = share
        self._lease_timeout = lease_timeout_seconds
        self._exchange_timeout = 5 * lease_timeout_seconds
        self._breakers: dict[str, Breaker] = {}
        self._news = asyncio.Event()
        self._last_used = clock()

    def keep(self, targets: Collection[str]) -> None:
        """Have a breaker for each of `targets`, known ones as they are, and forget all others."""
        for gone in self._breakers.keys() - set(targets):
            self._breakers.pop(gone).forget()
        for target in targets:
            self._breaker(target)

    async def admit(self, target: str) -> Permit | None:
        """Permit an attempt on `target`; None while it is to be left alone. Only a probe may wait a moment."""
        breaker = self._use(target)
        if not breaker.is_open:
            return Permit(breaker, self._metrics)
        return await self._probe(breaker) if breaker.may_probe else None

    def insist(self, target: str) -> Permit:
        """Permit an attempt on the last target of a route, whatever its breaker says; content closes the breaker."""
        return Permit(self._use(target), self._metrics, closes=True)

    async def keep_shared(self) -> None:
        """Exchange news with the other routers until cancelled; returns at once without a share."""
        if self._share is not None:
            await repeat("share_breakers", 0.0, self._exchange_next)

    async def exchange(self) -> None:
        """Tell the other routers what is new and learn what they told, in one bounded round trip."""
        if self._share is None:
            return
        breakers = list(self._breakers.values())
        asks = [breaker.ask() for breaker in breakers]
        told = await self._share.exchange(asks, self._exchange_timeout)
        for number, breaker in enumerate(breakers):
            if told is None:
                breaker.lose_share()
            else:
                breaker.learn(asks[number], told[number])

    def _use(self, target: str) -> Breaker:
        now = self._clock()
        if now - self._last_used > _IDLE_AFTER_SECONDS:
            self._news.set()
        self._last_used = now
        return self._breaker(target)

    def _breaker(self, target: str) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = Breaker(target, self._metrics, clock=self._clock, jitter=self._jitter, changed=self._news.set)
            self._breakers[target] = breaker
        return breaker

    async def _probe(self, breaker: Breaker) -> Permit | None:
        token = secrets.token_hex(8)
        breaker.reserve_probe(token)
        try:
            leased = await self._lease(breaker)
        except BaseException:
            breaker.end_probe(token)
            raise
        if leased:
            breaker.begin_probe()
            return Permit(breaker, self._metrics, closes=True, probe=token)
        breaker.refuse_probe()
        return None if breaker.is_open else Permit(breaker, self._metrics)

    async def _lease(self, breaker: Breaker) -> bool:
        if self._share is None:
            return True
        ask = breaker.ask_lease()
        told = await self._share.exchange([ask], self._lease_timeout)
        if told is None:
            return True
        breaker.learn(ask, told[0])
        return told[0].leased

    async def _exchange_next(self) -> None:
        """Wait for news, or until it is time to ask for those of others; then tell and learn in one round trip."""
        is_idle = self._clock() - self._last_used > _IDLE_AFTER_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_INTERVAL_SECONDS if is_idle else _BUSY_INTERVAL_SECONDS):
                await self._news.wait()
        self._news.clear()
        await self.exchange()


class Permit:
    """Leave for one attempt, which ends once: `succeeded`, `failed` or `abandoned`; what comes later is ignored.

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

    def first_content(self) -> None:
        """Say that content came: the verdict of a probe. The attempt goes on, and its end is counted as any other."""
        if not self._is_over:
            self._show_life()

    def succeeded(self) -> None:
        """Say that the answer was whole."""
        if self._is_over:
            return
        self._show_life()
        self._is_over = True
        self._count(None)

    def failed(self, error: ProviderError) -> None:
        """Say why there is no whole answer; an error that is not the target's is counted neither way."""
        if self._is_over:
            return
        if error.target_is_healthy:
            self._show_life()
        if not error.blames_target:
            self.abandoned()
            return
        self._is_over = True
        if not self._probe:
            self._count(error)
            return
        if self._breaker.is_open and self._breaker.generation == self._generation:
            self._breaker.stay_open(error)
        self._end_probe("failed")

    def abandoned(self) -> None:
        """Say that it was given up for reasons that are not the target's: cancelled, or out of time."""
        if self._is_over:
            return
        self._is_over = True
        if self._probe:
            self._end_probe("abandoned")

    def _show_life(self) -> None:
        if not self._closes:
            return
        self._closes = False
        if self._breaker.is_open:
            self._breaker.close()
        self._generation = self._breaker.generation
        if self._probe:
            self._end_probe("ok")

    def _count(self, error: ProviderError | None) -> None:
        if self._breaker.generation == self._generation:
            self._breaker.count(error)

    def _end_probe(self, outcome: str) -> None:
        self._breaker.end_probe(self._probe)
        self._probe = ""
        self._metrics.breaker_probes.labels(self._breaker.target, outcome).inc()
