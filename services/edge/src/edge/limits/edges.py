"""How many edges share the limits: each says in Redis that it is there."""

from __future__ import annotations

import uuid
from contextlib import suppress

from edge.events.redis import RedisAway, RedisStore

PRESENCE_INTERVAL_SECONDS = 5.0
_GONE_AFTER_SECONDS = 20
_KEY = "{spillway:cost-events}:edges"
_PRESENT = """
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


class Edges:
    """Counts them; while Redis is away the last count holds."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._own = str(uuid.uuid4())
        self._count = 1

    def count(self) -> int:
        """Return how many there are, this one included."""
        return self._count

    async def be_present(self) -> None:
        """Say that this one is there, and count."""
        with suppress(RedisAway):
            (count,) = await self._store.run([("EVAL", _PRESENT, 1, _KEY, self._own, _GONE_AFTER_SECONDS)])
            self._count = max(1, int(count))

    async def leave(self) -> None:
        """Say that this one is there no longer."""
        with suppress(RedisAway):
            await self._store.run([("ZREM", _KEY, self._own)])
