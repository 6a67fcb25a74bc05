"""Whether memory or sockets keep growing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Memory of a run this short is still that of warming up, so only a flood is told from it.
_SHORT_SECONDS = 120.0
_MOST_GROWTH, _MOST_GROWTH_OF_SHORT_RUNS = 0.05, 0.40
# Pools keep some connections, and not the same number each time; in a short run they are still filling.
_MOST_SOCKETS, _MOST_SOCKETS_OF_SHORT_RUNS = 25, 75


@dataclass(frozen=True)
class Sample:
    """Resident memory at a moment under load."""

    seconds: float
    memory_bytes: int


def memory_growth(samples: Sequence[Sample]) -> float:
    """Return by which part memory grew over the second half of the run: 0.1 is ten percent."""
    if len(samples) < 10:
        return 0.0
    half, tenth = len(samples) // 2, max(len(samples) // 10, 1)
    before = median(sample.memory_bytes for sample in samples[half : half + tenth])
    after = median(sample.memory_bytes for sample in samples[-tenth:])
    return after / before - 1


def most_memory_growth(samples: Sequence[Sample]) -> float:
    """Return what growth is let pass for a run of this length."""
    return _MOST_GROWTH_OF_SHORT_RUNS if _is_short(samples) else _MOST_GROWTH


def most_more_sockets(samples: Sequence[Sample]) -> int:
    """Return how many more sockets are let pass after a run of this length."""
    return _MOST_SOCKETS_OF_SHORT_RUNS if _is_short(samples) else _MOST_SOCKETS


def _is_short(samples: Sequence[Sample]) -> bool:
    return not samples or samples[-1].seconds - samples[0].seconds < _SHORT_SECONDS
