"""The edge's Redis: one round trip before the call (look-up, admitted event), one after it (answer, settled event)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from edge.cache.cache import TTL_SECONDS

log = structlog.get_logger()

COST_EVENTS = "spillway:cost-events"
# The answer is out already; only the terminal frame waits for this one, and a spool write costs more than a wait.
_SETTLE_TIMEOUT_SECONDS = 0.5
_REPLAY_TIMEOUT_SECONDS = 5.0
_PING_TIMEOUT_SECONDS = 1.0
# After a failure the next requests do not even try for this long: a slow Redis is worse than none.
_REST_SECONDS = 1.0


class RedisAway(Exception):
    """Redis did not do it in time; whether it did it later is unknown."""


class RedisStore:
    """Commands of the edge to Redis. Every one raises RedisAway instead of taking long."""

    def __init__(self, client: redis.Redis, look_up_timeout_seconds: float) -> None:
        self._client = client
        self._look_up_timeout = look_up_timeout_seconds
        self._rests_until = 0.0

    async def admit(self, event: bytes, key: str | None) -> bytes | None:
        """Record the admitted event and look `key` up; return what is stored there. None: nothing, or no key given."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(COST_EVENTS, {"event": event})
        if key is not None:
            pipeline.get(key)
        replies = await self._execute(pipeline, self._look_up_timeout)
        return cast("bytes | None", replies[1]) if key is not None else None

    async def settle(self, event: bytes, entry: tuple[str, bytes] | None) -> None:
        """Record the settled event and store the answer `entry` (key, value) for 24 hours."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(COST_EVENTS, {"event": event})
        if entry is not None:
            pipeline.set(entry[0], entry[1], ex=TTL_SECONDS)
        await self._execute(pipeline, _SETTLE_TIMEOUT_SECONDS)

    async def run_id(self) -> str:
        """Return the name that Redis has given to this run of itself: another one after each start and fail-over."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("server")
        (server,) = await self._execute(pipeline, _PING_TIMEOUT_SECONDS)
        return str(cast("dict[str, object]", server).get("run_id", ""))

    async def replay(self, events: Sequence[bytes]) -> None:
        """Record events that had to wait, in order."""
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(COST_EVENTS, {"event": event})
        await self._execute(pipeline, _REPLAY_TIMEOUT_SECONDS)

    async def is_reachable(self) -> bool:
        """Tell whether Redis answers a ping, asked afresh."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
                await self._client.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _execute(self, pipeline: redis.client.Pipeline, timeout_seconds: float) -> list[object]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            raise RedisAway
        try:
            async with asyncio.timeout(timeout_seconds):
                return await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = loop.time() + _REST_SECONDS
            log.warning("redis_away", cause=type(error).__name__)
            raise RedisAway from error
