"""Budgets and what of them is spent, in Redis, where the edges decide by them.

    {spillway:cost-events}:budgets            a string: the budgets as a JSON array
    {spillway:cost-events}:budgets:active     a sorted set: figures that edges ask for, by when they last did (seconds)

A member of the set is a JSON array: the key of the figure, `each`, tenant, subject, and the period's first and last
second since 1970. The key is chosen by the edge, which also writes to it (edge/budgets/):

    KEY           a hash: `ledger`, what the books say in nano-USD; `pending`, the sum of all other fields; and for each
                  request that they may lack, its id with what it is expected to cost or has cost
    KEY:leases    a sorted set: those ids, by when they no longer count (milliseconds)

A request that has ended counts there until the books have it, so no spend is ever missing in between. In one snapshot
the sum and the requests that are in it are read; in one step in Redis the sum is set and these requests are taken out.
A figure is therefore right however often it is published, and after Redis lost everything with the next publication.
So many requests that one step would keep Redis from others are moved to `ledger` part by part before it, each with its
own amount: what edges decide by, the sum of both, stays what it was.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import orjson
import structlog
from redis.exceptions import RedisError

from cost_ledger.budgets.budgets import EACH, read_budgets
from cost_ledger.budgets.figures import Period, settled_of, spent
from cost_ledger.connections import OUTAGES, Connection, borrowed
from cost_ledger.metrics import Metrics
from servicekit.redis_client import RedisClient

log = structlog.get_logger()

RULES = "{spillway:cost-events}:budgets"
ACTIVE = "{spillway:cost-events}:budgets:active"
_DEADLINE_SECONDS = 10.0
# Edges ask again every 20 s as long as requests come.
_ACTIVE_SECONDS = 120
_MAX_ACTIVE = 50_000
# In one snapshot.
_PAGE = 500
# Taken out of a figure in a turn, and in one script. What is over a turn's share counts twice until the next one.
_MAX_MEMBERS, _MAX_MOVED = 50_000, 500
_MAX_KEY = 1500
# After the end of a period late requests may still settle.
_KEPT_SECONDS = 3 * 24 * 60 * 60
_KEPT_OF_LONG_SECONDS = 40 * 24 * 60 * 60
# A publication is followed by a pause of four times its length; with every failure the pause doubles.
_PAUSE_FACTOR, _MAX_PAUSE_SECONDS = 4, 10.0
# Any constant; the process that holds this advisory lock publishes.
_LOCK = 0x5B11BDF1
# Who still runs has a lease of a minute; who has ended stays for days.
_ENDED = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000
return {redis.call('HGET', KEYS[1], 'ledger'),
        redis.call('ZRANGEBYSCORE', KEYS[2], now + 86400000, '+inf', 'LIMIT', 0, ARGV[1])}
"""
_MOVE = """
local gone = 0
for index = 1, #ARGV do
  local amount = redis.call('HGET', KEYS[1], ARGV[index])
  if amount then
    gone = gone + tonumber(amount)
    redis.call('HDEL', KEYS[1], ARGV[index])
  end
  redis.call('ZREM', KEYS[2], ARGV[index])
end
if gone ~= 0 then
  redis.call('HINCRBY', KEYS[1], 'pending', -gone)
  redis.call('HINCRBY', KEYS[1], 'ledger', gone)
end
"""
_WRITE = """
local gone = 0
for index = 3, #ARGV do
  local amount = redis.call('HGET', KEYS[1], ARGV[index])
  if amount then
    gone = gone + tonumber(amount)
    redis.call('HDEL', KEYS[1], ARGV[index])
  end
  redis.call('ZREM', KEYS[2], ARGV[index])
end
redis.call('HSET', KEYS[1], 'ledger', ARGV[1])
if gone ~= 0 then
  redis.call('HINCRBY', KEYS[1], 'pending', -gone)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


class Figure(NamedTuple):
    """What edges decide by, and what it says."""

    key: str
    period: Period


class BudgetPublisher:
    """Publishes turn by turn."""

    def __init__(self, pool: asyncpg.Pool, client: RedisClient, metrics: Metrics) -> None:
        self._pool = pool
        self._client = client
        self._metrics = metrics
        self._failures = 0

    async def turn(self) -> None:
        """Publish once; then pause, longer after each failure, for which the next turn makes up."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.publish()
        except (RedisError, *OUTAGES) as error:
            self._failures += 1
            self._metrics.budget_publish_failures.inc()
            log.warning("budgets_not_published", cause=type(error).__name__)
            pause = 2.0**self._failures
        else:
            self._failures = 0
            pause = (time.monotonic() - began) * _PAUSE_FACTOR
        await asyncio.sleep(min(pause, _MAX_PAUSE_SECONDS))

    async def publish(self) -> None:
        """Publish the budgets and all figures in use. Raises what asyncpg and redis raise."""
        async with borrowed(self._pool, _DEADLINE_SECONDS) as connection:
            rules = orjson.dumps([budget.plain() for budget in await read_budgets(connection)])
            if await self._client.get(RULES) != rules:
                await self._client.set(RULES, rules)
            figures = await active_figures(self._client)
            for first in range(0, len(figures), _PAGE):
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    # With an older snapshot than somebody else's an older figure would take the place of a newer one.
                    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                        return
                    await self._publish(connection, figures[first : first + _PAGE])

    async def _publish(self, connection: Connection, figures: Sequence[Figure]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for figure in figures:
            pipeline.eval(_ENDED, 2, figure.key, f"{figure.key}:leases", str(_MAX_MEMBERS))
        ended: list[tuple[bytes | None, list[bytes]]] = await pipeline.execute()
        ids = {member: request_id for _, members in ended for member in members if (request_id := _uuid(member))}
        # The transaction's snapshot was taken with the lock: what is read now was in the books then.
        settled = await settled_of(connection, list(set(ids.values())))
        sums = await spent(connection, [figure.period for figure in figures])
        pipeline = self._client.pipeline(transaction=False)
        for figure, (known, members), figure_sum in zip(figures, ended, sums, strict=True):
            counted = [member for member in members if ids.get(member) in settled]
            if known != b"%d" % figure_sum or counted:
                keys = (figure.key, f"{figure.key}:leases")
                # Before its first publication a figure has no sum that something could be moved to.
                while known is not None and len(counted) > _MAX_MOVED:
                    moved, counted = counted[:_MAX_MOVED], counted[_MAX_MOVED:]
                    pipeline.eval(_MOVE, 2, *keys, *map(bytes.decode, moved))
                seconds = str(_seconds_kept(figure.period))
                pipeline.eval(_WRITE, 2, *keys, str(figure_sum), seconds, *map(bytes.decode, counted[:_MAX_MOVED]))
        if len(pipeline):
            await pipeline.execute()


async def active_figures(client: RedisClient) -> list[Figure]:
    """Return the figures that edges ask for; what cannot be read is removed."""
    await client.zremrangebyscore(ACTIVE, "-inf", int(time.time()) - _ACTIVE_SECONDS)
    members: Any = await client.zrevrangebyscore(ACTIVE, "+inf", "-inf", start=0, num=_MAX_ACTIVE)
    figures = []
    for member in members:
        figure = _figure_in(member)
        if figure is None:
            await client.zrem(ACTIVE, member)
            log.warning("budget_figure_unusable", length=len(member))
        else:
            figures.append(figure)
    return figures


def _figure_in(member: bytes) -> Figure | None:
    try:
        key, each, tenant, subject, first, last = json.loads(member)
        is_usable = (
            len(key) <= _MAX_KEY
            and ":budget:" in key
            and each in EACH
            and all(isinstance(text, str) and "\0" not in text for text in (key, tenant, subject))
        )
        period = Period(each, tenant, subject, *(datetime.fromtimestamp(int(moment), UTC) for moment in (first, last)))
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None
    return Figure(key, period) if is_usable else None


def _uuid(member: bytes) -> uuid.UUID | None:
    try:
        return uuid.UUID(member.decode())
    except ValueError:
        return None


def _seconds_kept(period: Period) -> int:
    left = (period.last - datetime.now(UTC)).total_seconds()
    return int(min(max(left, 0) + _KEPT_SECONDS, _KEPT_OF_LONG_SECONDS))
