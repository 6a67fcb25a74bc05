"""The targets that a request can still try."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from llm_router.breaker.breakers import Breakers
from llm_router.breaker.permit import Permit
from llm_router.chain.decision import may_be_larger
from llm_router.errors import ContextTooLong, ProviderError
from llm_router.metrics import Metrics
from llm_router.target import Target


class Candidates:
    """Targets in order. One whose breaker is open is passed over as long as others are left.

    When no other is left, one of those that were passed over is asked anyway: a doubtful answer beats none.
    """

    def __init__(self, targets: Iterable[Target], breakers: Breakers, metrics: Metrics) -> None:
        """`targets` are asked in this order."""
        self._waiting = deque(targets)
        self._breakers = breakers
        self._metrics = metrics
        self._passed_over: list[Target] = []
        self._insisted: Target | None = None
        self._left: tuple[str, str] | None = None  # the target that was given up last, and why

    @property
    def waiting(self) -> int:
        """How many targets have not had their turn yet."""
        return len(self._waiting)

    @property
    def passed_over(self) -> list[str]:
        """The names of the targets that were not asked because their breaker is open."""
        return [target.name for target in self._passed_over]

    async def next(self, *, insists: bool = True) -> tuple[Target, Permit] | None:
        """Return the next target that may be asked, with the permit for a first attempt; None when there is none.

        Without `insists` only a target whose breaker lets it be asked.
        """
        while self._waiting:
            target = self._waiting.popleft()
            self._metrics.target_demand.labels(target.name, target.billed_by.name).inc()
            permit = await self._breakers.admit(target.name)
            if permit is not None:
                self._count_fallback(target)
                return target, permit
            self._passed_over.append(target)
            self._metrics.passed_over.labels(target.name).inc()
            self._left = self._left or (target.name, "breaker_open")
        if insists and self._passed_over and self._insisted is None:
            self._insisted = target = self._passed_over.pop()
            self._count_fallback(target)
            return target, self._breakers.insist(target.name)
        return None

    def may_ask_again(self, target: Target) -> bool:
        """Tell whether `target`, whose attempt has just failed, may have another: not when that opened its breaker."""
        return target is self._insisted or self._breakers.admits(target.name)

    async def again(self, target: Target) -> Permit | None:
        """Return the permit for another attempt at `target`; None while its breaker is open."""
        if target is self._insisted:
            return self._breakers.insist(target.name)
        return await self._breakers.admit(target.name)

    def leave(self, target: Target, error: ProviderError) -> None:
        """Give up `target`; a prompt too long for it is not tried on targets with no larger context."""
        self._left = (target.name, error.code)
        if isinstance(error, ContextTooLong):
            self._waiting = deque(other for other in self._waiting if may_be_larger(other, target, error))
            self._passed_over = [other for other in self._passed_over if may_be_larger(other, target, error)]

    def _count_fallback(self, target: Target) -> None:
        if self._left is not None and self._left[0] != target.name:
            self._metrics.fallbacks.labels(self._left[0], target.name, self._left[1]).inc()
        self._left = None
