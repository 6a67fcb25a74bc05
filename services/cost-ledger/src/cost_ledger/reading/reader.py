"""Reads the ledger: spend from `spend_daily`, receipts and lists from `requests`, `attempts` and `corrections`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg

from cost_ledger.connections import Connection, borrowed
from cost_ledger.reading import spend
from cost_ledger.reading.records import listed, receipt
from cost_ledger.reading.requests import RequestFilters, RequestListSql, stretches
from cost_ledger.settings import Settings
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

# PostgreSQL itself ends what nobody waits for any more, also when this process is gone.
_LONGEST_STATEMENT_SECONDS = 10.0
_READ_SETTINGS = {
    "application_name": "cost-ledger-reads",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{_LONGEST_STATEMENT_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{_LONGEST_STATEMENT_SECONDS:.0f}s",
    # A plan for the tenant, day and filter that was asked for: a plan for all may leave the indexes that some have.
    "plan_cache_mode": "force_custom_plan",
    # The fewest rows are the best plan. PostgreSQL takes what an index of several columns finds for scattered, and
    # would rather read the rows of all tenants by their ids.
    "random_page_cost": "0.01",
    "seq_page_cost": "0.01",
    # Compiling takes longer than any of these statements; more than one core for one question is too much.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_CORRECTIONS = """
SELECT * FROM corrections WHERE request_id = $1 ORDER BY attempt_number, correction_number
"""
# The newest correction of an attempt counts instead of what was recorded; one unpriced attempt makes the sum unknown.
_CORRECTED = """
SELECT request_id, CASE WHEN bool_and(cost_usd IS NOT NULL) THEN sum(cost_usd) END AS cost_usd
FROM (
    SELECT a.request_id, CASE WHEN c.request_id IS NULL THEN a.cost_usd ELSE c.cost_usd END AS cost_usd
    FROM attempts a LEFT JOIN LATERAL (
        SELECT request_id, cost_usd FROM corrections
        WHERE request_id = a.request_id AND attempt_number = a.attempt_number
        ORDER BY correction_number DESC LIMIT 1
    ) c ON true
    WHERE a.request_id = ANY($1)
) AS counted GROUP BY request_id
"""


def read_pool(settings: Settings) -> asyncpg.Pool:
    """Return connections for reading, apart from those that record: slow questions wait for each other, not events."""
    return asyncpg.create_pool(
        settings.postgres_url,
        password=settings.postgres_password(),
        min_size=0,
        max_size=settings.read_pool_size,
        command_timeout=_LONGEST_STATEMENT_SECONDS,
        timeout=_LONGEST_STATEMENT_SECONDS,
        server_settings=_READ_SETTINGS,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some requests, newest first, and the cursor of what follows; None: nothing does."""

    records: Sequence[ledgerpb.RequestRecord]
    next_cursor: str | None


class Reader:
    """Answers questions of one tenant at a time; how long one may take is the caller's to limit.

    Raises what asyncpg raises, and TimeoutError.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def spend(
        self, tenant: str, first: date, last: date, group_by: Sequence[int] = ()
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
            summary = await connection.fetch(spend.SUMMARY, tenant, first, last)
            [today_row] = await connection.fetch(spend.TODAY, tenant, today)
            if group_by:
                combinations = await connection.fetch(spend.combinations_statement(group_by), tenant, first, last)
        response = spend.spend_response(summary, today_row, today.isoformat())
        told = combinations[: spend.MOST_COMBINATIONS]
        response.groups.extend(spend.combination(row, group_by) for row in told)
        response.is_truncated = len(combinations) > len(told)
        return response

    async def request(self, tenant: str, request_id: UUID) -> ledgerpb.RequestRecord | None:
        """Return one request of the tenant with its attempts; None when it has no such request."""
        async with (
            borrowed(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(
                "SELECT * FROM requests WHERE request_id = $1 AND tenant = $2", request_id, tenant
            )
            if row is None:
                return None
            attempts = await connection.fetch(
                "SELECT * FROM attempts WHERE request_id = $1 ORDER BY attempt_number", request_id
            )
            return receipt(row, attempts, await connection.fetch(_CORRECTIONS, request_id))

    async def requests(self, filters: RequestFilters, place: UUID | None, size: int) -> Page:
        """Return up to `size` requests below the id `place` (None: the newest), newest first.

        Fewer, or none, also when there are more but far down: then the page has a cursor all the same.
        """
        sql = RequestListSql(filters)
        lowest, highest = filters.lowest_id(), filters.highest_id()
        if place is not None:
            highest = min(highest, place)
        async with borrowed(self._pool) as connection:
            rows, end = await _find(connection, sql, lowest, highest, size)
            request_ids = [row["request_id"] for row in rows]
            corrected = await _corrected(connection, request_ids)
        records = [listed(row, corrected) for row in rows]
        return Page(records, None if end is None else filters.cursor(end))


async def _find(
    connection: Connection, sql: RequestListSql, lowest: UUID, highest: UUID, size: int
) -> tuple[list[asyncpg.Record], UUID | None]:
    """Return up to `size` rows, and the id below which the list goes on; None when there is nothing more."""
    found: list[asyncpg.Record] = []
    for stretch in stretches():
        end = None
        if not sql.is_by_index_alone:
            statement, arguments = sql.end_of_stretch(lowest, highest, stretch)
            end = await connection.fetchval(statement, *arguments)
        statement, arguments = sql.rows(end or lowest, highest, stretch, size - len(found) + 1)
        found += await connection.fetch(statement, *arguments)
        if len(found) > size:
            found.pop()
            return found, found[-1]["request_id"]
        if end is None:
            return found, None
        highest = end
    return found, highest


async def _corrected(connection: Connection, request_ids: Sequence[UUID]) -> dict[object, Decimal | None]:
    """Return the corrected totals of those of the requests that have corrections."""
    rows = await connection.fetch("SELECT DISTINCT request_id FROM corrections WHERE request_id = ANY($1)", request_ids)
    if not rows:
        return {}
    totals = await connection.fetch(_CORRECTED, [row["request_id"] for row in rows])
    return {row["request_id"]: row["cost_usd"] for row in totals}
