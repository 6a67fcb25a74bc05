"""Detects growth of memory or sockets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# In a run this short memory still grows by warming up, so that only a large leak can be detected.
_SHORT_SECONDS = 120.0
_MAX_GROWTH, _MAX_GROWTH_OF_SHORT_RUNS = 0.05, 0.40
# Pools keep a varying number of connections; in a short run they are still filling.
_MAX_SOCKETS, _MAX_SOCKETS_OF_SHORT_RUNS = 25, 75


@dataclass(frozen=True)
class Sample:
    """Resident memory at one moment under load."""

    seconds: float
    memory_bytes: int


def memory_growth(samples: Sequence[Sample]) -> float:
    """Return the growth of memory over the second half of the run: 0.1 is ten percent."""
    if len(samples) < 10:
        return 0.0
    half, tenth = len(samples) // 2, max(len(samples) // 10, 1)
    before = median(sample.memory_bytes for sample in samples[half : half + tenth])
    after = median(sample.memory_bytes for sample in samples[-tenth:])
    return after / before - 1


def max_memory_growth(samples: Sequence[Sample]) -> float:
    """Return the allowed growth for a run of this length."""
    return _MAX_GROWTH_OF_SHORT_RUNS if _is_short(samples) else _MAX_GROWTH


def max_additional_sockets(samples: Sequence[Sample]) -> int:
    """Return the allowed number of additional sockets for a run of this length."""
    return _MAX_SOCKETS_OF_SHORT_RUNS if _is_short(samples) else _MAX_SOCKETS


def _is_short(samples: Sequence[Sample]) -> bool:
    return not samples or samples[-1].seconds - samples[0].seconds < _SHORT_SECONDS
