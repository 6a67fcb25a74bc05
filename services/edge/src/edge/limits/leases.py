"""Leases of running streams: each counts for a minute and is renewed, so that those of an edge that died end."""

from __future__ import annotations

from contextlib import suppress

from edge.events.redis import Command, RedisAway, RedisStore

LEASE_SECONDS = 60
RENEW_INTERVAL_SECONDS = 20.0
_MOST_AT_ONCE = 500
# By the clock of Redis; one that has ended meanwhile is not brought back (XX), nor is what stays longer cut (GT).
_RENEW = """
local time = redis.call('TIME')
local score = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[1])
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', 'GT', score, ARGV[index])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""


class Leases:
    """Those of this edge."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._members: dict[str, set[str]] = {}

    def begin(self, key: str, member: str) -> None:
        """Keep the lease until it ends."""
        self._members.setdefault(key, set()).add(member)

    def end(self, key: str, member: str) -> None:
        """Renew it no longer."""
        members = self._members.get(key, set())
        members.discard(member)
        if not members:
            self._members.pop(key, None)

    def count(self, key: str) -> int:
        """Return how many of this edge's streams run."""
        return len(self._members.get(key, ()))

    async def renew(self) -> None:
        """Renew all."""
        commands: list[Command] = []
        for key, members in self._members.items():
            ordered = sorted(members)
            for first in range(0, len(ordered), _MOST_AT_ONCE):
                some = ordered[first : first + _MOST_AT_ONCE]
                commands.append(("EVAL", _RENEW, 1, key, LEASE_SECONDS * 1000, *some))
        if commands:
            with suppress(RedisAway):  # it is tried again before they end
                await self._store.run(commands)
