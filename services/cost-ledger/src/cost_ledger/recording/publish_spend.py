"""Step 9 of the request path, in the wake of the commit: spend by day is published to Redis, where step 2 reads it.

    spillway:spend:{TENANT}:DAY    a hash with the fields `tenant`, `user:USER` and `key:KEY_ID`
    {spillway:cost-events}:spend:all:DAY    a string: the sum over all tenants

DAY is the UTC day of admission, YYYY-MM-DD. The braces are part of the key: all keys of a tenant are on one node of a
Redis Cluster, and the sum over all is on that of the stream. Edges of a former version read it as
`spillway:spend:all:DAY`. Values are int64 nano-USD; unpriced attempts add nothing. Each write gives the key three more
days.

The values are sums read from `spend_daily`, never increments: a write that was lost or a Redis that lost everything is
repaired by the next publication. What a commit changed is published within about a second. All of today is published
at start, every 30 s, and whenever today's `all` is missing from Redis; that also covers corrections (`reprice`).

Ledgers publish one at a time: a lock in PostgreSQL is held from the read to the end of the write, so no figure goes
back to an older one. The exception is a write that a frozen Redis carries out after its deadline; the next publication
of all of today corrects it.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import asyncpg
import structlog
from redis.exceptions import RedisError

from cost_ledger.columns import by_column
from cost_ledger.connections import OUTAGES, Connection, borrowed
from cost_ledger.metrics import Metrics
from cost_ledger.spend_daily import SpendKey
from servicekit.redis_client import RedisClient

log = structlog.get_logger()

_TTL_SECONDS = 3 * 24 * 60 * 60
# Budgets are about today. A request admitted before midnight may settle after it; the clock of an edge may be ahead.
_MAX_DAYS_AWAY = 1
_DEADLINE_SECONDS = 10.0
_ALL_INTERVAL_SECONDS = 30.0
# A publication is followed by a pause of four times its length; with every failure the pause doubles. Ten seconds at
# most: that is how late figures may be on a system at its limits.
_PAUSE_FACTOR = 4
_MAX_PAUSE_SECONDS = 10.0
# How long to wait for a commit before looking whether Redis still has the figures.
_LOOK_INTERVAL_SECONDS = 1.0
# While Redis is away, changes add up; beyond these all of today is published instead.
_MAX_CHANGES = 50_000
# Fields in one round trip: Redis serves others between two of them.
_MAX_FIELDS = 1_000
# Any constant; the process that holds this advisory lock publishes.
_LOCK = 0x5B111A7D
_WRITE = """
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
# `rows` are all of some tenants' days, `published` the users and keys among them whose figures are wanted.
_FIGURES = """
figures AS (
    SELECT tenant, day, 'tenant' AS field, sum(usd) AS usd FROM rows GROUP BY tenant, day
    UNION ALL
    SELECT tenant, day, 'user:' || user_id, sum(usd) FROM rows
    WHERE (tenant, day, user_id) IN (SELECT tenant, day, user_id FROM published) GROUP BY tenant, day, user_id
    UNION ALL
    SELECT tenant, day, 'key:' || key_id, sum(usd) FROM rows
    WHERE (tenant, day, key_id) IN (SELECT tenant, day, key_id FROM published) GROUP BY tenant, day, key_id
)
SELECT tenant, day, field, least(usd * 1000000000, 9223372036854775807)::int8 AS nano_usd FROM figures
"""
# OFFSET 0 makes PostgreSQL look up each tenant's day in the index; it would rather join with the table of all days.
_CHANGED = f"""
WITH published AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::text[]) AS changes (tenant, day, user_id, key_id)
),
rows AS MATERIALIZED (
    SELECT tenant, day, user_id, key_id, sum(cost_usd) AS usd
    FROM (SELECT DISTINCT tenant, day FROM published) AS days CROSS JOIN LATERAL (
        SELECT user_id, key_id, cost_usd FROM spend_daily
        WHERE spend_daily.tenant = days.tenant AND spend_daily.day = days.day OFFSET 0
    ) AS of_day
    GROUP BY tenant, day, user_id, key_id
),
{_FIGURES}
"""  # noqa: S608 - no input in it
_ALL_OF_DAY = f"""
WITH rows AS MATERIALIZED (
    SELECT tenant, day, user_id, key_id, sum(cost_usd) AS usd FROM spend_daily WHERE day = $1
    GROUP BY tenant, day, user_id, key_id
),
published AS (SELECT * FROM rows),
{_FIGURES}
"""  # noqa: S608 - no input in it
_TOTAL = """
SELECT least(coalesce(sum(cost_usd), 0) * 1000000000, 9223372036854775807)::int8 FROM spend_daily WHERE day = $1
"""


