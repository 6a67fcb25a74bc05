"""How quickly each target has come to its first content lately."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field

# An old figure loses its weight in about this time; a target that was slow is tried again after a while.
_MEMORY_SECONDS = 10.0
_MAX_SAMPLES = 200
# With fewer samples a 95th percentile is meaningless.
_MIN_SAMPLES = 20


@dataclass(slots=True)
class _Target:
    average: float = 0.0
    updated: float = 0.0
    running: int = 0
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))


class Latencies:
    """Times to first content by target, for balancing and for hedging; each process has its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._targets: dict[str, _Target] = {}

    def begin(self, target: str) -> None:
        """Note that an attempt at `target` runs."""
        self._of(target).running += 1

    def end(self, target: str) -> None:
        """Note that an attempt at `target` is over."""
        known = self._of(target)
        known.running = max(known.running - 1, 0)  # it may have been forgotten in the meantime

    def observe(self, target: str, seconds: float) -> None:
        """Note a time to first content, or a time that passed without any."""
        known, now = self._of(target), self._clock()
        known.samples.append(seconds)
        share = 1 - math.exp(-(now - known.updated) / _MEMORY_SECONDS)
        # A rise counts at once, a fall bit by bit, so that a target that just became slow gets no further burst.
        known.average = max(seconds, known.average + share * (seconds - known.average))
        known.updated = now

    def load(self, target: str) -> float:
        """Return what a new attempt at `target` would have to wait, in comparison: low is good, unknown is 0."""
        known = self._of(target)
        fading = math.exp(-(self._clock() - known.updated) / _MEMORY_SECONDS)
        return known.average * fading * (known.running + 1)

    def percentile_95(self, target: str) -> float | None:
        """Return the recent 95th percentile in seconds; None when too little is known."""
        samples = self._of(target).samples
        if len(samples) < _MIN_SAMPLES:
            return None
        return sorted(samples)[math.ceil(0.95 * len(samples)) - 1]

    def keep(self, targets: Container[str]) -> None:
        """Forget all but `targets`."""
        self._targets = {name: known for name, known in self._targets.items() if name in targets}

    def _of(self, target: str) -> _Target:
        return self._targets.setdefault(target, _Target())
