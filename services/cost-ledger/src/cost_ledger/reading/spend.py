"""Queries of `spend_daily`, and the figures that answer them."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from cost_ledger.reading.visible import Visible
from cost_ledger.spend_daily import MONEY, SUMS
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

MAX_GROUPS = 1000
MAX_COMBINATIONS = 10_000
COLUMNS: dict[int, str] = {
    ledgerpb.SPEND_DIMENSION_DAY: "day",
    ledgerpb.SPEND_DIMENSION_USER: "user_id",
    ledgerpb.SPEND_DIMENSION_KEY: "key_id",
    ledgerpb.SPEND_DIMENSION_REQUESTED_MODEL: "requested_model",
    ledgerpb.SPEND_DIMENSION_TARGET_MODEL: "target_model",
    ledgerpb.SPEND_DIMENSION_PROVIDER: "provider",
    ledgerpb.SPEND_DIMENSION_TEMPLATE: "template",
}
# As in the contract: integers, and money as text with nine places. Decimals would take longer to read than to add up.
_SUM_LIST = ", ".join(
    f"round(coalesce(sum({column}), 0), 9)::text AS {column}"
    if column in MONEY
    else f"coalesce(sum({column}), 0)::int8 AS {column}"
    for column in SUMS
)
# `grouping` is a bit mask of the columns that a row sums over: day 4, user_id 2, requested_model 1.
_SUMS_OVER = "grouping(day, user_id, requested_model)"
_TOTAL, _BY_DAY, _BY_USER, _BY_MODEL = 7, 3, 5, 6
_DEAREST_FIRST = "sum(cost_usd) DESC, sum(requests) DESC"
_SUMMARY = f"""
SELECT * FROM (
    SELECT {_SUMS_OVER} AS sums_over, day, user_id, requested_model, {_SUM_LIST},
           row_number() OVER (
               PARTITION BY {_SUMS_OVER} ORDER BY day, {_DEAREST_FIRST}, user_id, requested_model
           ) AS place
    FROM spend_daily WHERE tenant = $1 AND day BETWEEN $2 AND $3 AND {{visible}}
    GROUP BY GROUPING SETS ((), (day), (user_id), (requested_model))
) AS summary WHERE place <= {MAX_GROUPS} ORDER BY place
"""  # noqa: S608 - columns of our own
_TODAY = f"SELECT {_SUM_LIST} FROM spend_daily WHERE tenant = $1 AND day = $2 AND {{visible}}"  # noqa: S608


def summary_statement(visible: Visible) -> str:
    """Return the statement for tenant, first and last day, and what is visible."""
    return _SUMMARY.format(visible=visible.condition(4))


def today_statement(visible: Visible) -> str:
    """Return the statement for tenant, day, and what is visible."""
    return _TODAY.format(visible=visible.condition(3))


def combinations_statement(group_by: Sequence[int], visible: Visible) -> str:
    """Return the statement that sums by these dimensions, each at most once.

    It fetches MAX_COMBINATIONS + 1 rows to detect truncation.
    """
    columns = ", ".join(COLUMNS[dimension] for dimension in group_by)
    by_day = "day, " if group_by[0] == ledgerpb.SPEND_DIMENSION_DAY else ""
    return (
        f"SELECT {columns}, {_SUM_LIST} FROM spend_daily WHERE tenant = $1 AND day BETWEEN $2 AND $3 "  # noqa: S608
        f"AND {visible.condition(4)} GROUP BY {columns} "
        f"ORDER BY {by_day}{_DEAREST_FIRST}, {columns} LIMIT {MAX_COMBINATIONS + 1}"
    )


def spend_response(
    summary: Sequence[asyncpg.Record], today: asyncpg.Record, today_day: str
) -> ledgerpb.GetSpendResponse:
    """Write the rows of both statements."""
    total = next(row for row in summary if row["sums_over"] == _TOTAL)  # there is one even of nothing
    return ledgerpb.GetSpendResponse(
        total=figures(total),
        today=figures(today),
        today_day=today_day,
        by_day=_groups(summary, _BY_DAY, "day"),
        by_user=_groups(summary, _BY_USER, "user_id"),
        by_model=_groups(summary, _BY_MODEL, "requested_model"),
    )


def combination(row: asyncpg.Record, group_by: Sequence[int]) -> ledgerpb.SpendCombination:
    """Write a row of `combinations_statement`."""
    return ledgerpb.SpendCombination(
        keys=[str(row[COLUMNS[dimension]]) for dimension in group_by], figures=figures(row)
    )


def figures(row: asyncpg.Record) -> ledgerpb.SpendFigures:
    """Write a row of sums."""
    return ledgerpb.SpendFigures(**{column: row[column] for column in SUMS})


def _groups(rows: Sequence[asyncpg.Record], sums_over: int, column: str) -> list[ledgerpb.SpendGroup]:
    return [
        ledgerpb.SpendGroup(key=str(row[column]), figures=figures(row)) for row in rows if row["sums_over"] == sums_over
    ]
