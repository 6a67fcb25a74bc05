"""What a breaker is, and the rules by which one state follows another; `shared.lua` has the same rules for Redis."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from llm_router.errors import ProviderError, ProviderRateLimited

# No state keeps a target out for longer; one that claims so was written under another clock of Redis.
MAX_REST_SECONDS = 60.0
# A breaker that opens again within this time of its closing continues with the backoff it had.
FLAPPING_SECONDS = 60.0
_MIN_BACKOFF_SECONDS = 1.0
# However long a target was away, its return is noticed within this time.
_MAX_BACKOFF_SECONDS = 15.0
# An operator has to act, but a key that was replaced should be found.
_REFUSED_BACKOFF_SECONDS = 30.0
# The chain waits for a shorter Retry-After; only a longer one is worth an open breaker.
_SHORT_RETRY_AFTER_SECONDS = 2.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a breaker opens or stays open, and for how long."""

    reason: str
    min_backoff_seconds: float = _MIN_BACKOFF_SECONDS
    max_backoff_seconds: float = _MAX_BACKOFF_SECONDS
    rest_seconds: float = 0.0
    """How long the provider asked not to be called; 0 when it did not, or not for long."""

    @classmethod
    def of(cls, error: ProviderError) -> Failure:
        """Return what `error` means for the breaker of its target."""
        if error.opens_breaker:
            return cls(error.code, _REFUSED_BACKOFF_SECONDS, MAX_REST_SECONDS)
        retry_after = error.retry_after if isinstance(error, ProviderRateLimited) else None
        if retry_after is None or retry_after <= _SHORT_RETRY_AFTER_SECONDS:
            return cls(error.code)
        return cls(error.code, rest_seconds=min(retry_after, MAX_REST_SECONDS))


TOO_MANY_FAILURES = Failure("failure_ratio")

Verdict = Failure | Literal["healthy"]
"""What ends a state by itself: a failure that opens a closed breaker or that of a probe, or content from a target."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """One state of a breaker; its time is a duration, since processes have no common clock."""

    is_open: bool = False
    reason: str = ""
    """Why it is open; empty when it is closed."""
    backoff_seconds: float = 0.0
    """The delay between probes, doubled by each that fails; kept for a while after the closing, see `rest_seconds`."""
    rest_seconds: float = 0.0
    """Open: until the next probe is due. Closed: until the backoff is forgotten. Not above 0 when that time is over."""

    def after(self, verdict: Verdict, jitter: float) -> BreakerState:
        """Return the state that follows; `jitter` lengthens its rest."""
        if verdict == "healthy":
            return BreakerState(backoff_seconds=self.backoff_seconds, rest_seconds=FLAPPING_SECONDS)
        longest = verdict.max_backoff_seconds
        doubled = 2 * self.backoff_seconds if self.is_open or self.rest_seconds > 0 else 0.0
        backoff = min(max(doubled, verdict.min_backoff_seconds), longest)
        rest = max(min(backoff * jitter, longest), min(verdict.rest_seconds * jitter, MAX_REST_SECONDS))
        return BreakerState(is_open=True, reason=verdict.reason, backoff_seconds=backoff, rest_seconds=rest)


def draw_jitter(rng: random.Random) -> float:
    """Return a factor for a rest, so that routers without a common Redis do not probe at the same moment."""
    return rng.uniform(1, 1 + _JITTER)
