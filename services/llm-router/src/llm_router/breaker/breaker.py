"""The breaker of one target: when the target is not called, and when it is tried again.

Closed: attempts are made and their outcomes counted. Open: none is made until a probe is due, one attempt whose content
closes the breaker and whose failure doubles the rest. A target that fails again soon after its breaker closed continues
with the doubled rest, so that a flapping one costs less and less.

Redis decides where it is there: what happens is reported, and the reply is the next state. While Redis is away, or
there is none, this process decides by the same rules from what it sees itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from llm_router.breaker.probe import ProbeSlot
from llm_router.breaker.shared import BreakerReply, BreakerUpdate
from llm_router.breaker.state import TOO_MANY_FAILURES, BreakerState, Failure, Verdict, draw_jitter
from llm_router.breaker.window import NO_ATTEMPTS, Totals, Window
from llm_router.errors import ProviderError
from llm_router.metrics import Metrics

log = structlog.get_logger()

# How long a process that was refused the lease of a probe does not ask for it again.
_ASK_AGAIN_SECONDS = 0.2


@dataclass(slots=True)
class _Shared:
    """What Redis said of the target, and what it has not decided on yet."""

    epoch: int = 0
    totals: Totals | None = None
    """All routers' outcomes in this state as of the last reply; None while this process decides alone."""
    unsent: Totals = NO_ATTEMPTS
    verdict: Verdict | None = None
    """Kept until the reply, so that it is not lost with an exchange."""
    must_restore: bool = False
    """Whether Redis has to be given the state of this process."""


