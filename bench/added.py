"""What a Spillway with something switched on costs more than one without, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.cells import IDLE, cell_of
from bench.measure import Measurement
from bench.report import figure
from bench.variants import VARIANTS

_BASE = "spillway"
_STORES = ("valkey", "postgres")
_Figure = Callable[[Measurement], float | None]
_COLUMNS: dict[str, _Figure] = {
    "edge": lambda each: each.cpu_ms.get("edge"),
    "router": lambda each: each.cpu_ms.get("llm-router"),
    "ledger": lambda each: each.cpu_ms.get("cost-ledger"),
    "stores": lambda each: sum(each.cpu_ms.get(part, 0.0) for part in _STORES),
    "first content p50": lambda each: each.first_ms.get("p50"),
    "first content p99": lambda each: each.first_ms.get("p99"),
}


def added(found: Sequence[Measurement]) -> str:
    """Return a table: a row for each cell and variant, what each part costs more; empty without a variant or its base.

    Subjects of one round are compared with each other, as both had the same machine; the median of the rounds counts,
    and the lowest and the highest stand beside it.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for each in found:
        groups.setdefault((each.cell, each.subject), []).append(each)
    lines = [line for (cell, subject), group in groups.items() for line in _row(cell, subject, group, groups)]
    if not lines:
        return ""
    head = f"| added ms of an answer | with | {' | '.join(_COLUMNS)} |"
    return "\n".join([head, f"|---|---|{'---:|' * len(_COLUMNS)}", *lines]) + "\n"


def _row(
    cell: str, subject: str, group: Sequence[Measurement], groups: dict[tuple[str, str], list[Measurement]]
) -> Iterator[str]:
    base = groups.get((cell, _BASE))
    if subject not in VARIANTS or base is None or cell == IDLE:
        return
    pairs = list(zip(group, base, strict=False))
    cells = [_difference(pairs, of) for of in _COLUMNS.values()]
    yield f"| {cell_of(cell).says} | {VARIANTS[subject].says} | {' | '.join(cells)} |"


def _difference(pairs: Sequence[tuple[Measurement, Measurement]], of: _Figure) -> str:
    both = [(of(one), of(other)) for one, other in pairs]
    differences = [one - other for one, other in both if one is not None and other is not None]
    if not differences:
        return "-"
    median = _signed(statistics.median(differences))
    is_one = len(differences) == 1
    return median if is_one else f"{median} ({_signed(min(differences))} to {_signed(max(differences))})"


def _signed(number: float) -> str:
    return f"{'-' if number < 0 else '+'}{figure(abs(number))}"
