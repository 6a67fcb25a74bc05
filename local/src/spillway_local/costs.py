"""`spillway costs`: spend as a table or as CSV."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

from spillway_local import table
from spillway_local.edge_client import EdgeClient, describe_error
from spillway_local.home import CommandError

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


def run_costs(edge: EdgeClient, parameters: dict[str, str], *, as_csv: bool = False) -> None:
    """Fetch and print costs; `parameters` are those of `GET /v1/costs`. CommandError when the edge returns an error."""
    with edge.connect() as client:
        response = client.get("/v1/costs", params=parameters | ({"format": "csv"} if as_csv else {}))
    if response.status_code != 200:
        raise CommandError(describe_error(response))
    if as_csv:
        sys.stdout.buffer.write(response.content)
        sys.stdout.buffer.flush()
        return
    print("\n".join(table_lines(response.json())))


def table_lines(costs: dict[str, Any]) -> list[str]:
    """Lay out the figures: today, total, then by user, model and day or by the requested group."""
    rows = [("", *_COLUMNS), _row("today", costs["today"]), _row("total", costs["total"])]
    if "groups" in costs:
        rows += _group_rows(", ".join(costs["group_by"]), costs["group_by"], costs["groups"])
    else:
        for name in ("user", "model", "day"):
            rows += _group_rows(name, [name], costs[f"by_{name}"])
    more = ["Not all groups are shown; select fewer days."] if costs.get("truncated") else []
    return [*table.table_lines(rows), "", *more, f"Costs in {costs['currency']}; input and output in tokens."]


def _group_rows(title: str, names: list[str], groups: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    heading = (f"by {title}", *("" for _ in _COLUMNS))
    return [heading, *(_row("  " + ", ".join(group[name] or "-" for name in names), group) for group in groups)]


def _row(title: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (title, *(_cell(figures[name]) for name in _FIGURES))


def _cell(figure: int | str | None) -> str:
    if figure is None:
        return "-"
    if isinstance(figure, str):
        return f"{Decimal(figure or 0):.6f}"
    return str(figure)
