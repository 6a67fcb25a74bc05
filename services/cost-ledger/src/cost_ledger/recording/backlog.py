"""The state of the stream of cost events, of its dead letters and of its consumer group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from cost_ledger.recording.consumer import DEAD_LETTERS, GROUP, STREAM
from servicekit.redis_client import RedisClient

# In one step: entries that a member reads between the check and its removal would be lost with it.
_REMOVE_IDLE_MEMBERS = """
local removed = {}
for _, member in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local facts = {}
    for at = 1, #member, 2 do facts[member[at]] = member[at + 1] end
    if facts.pending == 0 and facts.idle > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
        removed[#removed + 1] = facts.name
    end
end
return removed
"""
_MEASURE = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return {redis.call('XLEN', KEYS[1]), first and first[1] or false, redis.call('TIME'), redis.call('XLEN', KEYS[2])}
"""
# Where former versions put dead letters.
_FORMER_DEAD_LETTERS = "spillway:cost-events:dead"
_MOVED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not recorded yet, and what never will be."""

    events: int
    oldest_seconds: float
    """How long the oldest of them has been on the stream, by the clock of Redis; 0 when there is none."""
    dead_letters: int
    """Entries that cannot be recorded as they are."""


async def measure_backlog(client: RedisClient) -> Backlog:
    """Measure the stream: what is recorded leaves it, so its first entry is the oldest that is not. RedisError."""
    # The client's types omit that the result is awaitable.
    script: Any = client.eval(_MEASURE, 2, STREAM, DEAD_LETTERS)
    events, first, (seconds, microseconds), dead_letters = await script
    age = 0.0
    if first:
        age = max(int(seconds) + int(microseconds) / 1e6 - int(first.split(b"-")[0]) / 1e3, 0.0)
    return Backlog(events, age, dead_letters)


async def remove_idle_members(client: RedisClient, idle_seconds: float) -> list[str]:
    """Remove members of the group that hold nothing and have been idle for so long; return their names. RedisError.

    A member that is alive after all joins the group again with its next read.
    """
    try:
        # The client's types omit that the result is awaitable.
        script: Any = client.eval(_REMOVE_IDLE_MEMBERS, 1, STREAM, GROUP, str(int(idle_seconds * 1000)))
        removed: Any = await script
    except ResponseError as error:
        # There is no stream or no group yet.
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return []
        raise
    return [name.decode() for name in removed]


async def move_former_dead_letters(client: RedisClient) -> int:
    """Move dead letters of former versions to where they are now; return how many. RedisError.

    What is interrupted in between is there twice, and recorded once.
    """
    entries: Any = await client.xrange(_FORMER_DEAD_LETTERS, count=_MOVED_AT_ONCE)
    for entry_id, fields in entries:
        await client.xadd(DEAD_LETTERS, fields)
        await client.xdel(_FORMER_DEAD_LETTERS, entry_id)
    return len(entries)