class Breaker:
    """The state of one target as this process knows it."""

    def __init__(
        self,
        target: str,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        report_soon: Callable[[], None],
        fingerprint: str = "",
    ) -> None:
        """`clock` gives monotonic seconds; `report_soon` is called when Redis has something to decide.

        Routers share what they know of a target as long as its `fingerprint` is the same.
        """
        self.target = target
        self.fingerprint = fingerprint
        self._shared_name = f"{target}:{fingerprint}" if fingerprint else target
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._report_soon = report_soon
        self._is_kept = True
        self._state = BreakerState()
        self._until = clock()
        self.generation = 0
        """Grows with each state; an attempt that was permitted in an older one says nothing about the present."""
        self._window = Window()
        self._shared = _Shared()
        self._awaits_opening = False
        self.probe = ProbeSlot()
        metrics.breaker_open.labels(target).set(0)

    @property
    def is_open(self) -> bool:
        """Whether only probes may go out."""
        return self._state.is_open

    @property
    def admits(self) -> bool:
        """Whether any attempt is permitted; not while Redis decides on failures that should open the breaker."""
        return not self._state.is_open and not self._awaits_opening

    @property
    def may_probe(self) -> bool:
        """Whether the next probe is due and none of this process is under way."""
        is_undecided = self._shared.verdict is not None
        return self._state.is_open and self.probe.is_free and not is_undecided and self._clock() >= self._until

    def count(self, error: ProviderError | None, generation: int) -> None:
        """Count an attempt of `generation` that ended, well when `error` is None; ignored while the breaker is open."""
        shared, outcome = self._shared, Totals(1, int(error is not None))
        if self.is_open:
            if shared.verdict == "healthy" and generation == self.generation + 1:
                shared.unsent += outcome  # of the state that the verdict brings about
            return
        if generation != self.generation:
            return
        self._window.add(self._clock(), outcome)
        shared.unsent += outcome
        if error is None:
            return
        failure = Failure.of(error)
        if error.opens_breaker or failure.rest_seconds:
            self._decide(failure)
        elif shared.totals is None:
            self._judge()
        elif (shared.totals + shared.unsent).exceeds_threshold:
            self._awaits_opening = True
            self._report_soon()

    def mark_healthy(self) -> int:
        """Close the breaker; return the generation of the attempts that follow."""
        if self.is_open:
            self._decide("healthy")
        return self.generation + int(self.is_open)

    def fail_probe(self, error: ProviderError) -> None:
        """Rest for twice as long."""
        self._decide(Failure.of(error))

    def refuse_probe(self) -> None:
        """Take note that another process has the lease: do not ask for it again at once."""
        self.probe.cancel()
        if self.is_open:
            self._until = max(self._until, self._clock() + _ASK_AGAIN_SECONDS)

    def forget(self) -> None:
        """Remove the series of a target that is in no route any more; attempts on it may still be running."""
        self._is_kept = False
        self._metrics.breaker_open.remove(self.target)

    def update(self) -> BreakerUpdate:
        """Return what Redis has to know and to decide."""
        shared = self._shared
        counts, shared.unsent = shared.unsent, NO_ATTEMPTS
        return BreakerUpdate(
            self._shared_name,
            shared.epoch,
            self.generation,
            counts=counts,
            verdict=shared.verdict,
            restore=self._current() if shared.must_restore else None,
            renew=self.probe.lease,
            release=self.probe.take_released(),
        )

    def lease_request(self, token: str) -> BreakerUpdate:
        """Return the question whether the probe with `token` may go out."""
        return BreakerUpdate(self._shared_name, self._shared.epoch, self.generation, acquire=token)

    def learn(self, update: BreakerUpdate, reply: BreakerReply) -> None:
        """Take over what Redis decided on `update`."""
        shared = self._shared
        if update.epoch != shared.epoch:
            return  # the reply to a later update was faster
        undecided = None if update.verdict is shared.verdict else shared.verdict
        is_current = update.generation == self.generation
        if reply.epoch < shared.epoch:
            is_current = self._replace_lost(reply)
        elif update.restore is not None and reply.is_own:
            shared.epoch = reply.epoch
            shared.must_restore = not is_current
        elif reply.epoch > shared.epoch or (is_current and self._contradicts(reply)):
            is_current = self._adopt(reply)
        shared.totals = reply.totals if is_current else NO_ATTEMPTS
        self._awaits_opening = shared.verdict is not None or (shared.totals + shared.unsent).exceeds_threshold
        if undecided == "healthy" and self.is_open:
            self._decide("healthy")  # content came while Redis decided otherwise

    def lose_redis(self) -> None:
        """Decide alone from now on, first on what Redis was asked and did not answer."""
        shared = self._shared
        shared.totals = None
        if shared.verdict is not None:
            self._follow(shared.verdict)
        elif self._awaits_opening:
            self._judge()
        self._awaits_opening = False

    def _decide(self, verdict: Verdict) -> None:
        """Have Redis decide on `verdict`; decide alone without it, or before it knows the present state."""
        shared = self._shared
        if shared.totals is None or shared.must_restore:
            self._follow(verdict)
            return
        if shared.verdict is None or verdict == "healthy":
            shared.verdict = verdict
        self._awaits_opening = True
        self._report_soon()

    def _judge(self) -> None:
        if not self.is_open and self._window.totals(self._clock()).exceeds_threshold:
            self._follow(TOO_MANY_FAILURES)

    def _follow(self, verdict: Verdict) -> None:
        self._enter(self._current().after(verdict, draw_jitter(self._rng)), learned=False)
        self._shared.must_restore = True
        self._report_soon()

    def _contradicts(self, reply: BreakerReply) -> bool:
        """Return whether Redis, after it lost what it knew, came to another state with the same number."""
        return not self._shared.must_restore and reply.state.is_open != self.is_open

    def _adopt(self, reply: BreakerReply) -> Literal[True]:
        self._enter(reply.state, learned=not reply.is_own)
        self._shared.epoch = reply.epoch
        self._shared.must_restore = False
        return True

    def _replace_lost(self, reply: BreakerReply) -> bool:
        """Give Redis, which has lost what it knew, the present state; return whether its own is adopted instead."""
        self.lose_redis()
        if reply.state.is_open and not self.is_open:
            return self._adopt(reply)
        self._shared.must_restore = True
        return False

    def _enter(self, state: BreakerState, *, learned: bool) -> None:
        was_open, self._state = self.is_open, state
        self._until = self._clock() + state.rest_seconds
        self.generation += 1
        self._window.clear()
        shared = self._shared
        shared.unsent, shared.verdict = NO_ATTEMPTS, None
        shared.totals = None if shared.totals is None else NO_ATTEMPTS
        self._awaits_opening = False
        if self._is_kept:
            self._metrics.breaker_open.labels(self.target).set(int(state.is_open))
        self._report_transition(was_open=was_open, learned=learned)

    def _report_transition(self, *, was_open: bool, learned: bool) -> None:
        if not self.is_open:
            if was_open:
                log.info("breaker_closed", target=self.target, learned=learned)
            return
        if was_open and learned:
            return
        if not was_open and not learned:
            self._metrics.breaker_openings.labels(self.target, self._state.reason).inc()
        log.warning(
            "breaker_probe_failed" if was_open else "breaker_opened",
            target=self.target,
            reason=self._state.reason,
            probe_in_seconds=round(self._state.rest_seconds, 3),
            learned=learned,
        )

    def _current(self) -> BreakerState:
        """Return the state with what is left of its rest."""
        state = self._state
        return BreakerState(state.is_open, state.reason, state.backoff_seconds, self._until - self._clock())
