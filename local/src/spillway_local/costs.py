"""`spillway costs`: what was spent, as a table."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from spillway_local.door import Door, explain
from spillway_local.home import Refusal

_COLUMNS = ("requests", "attempts", "input", "output", "cost", "unpriced", "hits", "misses", "bypasses", "saved")
_FIGURES = (
    "requests",
    "attempts",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "unpriced_attempts",
    "cache_hits",
    "cache_misses",
    "cache_bypasses",
    "saved_cost_usd",
)


def run_costs(door: Door) -> None:
    """Ask and print. Refusal when the edge says no."""
    with door.opened() as client:
        response = client.get("/v1/costs")
    if response.status_code != 200:
        raise Refusal(explain(response))
    print("\n".join(table_lines(response.json())))


def table_lines(costs: dict[str, Any]) -> list[str]:
    """Lay out the figures: today and the total, then by user, model and day; costs in `currency`."""
    rows = [
        ("", *_COLUMNS),
        _row("today", costs["today"]),
        _row("total", costs["total"]),
    ]
    for title in ("user", "model", "day"):
        rows.append((f"by {title}", *("" for _ in _COLUMNS)))
        rows += [_row(f"  {figures[title]}", figures) for figures in costs[f"by_{title}"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) + 1)]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in cells).rstrip()
        for cells in (enumerate(zip(row, widths, strict=True)) for row in rows)
    ]
    return [*lines, "", f"Costs in {costs['currency']}; input and output in tokens."]


def _row(title: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (title, *(_cell(figures[name]) for name in _FIGURES))


def _cell(figure: int | str | None) -> str:
    if figure is None:
        return "-"
    if isinstance(figure, str):
        return f"{Decimal(figure or 0):.6f}"
    return str(figure)
