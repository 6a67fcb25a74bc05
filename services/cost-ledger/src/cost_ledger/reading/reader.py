"""Reads the ledger: spend from `spend_daily`, receipts and lists from `requests`, `attempts` and `corrections`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg

from cost_ledger.connections import Connection, borrowed
from cost_ledger.primary import Primary
from cost_ledger.reading import spend
from cost_ledger.reading.records import Correction, listed, receipt
from cost_ledger.reading.requests import RequestFilters, RequestListSql, stretches
from cost_ledger.reading.visible import EVERYTHING, Visible
from cost_ledger.rows import (
    ATTEMPT_COLUMNS,
    COUNTING_COST,
    JOIN_NEWEST_CORRECTION,
    REQUEST_COLUMNS,
    AttemptRow,
    RequestRow,
)
from cost_ledger.settings import Settings
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

# PostgreSQL itself ends a statement that nothing waits for any more, also when this process is gone.
_MAX_STATEMENT_SECONDS = 10.0
_READ_SETTINGS = {
    "application_name": "cost-ledger-reads",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{_MAX_STATEMENT_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{_MAX_STATEMENT_SECONDS:.0f}s",
    # A plan for the tenant, day and filter that was asked for: a generic plan may not use the partial indexes.
    "plan_cache_mode": "force_custom_plan",
    # The plan with the fewest rows is the best. PostgreSQL assumes that rows found by an index of several columns are
    # scattered, and would rather read the rows of all tenants by their ids.
    "random_page_cost": "0.01",
    "seq_page_cost": "0.01",
    # Compiling takes longer than any of these statements; more than one core for one query is too much.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_REQUEST = f"SELECT {', '.join(REQUEST_COLUMNS)} FROM requests WHERE tenant = $1 AND request_id = $2"  # noqa: S608
_ATTEMPTS = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts WHERE request_id = $1 ORDER BY attempt_number"  # noqa: S608
_CORRECTIONS = (
    f"SELECT {', '.join(Correction._fields)} FROM corrections WHERE request_id = $1 "  # noqa: S608
    "ORDER BY attempt_number, correction_number"
)
# One unpriced attempt makes the sum unknown.
_CORRECTED_TOTALS = f"""
SELECT a.request_id, CASE WHEN bool_and(({COUNTING_COST}) IS NOT NULL) THEN sum({COUNTING_COST}) END AS cost_usd
FROM attempts AS a {JOIN_NEWEST_CORRECTION} WHERE a.request_id = ANY($1) GROUP BY a.request_id
"""  # noqa: S608 - columns of our own


def read_pool(settings: Settings) -> asyncpg.Pool:
    """Return connections for reading, apart from those that record: slow queries delay each other, not events."""
    return asyncpg.create_pool(
        settings.postgres_url,
        password=settings.postgres_password(),
        min_size=0,
        max_size=settings.read_pool_size,
        connect=Primary("primary").connect,
        command_timeout=_MAX_STATEMENT_SECONDS,
        server_settings=_READ_SETTINGS,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some requests, newest first, and the cursor of what follows; None: nothing does."""

    records: Sequence[ledgerpb.RequestRecord]
    next_cursor: str | None


class _Found(NamedTuple):
    """Rows of a list, and the id below which the list goes on; None when there are no more."""

    rows: list[RequestRow]
    end: UUID | None


class Reader:
    """Answers queries of one tenant at a time; the caller limits how long one may take.

    Raises what asyncpg raises, and TimeoutError.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def spend(
        self, tenant: str, first: date, last: date, group_by: Sequence[int] = (), visible: Visible = EVERYTHING
    ) -> ledgerpb.GetSpendResponse:
        """Return the tenant's figures between two UTC days, both included, and today's.

        `group_by`: SpendDimensions, each at most once.
        """
        today = datetime.now(UTC).date()
        combinations: list[asyncpg.Record] = []
        async with (
            borrowed(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            summary = await connection.fetch(spend.summary_statement(visible), tenant, first, last, *visible)
            [today_row] = await connection.fetch(spend.today_statement(visible), tenant, today, *visible)
            if group_by:
                combinations = await connection.fetch(
                    spend.combinations_statement(group_by, visible), tenant, first, last, *visible
                )
        response = spend.spend_response(summary, today_row, today.isoformat())
        returned = combinations[: spend.MAX_COMBINATIONS]
        response.groups.extend(spend.combination(row, group_by) for row in returned)
        response.is_truncated = len(combinations) > len(returned)
        return response

    async def request(
        self, tenant: str, request_id: UUID, visible: Visible = EVERYTHING
    ) -> ledgerpb.RequestRecord | None:
        """Return one request of the tenant with its attempts; None when it has none that is visible by this id."""
        async with (
            borrowed(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(f"{_REQUEST} AND {visible.condition(3)}", tenant, request_id, *visible)
            if row is None:
                return None
            attempts = await connection.fetch(_ATTEMPTS, request_id)
            corrections = await connection.fetch(_CORRECTIONS, request_id)
        return receipt(
            RequestRow.read(row),
            [AttemptRow.read(each) for each in attempts],
            [Correction(**each) for each in corrections],
        )

    async def requests(self, filters: RequestFilters, place: UUID | None, size: int) -> Page:
        """Return up to `size` requests below the id `place` (None: the newest), newest first.

        Fewer, or none, also when there are more but far down: then the page has a cursor all the same.
        """
        sql = RequestListSql(filters)
        lowest, highest = filters.lowest_id(), filters.highest_id()
        if place is not None:
            highest = min(highest, place)
        async with borrowed(self._pool) as connection:
            found = await _find(connection, sql, lowest, highest, size)
            corrected = await _corrected(connection, [row.facts.request_id for row in found.rows])
        records = [listed(row, corrected) for row in found.rows]
        return Page(records, None if found.end is None else filters.cursor(found.end))


async def _find(connection: Connection, sql: RequestListSql, lowest: UUID, highest: UUID, size: int) -> _Found:
    """Find up to `size` rows."""
    found: list[RequestRow] = []
    for stretch in stretches():
        end = None
        if not sql.is_by_index_alone:
            query = sql.end_of_stretch(lowest, highest, stretch)
            end = await connection.fetchval(query.statement, *query.arguments)
        query = sql.rows(end or lowest, highest, stretch, size - len(found) + 1)
        found += [RequestRow.read(row) for row in await connection.fetch(query.statement, *query.arguments)]
        if len(found) > size:
            found.pop()
            return _Found(found, found[-1].facts.request_id)
        if end is None:
            return _Found(found, None)
        highest = end
    return _Found(found, highest)


async def _corrected(connection: Connection, request_ids: Sequence[UUID]) -> dict[UUID, Decimal | None]:
    """Return the corrected totals of those of the requests that have corrections."""
    rows = await connection.fetch("SELECT DISTINCT request_id FROM corrections WHERE request_id = ANY($1)", request_ids)
    if not rows:
        return {}
    totals = await connection.fetch(_CORRECTED_TOTALS, [row["request_id"] for row in rows])
    return {row["request_id"]: row["cost_usd"] for row in totals}
