"""The edge's Redis: one round trip before the call (admission), one after it (settled event, answer)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

import structlog
from redis.asyncio import RedisCluster
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from servicekit.redis_client import Reconnection, RedisClient

log = structlog.get_logger()

ReplyT = TypeVar("ReplyT")
Command: TypeAlias = tuple[str | bytes | int, ...]
"""A Redis command with its arguments."""

# In a Cluster every key that begins with `{spillway:cost-events}` is on the node of the stream, as one script needs.
COST_EVENTS = "spillway:cost-events"
_RUN_ID = """
return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
"""
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

    def __init__(self, client: RedisClient, look_up_timeout_seconds: float) -> None:
        self._client = client
        self._reconnection = Reconnection(client)
        self._look_up_timeout = look_up_timeout_seconds
        self._rests_until = 0.0
        self.is_cluster = isinstance(client, RedisCluster)
        """Whether a script can read only keys of one slot."""
        self._run_id = client.register_script(_RUN_ID)

    def script(self, source: str) -> AsyncScript:
        """Return a Lua script to `evaluate`; it is sent to Redis once, and again to a Redis that does not know it."""
        return self._client.register_script(source)

    async def evaluate(self, script: AsyncScript, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Run a script on the way of a request, for which there is little time; return its reply."""
        return await self._bounded(script(keys, arguments), self._look_up_timeout)

    async def look_up(self, key: str) -> bytes | None:
        """Return what is stored under `key`, on the way of a request."""
        # The client's types omit that the result is awaitable.
        stored: Any = self._client.get(key)
        value: bytes | None = await self._bounded(stored, self._look_up_timeout)
        return value

    async def settle(self, event: bytes, beside: Sequence[Command]) -> None:
        """Record the settled event and run the commands `beside` it."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xadd(COST_EVENTS, {"event": event})
        for command in beside:
            pipeline.execute_command(*command)
        await self._bounded(pipeline.execute(), _SETTLE_TIMEOUT_SECONDS)

    async def run(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Run commands in one go; return their replies."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: Sequence[Any] = await self._bounded(pipeline.execute(), _SETTLE_TIMEOUT_SECONDS)
        return replies

    async def run_id(self) -> str:
        """Return the name of this run of the Redis with the stream: another one after each start and fail-over."""
        run_id: Any = await self._bounded(self._run_id([COST_EVENTS], []), _PING_TIMEOUT_SECONDS)
        return (run_id or b"").decode()

    async def replay(self, events: Sequence[bytes]) -> None:
        """Record events that had to wait, in order."""
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(COST_EVENTS, {"event": event})
        await self._bounded(pipeline.execute(), _REPLAY_TIMEOUT_SECONDS)

    async def is_reachable(self) -> bool:
        """Tell whether Redis answers a ping, asked afresh."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
                await self._client.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _bounded(self, command: Awaitable[ReplyT], timeout_seconds: float) -> ReplyT:
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            if isinstance(command, Coroutine):
                command.close()
            raise RedisAway
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = await command
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = loop.time() + _REST_SECONDS
            self._reconnection.note_failure(error)
            log.warning("redis_away", cause=type(error).__name__)
            raise RedisAway from error
        self._reconnection.note_success()
        return reply
