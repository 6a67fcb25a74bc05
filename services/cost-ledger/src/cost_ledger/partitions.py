"""Monthly partitions of the tables that are keyed by request id: a UUIDv7 begins with its time."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

import structlog

from cost_ledger.connections import Connection

log = structlog.get_logger()

TABLES = ("requests", "attempts")
# Last month for late events, this one, and two ahead so that a ledger that was down for weeks finds its place.
_MONTHS_BACK, _MONTHS_AHEAD = 1, 2
# Any constant; every process that makes partitions takes this advisory lock.
_LOCK = 0x5B111A70


def lowest_id(month: date) -> uuid.UUID:
    """Return the smallest UUID that a UUIDv7 minted at or after the start of `month` (UTC) can be."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    return uuid.UUID(int=int(start.timestamp() * 1000) << 80)


def month_after(month: date, count: int = 1) -> date:
    """Return the first day of the month `count` months later (earlier when negative)."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


async def ensure_partitions(connection: Connection, today: date) -> list[str]:
    """Create the partitions that are missing around `today`; return their names."""
    created = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        for offset in range(-_MONTHS_BACK, _MONTHS_AHEAD + 1):
            month = month_after(today.replace(day=1), offset)
            created += [name for table in TABLES if (name := await _ensure(connection, table, month))]
    if created:
        log.info("partitions_created", partitions=created)
    return created


async def _ensure(connection: Connection, table: str, month: date) -> str | None:
    name = f"{table}_{month:%Y_%m}"
    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
        return None
    # All parts of the statements come from constants and a date, never from input.
    first, end = lowest_id(month), lowest_id(month_after(month))
    # Ids of this month may be in the default partition by now: clients may choose theirs. PostgreSQL refuses a
    # partition whose rows are elsewhere, so they move; the lock keeps others from following them.
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {table}_default WHERE request_id >= $1 AND request_id < $2 RETURNING *) "  # noqa: S608
        f"INSERT INTO {name} SELECT * FROM moved",
        first,
        end,
    )
    await connection.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')")
    return name
