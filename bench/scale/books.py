"""The ledger on one core and PostgreSQL: events a second, bytes on disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from bench.ledger import Ledger, cpu_seconds, environment, events_of, running_ledger, send
from bench.scale import figures
from bench.scale.slopes import Books, Figures

REQUESTS = 10_000
# Begin and end of a request lie so far apart that they are in different batches, as those of real streams.
_APART, _WARM_UP = 1000, 1000
_PATIENCE_SECONDS = 300.0
_SIZES = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind IN ('r', 'm') AND (relname ~ '^(requests|attempts)' OR relname = 'spend_daily')
"""


async def measure(folder: Path, postgres_url: str, redis_url: str, say: Callable[[str], None]) -> tuple[Books, Figures]:
    """Let a ledger record requests; then, without it, publish figures of budgets."""
    settings = environment(postgres_url, redis_url)
    migrate = [sys.executable, "-m", "cost_ledger", "migrate"]
    await asyncio.to_thread(subprocess.run, migrate, env=settings, check=True, capture_output=True)
    database = await asyncpg.connect(settings["COST_LEDGER_POSTGRES_URL"])
    try:
        async with redis.Redis.from_url(redis_url) as stream:
            await _fill(stream, _events(_WARM_UP))
            async with running_ledger(folder / "books.log", settings, stream) as ledger:
                await ledger.drained()
                recorded = await _measure(ledger, database, say)
            return recorded, await figures.measure(settings["COST_LEDGER_POSTGRES_URL"], stream, say)
    finally:
        await database.close()


async def _measure(ledger: Ledger, database: asyncpg.Connection[Any], say: Callable[[str], None]) -> Books:
    batches = _events(REQUESTS)
    sizes = await database.fetchval(_SIZES)
    position = await database.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
    began, used = time.monotonic(), cpu_seconds(ledger)
    await _fill(ledger.stream, batches)
    await ledger.drained()
    seconds, used = time.monotonic() - began, cpu_seconds(ledger).since(used)
    more = await database.fetchval(_SIZES) - sizes
    wal = await database.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn") - position
    events = 2 * REQUESTS
    say(
        f"{events / seconds:,.0f} events a second; {events / used.ledger:,.0f} per core of the ledger, "
        f"{events / used.postgres:,.0f} of PostgreSQL; {more / REQUESTS:,.0f} bytes a request on disk"
    )
    return Books(
        REQUESTS,
        events / seconds,
        events / used.ledger,
        events / used.postgres,
        more / REQUESTS,
        float(wal) / REQUESTS,
    )


def _events(requests: int) -> list[list[bytes]]:
    """Return the events of so many requests: some that begin, then the ends of the same, and so on."""
    batches = []
    for first in range(0, requests, _APART):
        both = [events_of(number, datetime.now(UTC)) for number in range(first, first + _APART)]
        batches += [[begin for begin, _ in both], [end for _, end in both]]
    return batches


async def _fill(stream: redis.Redis, batches: Sequence[Sequence[bytes]]) -> None:
    for batch in batches:
        await send(stream, batch)
