"""The keys' records in Redis: an edge that starts while ledger and Postgres are away has them from there.

    {spillway:keys}:records      a hash: KEY_ID -> a `spillway.accounts.v1.KeyRecord`
    {spillway:keys}:revisions    a sorted set: KEY_ID by the revision of its last change
    {spillway:keys}:format       what the records have; of another one than this ledger's they are published anew

All are on one node of a Redis Cluster. They are written in the order of revisions, so the largest one in Redis tells
what is missing there: all of it after Redis was emptied. Any number of ledgers may write: no record takes the place of
a newer one. There is no secret in a record, and its hash is worth nothing without the pepper.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import structlog
from redis.exceptions import RedisError

from cost_ledger.accounts.keys import read_changes
from cost_ledger.connections import OUTAGES, borrowed
from cost_ledger.metrics import Metrics
from servicekit.redis_client import RedisClient
from spillway.accounts.v1 import accounts_pb2 as accountspb

log = structlog.get_logger()

RECORDS = "{spillway:keys}:records"
REVISIONS = "{spillway:keys}:revisions"
FORMAT = "{spillway:keys}:format"
# 2: without what is for people only, as names.
_FORMAT = "2"
_DEADLINE_SECONDS = 10.0
# In one script: Redis serves others between two of them.
_PAGE = 500
_WRITE = """
redis.call('SET', KEYS[3], ARGV[1])
for at = 2, #ARGV, 3 do
    local known = redis.call('ZSCORE', KEYS[2], ARGV[at])
    if not known or tonumber(known) < tonumber(ARGV[at + 1]) then
        redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
        redis.call('ZADD', KEYS[2], ARGV[at + 1], ARGV[at])
    end
end
"""
_STATE = """
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
if redis.call('HLEN', KEYS[1]) ~= redis.call('ZCARD', KEYS[2]) then return '-1' end
if last[2] and redis.call('GET', KEYS[3]) ~= ARGV[1] then return '-1' end
return last[2] or '0'
"""


class KeyPublisher:
    """Brings Redis up to date, turn by turn."""

    def __init__(self, pool: asyncpg.Pool, client: RedisClient, metrics: Metrics) -> None:
        self._pool = pool
        self._client = client
        self._metrics = metrics

    async def turn(self) -> None:
        """Publish what Redis lacks; a failure is counted, and the next turn makes up for it."""
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.publish()
        except (RedisError, *OUTAGES) as error:
            self._metrics.key_publish_failures.inc()
            log.warning("keys_not_published", cause=type(error).__name__)

    async def publish(self) -> None:
        """Publish what Redis lacks. Raises what asyncpg and redis raise."""
        published = await self._published()
        while True:
            changes = await self._changes(max(published, 0))
            if published < 0 or published > changes.revision:
                # Half of it is gone, the database is one from a backup, or another version has written it.
                await self._client.delete(RECORDS, REVISIONS, FORMAT)
                log.warning("keys_published_anew", published=published, revision=changes.revision)
                published = 0
                continue
            if not changes.records:
                return
            await self._write(changes)
            published = changes.records[-1].key.revision

    async def _changes(self, revision: int) -> accountspb.ListKeyChangesResponse:
        async with (
            borrowed(self._pool, _DEADLINE_SECONDS) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await read_changes(connection, revision, _PAGE)

    async def _published(self) -> int:
        last: Any = await self._evaluate(_STATE)
        return int(float(last))

    async def _write(self, changes: accountspb.ListKeyChangesResponse) -> None:
        arguments: list[str | bytes | int] = []
        for record in changes.records:
            arguments += (record.key.key_id, record.key.revision, record.SerializeToString())
        await self._evaluate(_WRITE, *arguments)

    async def _evaluate(self, script: str, *arguments: str | bytes | int) -> Any:
        # The client's types omit that the result is awaitable.
        evaluated: Any = self._client.eval(script, 3, RECORDS, REVISIONS, FORMAT, _FORMAT, *arguments)
        return await evaluated
