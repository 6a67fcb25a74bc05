"""The outcomes of a target's last attempts, and when they are bad enough to open its breaker."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# The window slides by buckets: it covers the last 27 to 30 seconds. Redis keeps the same buckets for all routers.
BUCKET_SECONDS = 3.0
BUCKETS = 10
_LEAST_ATTEMPTS = 5
_FAILURE_RATIO = 0.5


class Totals(NamedTuple):
    """Attempts that ended, and how many of them failed."""

    attempts: int
    failures: int

    @property
    def are_bad(self) -> bool:
        """Whether at least half of at least five attempts failed."""
        return self.attempts >= _LEAST_ATTEMPTS and self.failures >= self.attempts * _FAILURE_RATIO

    def plus(self, other: Totals) -> Totals:
        """Return the sum, count by count."""
        return Totals(self.attempts + other.attempts, self.failures + other.failures)


NOTHING = Totals(0, 0)


class Window:
    """Outcomes of the last half minute, of however many attempts, in bounded memory."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, Totals]] = deque(maxlen=BUCKETS)

    def add(self, now: float, *, failed: bool) -> None:
        """Count an attempt that ended at `now`, in monotonic seconds that never go back."""
        outcome = Totals(1, int(failed))
        index = int(now // BUCKET_SECONDS)
        if self._buckets and self._buckets[-1][0] == index:
            self._buckets[-1] = (index, self._buckets[-1][1].plus(outcome))
        else:
            self._buckets.append((index, outcome))

    def totals(self, now: float) -> Totals:
        """Return the sums over the window that ends at `now`."""
        oldest = int(now // BUCKET_SECONDS) - BUCKETS + 1
        totals = NOTHING
        for index, bucket in self._buckets:
            if index >= oldest:
                totals = totals.plus(bucket)
        return totals

    def clear(self) -> None:
        """Forget all."""
        self._buckets.clear()
