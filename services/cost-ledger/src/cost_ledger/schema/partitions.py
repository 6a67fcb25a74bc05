"""Monthly partitions of the tables keyed by request id: a UUIDv7 begins with its time."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime

import asyncpg
import structlog

from cost_ledger.connections import LOCK_TIMEOUT_MS, Connection, borrowed
from cost_ledger.metrics import Metrics

log = structlog.get_logger()

TABLES = ("requests", "attempts")
# Last month for late events, this one, and two ahead, so that a ledger that was down for weeks finds its partitions.
_MONTHS_BACK, _MONTHS_AHEAD = 1, 2
# Any constant; every process that creates or drops partitions takes this advisory lock.
_LOCK = 0x5B111A70
_NAME = re.compile(r"(?:requests|attempts)_(\d{4})_(\d{2})")


def lowest_id(month: date) -> uuid.UUID:
    """Return the smallest UUID that a UUIDv7 minted at or after the start of `month` (UTC) can be."""
    return uuid.UUID(int=int(_start(month).timestamp() * 1000) << 80)


def month_after(month: date, count: int = 1) -> date:
    """Return the first day of the month `count` months later (earlier when negative)."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


async def ensure_partitions(connection: Connection, today: date) -> list[str]:
    """Create the partitions that are missing around `today`; return their names.

    LockNotAvailableError behind a long transaction: nothing is created then, and no other statement was held up.
    """
    created = []
    async with connection.transaction():
        await _begin(connection)
        for offset in range(-_MONTHS_BACK, _MONTHS_AHEAD + 1):
            month = month_after(today.replace(day=1), offset)
            created += [name for table in TABLES if (name := await _ensure(connection, table, month))]
    if created:
        log.info("partitions_created", partitions=created)
    return created


async def drop_partitions(connection: Connection, today: date, retention_months: int) -> list[str]:
    """Drop the months before the `retention_months` that precede the current one; return the partitions' names.

    The earlier of `today` and PostgreSQL's day counts: a clock that is ahead drops nothing early. Rows of the default
    partition, whose ids hold no reliable time, are dropped by the time they were recorded.
    LockNotAvailableError as above; months that were dropped before it stay dropped.
    """
    database_today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    kept_from = month_after(min(today, database_today).replace(day=1), -retention_months)
    months = set.union(*(await _months(connection)).values())
    dropped: list[str] = []
    for month in sorted(month for month in months if month < kept_from):
        names = await _drop(connection, month)
        log.warning("partitions_dropped", partitions=names, retention_months=retention_months)
        dropped += names
    await _drop_default_rows(connection, kept_from)
    return dropped


class PartitionKeeper:
    """Creates the months to come, drops those past their retention, and measures how far both have got."""

    def __init__(self, pool: asyncpg.Pool, metrics: Metrics, *, retention_months: int, timeout_seconds: float) -> None:
        """`retention_months`: whole months before the current one that are kept; 0: all."""
        self._pool = pool
        self._metrics = metrics
        self._retention_months = retention_months
        self._timeout = timeout_seconds

    async def turn(self, today: date) -> None:
        """Create and drop what is due `today`; behind a long transaction it is put off to the next turn.

        Raises what asyncpg raises, and TimeoutError.
        """
        async with borrowed(self._pool, self._timeout) as connection:
            try:
                await ensure_partitions(connection, today)
                if self._retention_months:
                    dropped = await drop_partitions(connection, today, self._retention_months)
                    self._metrics.partitions_dropped.inc(len(dropped))
            except asyncpg.LockNotAvailableError:
                self._metrics.partitions_put_off.inc()
                log.warning("partitions_put_off", hint="a transaction reads or writes the tables for long")
            self._measure(await _months(connection), today)

    def _measure(self, months: dict[str, set[date]], today: date) -> None:
        everywhere = set.intersection(*months.values())
        ahead = 0
        while month_after(today.replace(day=1), ahead + 1) in everywhere:
            ahead += 1
        self._metrics.partitions_ahead.set(ahead)
        oldest = min(set.union(*months.values()), default=today.replace(day=1))
        self._metrics.oldest_partition.set(_start(oldest).timestamp())


async def _begin(connection: Connection) -> None:
    """Begin to change the tables, one process at a time, and wait only briefly: others queue behind a waiting lock."""
    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def _months(connection: Connection) -> dict[str, set[date]]:
    """Return the months for which each table has a partition."""
    months: dict[str, set[date]] = {}
    for table in TABLES:
        rows = await connection.fetch(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass($1)",
            table,
        )
        names = (_NAME.fullmatch(row["relname"]) for row in rows)
        months[table] = {date(int(name[1]), int(name[2]), 1) for name in names if name}
    return months


async def _ensure(connection: Connection, table: str, month: date) -> str | None:
    name = _name(table, month)
    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
        return None
    # All parts of the statements come from constants and a date, never from input.
    first, end = lowest_id(month), lowest_id(month_after(month))
    # Ids of this month may be in the default partition by now. PostgreSQL refuses a partition whose rows are elsewhere,
    # so they move; the lock keeps further ones out.
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


async def _drop(connection: Connection, month: date) -> Sequence[str]:
    """Drop a month of all tables at once, so that no attempt is left without its request, nor a request alone."""
    dropped = []
    async with connection.transaction():
        await _begin(connection)
        for table in TABLES:
            name = _name(table, month)
            # Another process may have dropped it already.
            if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
                await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {name}")
                await connection.execute(f"DROP TABLE {name}")
                dropped.append(name)
    return dropped


async def _drop_default_rows(connection: Connection, before: date) -> None:
    await connection.execute(
        "WITH gone AS (DELETE FROM requests_default WHERE recorded_at < $1 RETURNING request_id) "
        "DELETE FROM attempts_default USING gone WHERE attempts_default.request_id = gone.request_id",
        _start(before),
    )


def _name(table: str, month: date) -> str:
    return f"{table}_{month.year:04}_{month.month:02}"


def _start(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)
