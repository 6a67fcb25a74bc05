"""The outcomes of a target's last attempts, and when they are bad enough to open its breaker."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# The window slides by buckets: it covers the last 27 to 30 seconds. Redis keeps the same buckets for all routers.
BUCKET_SECONDS = 3.0
BUCKETS = 10
MIN_ATTEMPTS = 5
FAILURE_RATIO = 0.5


class Totals(NamedTuple):
    """Attempts that ended, and how many of them failed."""

    attempts: int
    failures: int

    @property
    def exceeds_threshold(self) -> bool:
        """Whether at least half of at least five attempts failed."""
        return self.attempts >= MIN_ATTEMPTS and self.failures >= self.attempts * FAILURE_RATIO

    def __add__(self, other: Totals) -> Totals:  # type: ignore[override]
        """Return the sum, count by count."""
        return Totals(self.attempts + other.attempts, self.failures + other.failures)


NO_ATTEMPTS = Totals(0, 0)


class Window:
    """Outcomes of the last half minute, of any number of attempts, in bounded memory."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, Totals]] = deque(maxlen=BUCKETS)

    def add(self, now: float, outcome: Totals) -> None:
        """Count attempts that ended at `now`, in monotonic seconds that never go back."""
        index = int(now // BUCKET_SECONDS)
        if self._buckets and self._buckets[-1][0] == index:
            self._buckets[-1] = (index, self._buckets[-1][1] + outcome)
        else:
            self._buckets.append((index, outcome))

    def totals(self, now: float) -> Totals:
        """Return the sums over the window that ends at `now`."""
        oldest = int(now // BUCKET_SECONDS) - BUCKETS + 1
        totals = NO_ATTEMPTS
        for index, bucket in self._buckets:
            if index >= oldest:
                totals += bucket
        return totals

    def clear(self) -> None:
        """Forget all outcomes."""
        self._buckets.clear()
