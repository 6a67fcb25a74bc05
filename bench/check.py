"""`make bench-check`: fails when an answer costs more than it did, on whatever machine.

Wall time says nothing on a machine that others use, and CPU time alone depends on the processor. What is judged is the
CPU time of a part of Spillway divided by that of mock provider and client for the same answers in the same seconds:
they run the same Python on the same cores, do the same work for each answer, and become slower together.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import CLIENT, PROVIDER, Measurement

ROUNDS, SECONDS = 5, 3.0
# What was measured, and two fifths of it more: noise does not reach that, and twice the cost does. Lower them when a
# change has made something cheaper.
BOUNDS: dict[str, dict[str, float]] = {
    "20ms-20": {"edge": 2.5, "llm-router": 2.4, "cost-ledger": 0.63},
    "2ms-20": {"edge": 3.3, "llm-router": 3.3, "cost-ledger": 0.45},
    "one-20": {"edge": 9.5, "llm-router": 6.6, "cost-ledger": 1.0},
}
# Below this share of its bound, the bound says little.
_LOOSE = 0.4


@dataclass(frozen=True)
class Judgement:
    """The cost of one part in one cell, in multiples of the reference, against its bound."""

    cell: str
    part: str
    ratio: float
    bound: float

    @property
    def is_good(self) -> bool:
        """Whether it costs no more than it may."""
        return self.ratio <= self.bound

    def __str__(self) -> str:
        remark = "" if self.is_good else "  TOO MUCH"
        if self.ratio < self.bound * _LOOSE:
            remark = "  far below: lower the bound in bench/check.py"
        return f"{self.cell:<10} {self.part:<12} {self.ratio:6.2f} of at most {self.bound:6.2f}{remark}"


def ratio(measurement: Measurement, part: str) -> float:
    """Return what a part costs in multiples of provider and client."""
    return measurement.cpu_ms[part] / (measurement.cpu_ms[PROVIDER] + measurement.cpu_ms[CLIENT])


def judge(measurements: Sequence[Measurement], bounds: dict[str, dict[str, float]]) -> list[Judgement]:
    """Judge the medians of all rounds; ValueError when a cell was not measured."""
    found = []
    for cell, of_parts in bounds.items():
        rounds = [each for each in measurements if each.cell == cell]
        if not rounds:
            raise ValueError(f"{cell} was not measured")
        for part, bound in of_parts.items():
            found.append(Judgement(cell, part, statistics.median(ratio(each, part) for each in rounds), bound))
    return found
