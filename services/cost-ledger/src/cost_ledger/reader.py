"""Reads the ledger: spend from `spend_daily`, receipts from `requests` and `attempts`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from cost_ledger import vocabulary
from cost_ledger.connections import borrowed
from pricing.cost import FREE
from pricing.usage import Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

_MOST_GROUPS = 1000
_SUMS = (
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
_SUM_LIST = ", ".join(f"sum({column}) AS {column}" for column in _SUMS)
# `grouping` is a bit mask of the columns that a row sums over: day 4, user_id 2, requested_model 1.
_SPEND = f"""
SELECT grouping(day, user_id, requested_model) AS sums_over, day, user_id, requested_model, {_SUM_LIST}
FROM spend_daily WHERE tenant = $1 AND day BETWEEN $2 AND $3
GROUP BY GROUPING SETS ((), (day), (user_id), (requested_model))
"""  # noqa: S608 - column names of our own
_TODAY = f"SELECT {_SUM_LIST} FROM spend_daily WHERE tenant = $1 AND day = $2"  # noqa: S608 - column names of our own
_TOTAL, _BY_DAY, _BY_USER, _BY_MODEL = 7, 3, 5, 6


class Reader:
    """Answers questions of one tenant at a time; how long one may take is the caller's to limit.

    Raises what asyncpg raises, and TimeoutError.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def spend(self, tenant: str, first: date, last: date) -> ledgerpb.GetSpendResponse:
        """Return the tenant's figures between two UTC days, both included, and today's."""
        today = datetime.now(UTC).date()
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(_SPEND, tenant, first, last)
            today_row = await connection.fetchrow(_TODAY, tenant, today)
        total = next((row for row in rows if row["sums_over"] == _TOTAL), None)
        return ledgerpb.GetSpendResponse(
            total=_figures(total),
            today=_figures(today_row),
            today_day=today.isoformat(),
            by_day=sorted(_groups(rows, _BY_DAY, "day"), key=lambda group: group.key),
            by_user=_dearest_first(_groups(rows, _BY_USER, "user_id")),
            by_model=_dearest_first(_groups(rows, _BY_MODEL, "requested_model")),
        )

    async def request(self, tenant: str, request_id: UUID) -> ledgerpb.RequestRecord | None:
        """Return one request of the tenant with its attempts; None when it has no such request."""
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM requests WHERE request_id = $1 AND tenant = $2", request_id, tenant
            )
            if row is None:
                return None
            attempts = await connection.fetch(
                "SELECT * FROM attempts WHERE request_id = $1 ORDER BY attempt_number", request_id
            )
        return _record(row, attempts)


def _groups(rows: list[asyncpg.Record], sums_over: int, column: str) -> list[ledgerpb.SpendGroup]:
    return [
        ledgerpb.SpendGroup(key=str(row[column]), figures=_figures(row))
        for row in rows
        if row["sums_over"] == sums_over
    ]


def _dearest_first(groups: list[ledgerpb.SpendGroup]) -> list[ledgerpb.SpendGroup]:
    groups.sort(key=lambda group: (-Decimal(group.figures.cost_usd), -group.figures.requests, group.key))
    return groups[:_MOST_GROUPS]


def _figures(row: asyncpg.Record | None) -> ledgerpb.SpendFigures:
    """Write a row of sums; sums over nothing are NULL in SQL and 0 here."""
    values: dict[str, Any] = {}
    for column in _SUMS:
        value = row[column] if row is not None else None
        values[column] = f"{value or FREE:.9f}" if column.endswith("_usd") else int(value or 0)
    return ledgerpb.SpendFigures(**values)


def _record(row: asyncpg.Record, attempts: list[asyncpg.Record]) -> ledgerpb.RequestRecord:
    request = ledgerpb.Request(
        request_id=str(row["request_id"]),
        tenant=row["tenant"],
        user=row["user_id"],
        key_id=row["key_id"],
        tier=row["tier"],
        endpoint=row["endpoint"],
        requested_model=row["requested_model"],
        is_streaming=row["is_streaming"],
    )
    request.admitted_at.FromDatetime(row["admitted_at"])
    record = ledgerpb.RequestRecord(
        request=request,
        state=vocabulary.REQUEST_STATE.number(row["state"]),
        cost_usd=_money(row["cost_usd"]),
        saved_cost_usd=_money(row["saved_cost_usd"]),
        attempts=[_attempt_record(attempt) for attempt in attempts],
    )
    if row["state"] == "settled":
        record.settled.CopyFrom(_settled(row))
    return record


def _settled(row: asyncpg.Record) -> ledgerpb.Settled:
    settled = ledgerpb.Settled(
        outcome=vocabulary.OUTCOME.number(row["outcome"]),
        finish_reason=vocabulary.FINISH_REASON.number(row["finish_reason"]),
        error_code=row["error_code"],
        cache_status=vocabulary.CACHE_STATUS.number(row["cache_status"]),
        cache_bypass_reason=row["cache_bypass_reason"],
    )
    settled.settled_at.FromDatetime(row["settled_at"])
    settled.duration.FromTimedelta(row["duration"])
    if row["time_to_first_token"] is not None:
        settled.time_to_first_token.FromTimedelta(row["time_to_first_token"])
    if row["saved_target_model"]:
        usage = Usage(*(row[f"saved_{count}"] for count in Usage.__slots__))
        saved = ledgerpb.SavedAnswer(
            provider=row["saved_provider"], target_model=row["saved_target_model"], usage=usage.to_proto()
        )
        settled.saved.CopyFrom(saved)
    return settled


def _attempt_record(row: asyncpg.Record) -> ledgerpb.AttemptRecord:
    attempt = routerpb.Attempt(
        attempt_number=row["attempt_number"],
        target=row["target"],
        provider=row["provider"],
        target_model=row["target_model"],
        response_model=row["response_model"],
        outcome=vocabulary.OUTCOME.number(row["outcome"]),
        error_code=row["error_code"],
        usage_source=vocabulary.USAGE_SOURCE.number(row["usage_source"]),
        http_status=row["http_status"],
        provider_request_id=row["provider_request_id"],
        finish_reason=vocabulary.FINISH_REASON.number(row["finish_reason"]),
    )
    if row["has_usage"]:
        attempt.usage.CopyFrom(Usage(*(row[count] for count in Usage.__slots__)).to_proto())
    attempt.started_at.FromDatetime(row["started_at"])
    attempt.duration.FromTimedelta(row["duration"])
    if row["time_to_first_chunk"] is not None:
        attempt.time_to_first_chunk.FromTimedelta(row["time_to_first_chunk"])
    return ledgerpb.AttemptRecord(
        attempt=attempt,
        event_id=str(row["event_id"]),
        cost_usd=_money(row["cost_usd"]),
        price_version=row["price_version"],
    )


def _money(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:.9f}"
