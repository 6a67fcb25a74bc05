"""The breaker of one target: when the target is left alone, and when it is tried again.

Closed: attempts are made and their outcomes counted. Open: none is made until a probe is due, one attempt that decides
between closing and a rest twice as long. A target that fails again soon after its breaker closed goes on with the
doubled distance, so that a flapping one costs less and less.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import structlog

from llm_router.breaker.shared import LONGEST_REST_SECONDS, Ask, State, Told
from llm_router.breaker.window import NOTHING, Totals, Window
from llm_router.errors import ProviderError, ProviderRateLimited
from llm_router.metrics import Metrics

log = structlog.get_logger()

_FIRST_DISTANCE_SECONDS = 1.0
# A person has to act, but a key that was exchanged should be found.
_REFUSED_DISTANCE_SECONDS = 30.0
# A breaker that opens again within this time of its closing goes on with the distance it had.
_FLAPPING_SECONDS = 60.0
# Up to this share is added to each rest, so that routers without a common Redis do not probe in step.
_JITTER = 0.2
# A process has one probe at a time; only one without a share, which tells nobody, ever has more tokens than a few.
_MOST_RELEASED = 8
# How long a process that was refused the lease of a probe does not ask for it again.
_ASK_AGAIN_SECONDS = 0.2
# The chain waits for a shorter Retry-After; a longer one is worth the breaker's knowing.
_SHORT_RETRY_AFTER_SECONDS = 2.0


class Breaker:
    """State, window and probe of one target in this process, and what the share has to be told of them."""

    def __init__(
        self,
        target: str,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        jitter: random.Random,
        changed: Callable[[], None],
    ) -> None:
        """`clock` gives monotonic seconds; `changed` is called when the share should be told soon."""
        self.target = target
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._changed = changed
        self._is_kept = True
        self.is_open = False
        self.generation = 0
        """Grows with each state; an attempt that was permitted in an older one says nothing about the present."""
        self._reason = ""
        self._distance = 0.0
        self._until = clock()
        self._window = Window()
        self._probe = self._lease = ""
        self._epoch = 0
        self._is_told = True
        self._untold = NOTHING
        self._shared: Totals | None = None
        self._released: deque[str] = deque(maxlen=_MOST_RELEASED)
        metrics.breaker_open.labels(target).set(0)

    @property
    def may_probe(self) -> bool:
        """Whether the next probe is due and none of this process is under way."""
        return self.is_open and not self._probe and self._clock() >= self._until

    def count(self, error: ProviderError | None) -> None:
        """Count an attempt that ended, well when `error` is None; while the breaker is open nothing is counted."""
        if self.is_open:
            return
        self._window.add(self._clock(), failed=error is not None)
        self._untold = self._untold.plus(Totals(1, int(error is not None)))
        if error is None:
            return
        if error.opens_breaker or _asked_rest(error):
            self._open(error.code, error)
        else:
            self._judge()

    def reserve_probe(self, token: str) -> None:
        """Keep other probes of this process away while the lease is asked for."""
        self._probe = token

    def begin_probe(self) -> None:
        """The reserved probe goes out; its lease is kept until it ends."""
        self._lease = self._probe

    def end_probe(self, token: str) -> None:
        """Make room for the next probe, in all processes."""
        if self._probe == token:
            self._probe = self._lease = ""
        self._released.append(token)

    def refuse_probe(self) -> None:
        """Another process probes: do not ask for its lease again at once."""
        self._probe = ""
        if self.is_open:
            self._until = max(self._until, self._clock() + _ASK_AGAIN_SECONDS)

    def close(self) -> None:
        """The target answers again."""
        self._become(is_open=False, reason="", distance=self._distance, rest=_FLAPPING_SECONDS)
        log.info("breaker_closed", target=self.target, learned=False)

    def stay_open(self, error: ProviderError) -> None:
        """A probe failed: rest for twice as long."""
        distance = max(2 * self._distance, _least_distance(error))
        self._rest_open(error.code, distance, error)
        self._log_open("breaker_probe_failed", learned=False)

    def forget(self) -> None:
        """The target is gone from the routes; attempts on it may still be running."""
        self._is_kept = False
        self._metrics.breaker_open.remove(self.target)

    def ask(self) -> Ask:
        """Return what the share has to know, as if it were told now."""
        counts, released = self._untold, list(self._released)
        self._untold = NOTHING
        self._released.clear()
        offer = None if self._is_told else self._state()
        return Ask(
            self.target,
            self._epoch,
            self.generation,
            counts=counts,
            offer=offer,
            renew=self._lease,
            release=released,
        )

    def ask_lease(self) -> Ask:
        """Return the question whether the reserved probe may go out."""
        return Ask(self.target, self._epoch, self.generation, acquire=self._probe)

    def learn(self, ask: Ask, told: Told) -> None:
        """Take in the answer to `ask`."""
        if ask.epoch != self._epoch:
            return  # the answer to a later question was faster
        is_current = ask.generation == self.generation
        if told.accepted:
            self._epoch = told.epoch
            self._is_told = is_current
        elif told.epoch > self._epoch:
            self._adopt(told)
            is_current = True
        elif told.epoch < self._epoch and self.is_open:
            self._is_told = False  # Redis has lost what it knew
        else:
            self._epoch = told.epoch
        self._shared = told.totals if is_current else NOTHING
        self._judge()

    def lose_share(self) -> None:
        """Redis did not answer: go by the outcomes of this process alone."""
        self._shared = None

    def _judge(self) -> None:
        if self.is_open:
            return
        totals = self._window.totals(self._clock()) if self._shared is None else self._shared.plus(self._untold)
        if totals.are_bad:
            self._open("failure_ratio", None)

    def _open(self, reason: str, error: ProviderError | None) -> None:
        is_flapping = self._clock() < self._until
        distance = max(2 * self._distance if is_flapping else 0.0, _least_distance(error))
        self._rest_open(reason, distance, error)
        self._metrics.breaker_openings.labels(self.target, reason).inc()
        self._log_open("breaker_opened", learned=False)

    def _rest_open(self, reason: str, distance: float, error: ProviderError | None) -> None:
        distance = min(distance, LONGEST_REST_SECONDS)
        rest = max(distance, _asked_rest(error)) * self._jitter.uniform(1, 1 + _JITTER)
        self._become(is_open=True, reason=reason, distance=distance, rest=min(rest, LONGEST_REST_SECONDS))

    def _become(self, *, is_open: bool, reason: str, distance: float, rest: float) -> None:
        self._set(State(is_open, reason, distance, rest))
        self._is_told = False
        self._changed()

    def _adopt(self, told: Told) -> None:
        was_open = self.is_open
        self._set(told.state)
        self._epoch = told.epoch
        self._is_told = True
        if self.is_open and not was_open:
            self._log_open("breaker_opened", learned=True)
        elif was_open and not self.is_open:
            log.info("breaker_closed", target=self.target, learned=True)

    def _set(self, state: State) -> None:
        self.is_open = state.is_open
        self.generation += 1
        self._reason = state.reason
        self._distance = state.distance_seconds
        self._until = self._clock() + state.rest_seconds
        self._window.clear()
        self._untold = NOTHING
        self._shared = None if self._shared is None else NOTHING
        if self._is_kept:
            self._metrics.breaker_open.labels(self.target).set(int(self.is_open))

    def _state(self) -> State:
        return State(self.is_open, self._reason, self._distance, self._until - self._clock())

    def _log_open(self, event: str, *, learned: bool) -> None:
        log.warning(
            event,
            target=self.target,
            reason=self._reason,
            probe_in_seconds=round(self._until - self._clock(), 3),
            learned=learned,
        )


def _least_distance(error: ProviderError | None) -> float:
    return _REFUSED_DISTANCE_SECONDS if error is not None and error.opens_breaker else _FIRST_DISTANCE_SECONDS


def _asked_rest(error: ProviderError | None) -> float:
    """Return the seconds for which the provider asked to be left alone; 0 when it did not, or not for long."""
    if not isinstance(error, ProviderRateLimited) or error.retry_after is None:
        return 0.0
    return error.retry_after if error.retry_after > _SHORT_RETRY_AFTER_SECONDS else 0.0
