"""Detects growth of memory or sockets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In a run this short memory still grows by warming up, so that only a large leak can be detected.
_SHORT_SECONDS = 120.0
_MAX_GROWTH, _MAX_GROWTH_OF_SHORT_RUNS = 0.05, 0.40
# To Redis and between the services, of which more are opened under load; in a short run they are still filling.
_MAX_SOCKETS, _MAX_SOCKETS_OF_SHORT_RUNS = 25, 75
# One odd sample must not decide: the least of a part is the least of the medians of this many neighbours.
_NEIGHBOURS = 3


@dataclass(frozen=True)
class Sample:
    """Resident memory at one moment under load."""

    seconds: float
    memory_bytes: int


def memory_growth(samples: Sequence[Sample]) -> float:
    """Return the growth of memory from the second third of the run to the last: 0.1 is ten percent.

    The least of each third is compared, because memory rises between two full garbage collections and falls with each;
    what is left after a collection is what a leak raises.
    """
    if len(samples) < 3 * _NEIGHBOURS:
        return 0.0
    third = len(samples) // 3
    return _least(samples[-third:]) / _least(samples[third : 2 * third]) - 1


def _least(samples: Sequence[Sample]) -> int:
    sizes = [sample.memory_bytes for sample in samples]
    return min(sorted(sizes[at : at + _NEIGHBOURS])[_NEIGHBOURS // 2] for at in range(len(sizes) - _NEIGHBOURS + 1))


def max_memory_growth(samples: Sequence[Sample]) -> float:
    """Return the allowed growth for a run of this length."""
    return _MAX_GROWTH_OF_SHORT_RUNS if _is_short(samples) else _MAX_GROWTH


def max_additional_sockets(samples: Sequence[Sample]) -> int:
    """Return the allowed number of additional sockets for a run of this length."""
    return _MAX_SOCKETS_OF_SHORT_RUNS if _is_short(samples) else _MAX_SOCKETS


def _is_short(samples: Sequence[Sample]) -> bool:
    return not samples or samples[-1].seconds - samples[0].seconds < _SHORT_SECONDS