class Change(NamedTuple):
    """Figures that a commit changed: those of a user, of a key and of their tenant on a day."""

    tenant: str
    day: date
    user_id: str
    key_id: str


def tenant_key(tenant: str, day: date) -> str:
    """Return the key of a tenant's figures of a day."""
    return f"spillway:spend:{{{tenant}}}:{day.isoformat()}"


def total_key(day: date) -> str:
    """Return the key of the sum over all tenants on a day."""
    return f"{{spillway:cost-events}}:spend:all:{day.isoformat()}"


class SpendPublisher:
    """Publishes what commits changed, at most about once a second, apart from the work of recording."""

    def __init__(self, pool: asyncpg.Pool, client: RedisClient, metrics: Metrics) -> None:
        self._pool = pool
        self._client = client
        self._metrics = metrics
        self._changes: set[Change] = set()
        self._is_changed = asyncio.Event()
        self._next_all = 0.0
        self._failures = 0

    def add(self, keys: Iterable[SpendKey]) -> None:
        """Note which figures a commit changed; never waits, never fails."""
        self._changes |= {Change(key.tenant, key.day, key.user_id, key.key_id) for key in keys}
        if len(self._changes) > _MAX_CHANGES:
            self._changes.clear()
            self._next_all = 0.0
        self._is_changed.set()

    async def turn(self) -> None:
        """Publish once, then wait until there is more to publish; after a failure, longer each time."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.publish(datetime.now(UTC).date())
        except (RedisError, *OUTAGES) as error:
            self._failures += 1
            self._metrics.spend_publish_failures.inc()
            log.warning("spend_not_published", cause=type(error).__name__)
            pause = 2.0**self._failures
        else:
            self._failures = 0
            took = time.monotonic() - began
            self._metrics.spend_publish_seconds.observe(took)
            pause = took * _PAUSE_FACTOR
        await asyncio.sleep(min(pause, _MAX_PAUSE_SECONDS))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_INTERVAL_SECONDS):
                await self._is_changed.wait()

    async def publish(self, today: date) -> None:
        """Publish what is due; if it fails it stays due. Raises what asyncpg and redis raise."""
        changes, self._changes = self._changes, set()
        self._is_changed.clear()
        try:
            if time.monotonic() >= self._next_all or not await self._client.exists(total_key(today)):
                await self._publish({today}, _ALL_OF_DAY, today)
                self._next_all = time.monotonic() + _ALL_INTERVAL_SECONDS
            recent = [change for change in changes if abs((change.day - today).days) <= _MAX_DAYS_AWAY]
            if recent:
                await self._publish({change.day for change in recent}, _CHANGED, *by_column(recent))
        except BaseException:
            self._changes |= changes
            raise

    async def _publish(self, days: Iterable[date], statement: str, *arguments: Any) -> None:
        async with borrowed(self._pool, _DEADLINE_SECONDS) as connection, connection.transaction():
            # A process that is stopped in between must not keep the others from publishing.
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_DEADLINE_SECONDS:.0f}s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            # Each statement sees all that was committed when it begins, hence more than any holder of the lock before.
            await self._write_figures(connection, statement, arguments)
            for day in sorted(days):
                total = await connection.fetchval(_TOTAL, day)
                await self._client.set(total_key(day), total, ex=_TTL_SECONDS)
                await self._client.set(f"spillway:spend:all:{day.isoformat()}", total, ex=_TTL_SECONDS)

    async def _write_figures(self, connection: Connection, statement: str, arguments: Iterable[Any]) -> None:
        figures: defaultdict[str, list[str]] = defaultdict(list)
        count = 0
        async for row in connection.cursor(statement, *arguments, prefetch=_MAX_FIELDS):
            figures[tenant_key(row["tenant"], row["day"])] += (row["field"], str(row["nano_usd"]))
            count += 1
            if count % _MAX_FIELDS == 0:
                await self._write(figures)
                figures.clear()
        await self._write(figures)

    async def _write(self, figures: dict[str, list[str]]) -> None:
        if figures:
            pipeline = self._client.pipeline(transaction=False)
            for key, fields_and_values in figures.items():
                pipeline.eval(_WRITE, 1, key, str(_TTL_SECONDS), *fields_and_values)
            await pipeline.execute()
