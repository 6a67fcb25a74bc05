"""What the routers tell each other about breakers, over Redis.

Of each target Redis keeps three keys: the state (the last opening, failed probe or closing, with its number, the
epoch), the outcomes of all routers in the sliding window, and the lease of the probe. One script does it all, so
nothing comes between a look and a change: a state is replaced only by who knew it, and a lease is given only on the
state that the taker knows. All times are Redis's own; routers are told durations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from llm_router.breaker.window import BUCKET_SECONDS, BUCKETS, NOTHING, Totals
from llm_router.metrics import Metrics

log = structlog.get_logger()

# A probe renews its lease at every exchange; the lease of a router that was killed is free after this time.
LEASE_SECONDS = 5.0
# No rest is longer; a state that says so was written under another clock of Redis.
LONGEST_REST_SECONDS = 60.0
# After a failure nobody tries for this long: a slow Redis is worse than none.
REST_SECONDS = 1.0
# Longer than any state matters, so that none stays for ever; a router that still needs it tells it anew.
_KEEP_SECONDS = 600.0
_CONNECTIONS = 4

_SCRIPT = """
local lease_ms, bucket_ms, buckets = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local keep_ms, longest_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local bucket = math.floor(now / bucket_ms)
local replies = {}
for i, ask in ipairs(cjson.decode(ARGV[1])) do
  local state, window, probe = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local known = redis.call('HMGET', state, 'epoch', 'is_open', 'reason', 'distance_ms', 'until_ms')
  local epoch, is_open = tonumber(known[1] or 0), tonumber(known[2] or 0)
  local reason, distance, until_ms = known[3] or '', tonumber(known[4] or 0), tonumber(known[5] or now)
  local accepted, leased = 0, 0
  if until_ms - now > longest_ms then until_ms = now end
  if epoch <= ask.epoch then
    if ask.offer then
      accepted, epoch, is_open, reason = 1, ask.epoch + 1, ask.offer.is_open, ask.offer.reason
      distance, until_ms = ask.offer.distance_ms, now + ask.offer.rest_ms
      redis.call('HSET', state, 'epoch', epoch, 'is_open', is_open, 'reason', reason,
                 'distance_ms', distance, 'until_ms', until_ms)
      redis.call('PEXPIRE', state, math.max(ask.offer.rest_ms, 0) + keep_ms)
      redis.call('DEL', window)
    end
    if ask.attempts > 0 then
      redis.call('HINCRBY', window, 'a' .. bucket, ask.attempts)
      redis.call('HINCRBY', window, 'f' .. bucket, ask.failures)
      redis.call('PEXPIRE', window, bucket_ms * buckets)
    end
    if ask.acquire and until_ms <= now and redis.call('SET', probe, ask.acquire, 'NX', 'PX', lease_ms) then
      leased = 1
    end
  end
  for _, token in ipairs(ask.release or {}) do
    if redis.call('GET', probe) == token then redis.call('DEL', probe) end
  end
  if ask.renew and not redis.call('SET', probe, ask.renew, 'NX', 'PX', lease_ms)
     and redis.call('GET', probe) == ask.renew then
    redis.call('PEXPIRE', probe, lease_ms)
  end
  local attempts, failures = 0, 0
  local counts = redis.call('HGETALL', window)
  for j = 1, #counts, 2 do
    if tonumber(string.sub(counts[j], 2)) <= bucket - buckets then
      redis.call('HDEL', window, counts[j])
    elseif string.sub(counts[j], 1, 1) == 'a' then
      attempts = attempts + counts[j + 1]
    else
      failures = failures + counts[j + 1]
    end
  end
  replies[i] = {epoch, is_open, reason, distance, until_ms - now, attempts, failures, accepted, leased}
end
return replies
"""


@dataclass(frozen=True, slots=True)
class State:
    """What a breaker is since its last transition, in durations."""

    is_open: bool
    reason: str
    """Why it is open; empty when it is closed."""
    distance_seconds: float
    """The doubling distance between probes; kept for a while after the closing, see `rest_seconds`."""
    rest_seconds: float
    """Open: until the next probe is due. Closed: until the distance is forgotten. Negative when that is past."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one router says and wants to know about one target."""

    target: str
    epoch: int
    """The number of the last shared transition that this router knows."""
    generation: int
    """The router's own number of its state; not sent."""
    counts: Totals = NOTHING
    """Attempts that ended since the last exchange, in the state that is offered if one is."""
    offer: State | None = None
    """A transition that was made here; taken unless another one came first."""
    acquire: str = ""
    """The token of a probe that wants the lease."""
    renew: str = ""
    """The token of a probe that is under way."""
    release: Sequence[str] = ()
    """The tokens of probes that are over."""

    def as_document(self) -> dict[str, Any]:
        """Return what the script reads; what is not wanted is absent."""
        document: dict[str, Any] = {
            "epoch": self.epoch,
            "attempts": self.counts.attempts,
            "failures": self.counts.failures,
        }
        if self.offer is not None:
            document["offer"] = {
                "is_open": int(self.offer.is_open),
                "reason": self.offer.reason,
                "distance_ms": round(self.offer.distance_seconds * 1000),
                "rest_ms": round(self.offer.rest_seconds * 1000),
            }
        for name in ("acquire", "renew", "release"):
            if value := getattr(self, name):
                document[name] = value
        return document


@dataclass(frozen=True, slots=True)
class Told:
    """What Redis answered about one target."""

    epoch: int
    state: State
    totals: Totals
    """The outcomes of all routers in the window, those of the question included."""
    accepted: bool
    """Whether the offer became the shared state."""
    leased: bool
    """Whether the lease that was asked for was given."""


class RedisShare:
    """The routers' common knowledge. Redis slow or away is an answer here, not an error."""

    def __init__(self, client: redis.Redis, metrics: Metrics) -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._metrics = metrics
        self._rests_until = 0.0
        self._is_lost = False

    @classmethod
    def connect(cls, url: str, metrics: Metrics) -> RedisShare:
        """Return a share over the Redis at `url`, connected when it is first needed; ValueError for a bad address."""
        # With a socket timeout the client writes under `asyncio.wait_for`, and before Python 3.12 that loses a
        # cancellation that comes as the write ends: who was told to stop would go on. `exchange` has its own timeout.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=1,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=1,
            socket_timeout=None,
        )
        return cls(redis.Redis.from_pool(pool), metrics)

    async def exchange(self, asks: Sequence[Ask], timeout_seconds: float) -> list[Told] | None:
        """Say and learn in one round trip, in the order of `asks`; None when Redis did not answer in time."""
        loop = asyncio.get_running_loop()
        if not asks or loop.time() < self._rests_until:
            return None
        keys = [f"spillway:breaker:{kind}:{ask.target}" for ask in asks for kind in ("state", "outcomes", "probe")]
        arguments: list[bytes | int] = [
            orjson.dumps([ask.as_document() for ask in asks]),
            round(LEASE_SECONDS * 1000),
            round(BUCKET_SECONDS * 1000),
            BUCKETS,
            round(_KEEP_SECONDS * 1000),
            round(LONGEST_REST_SECONDS * 1000),
        ]
        try:
            async with asyncio.timeout(timeout_seconds):
                replies = await self._script(keys, arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = loop.time() + REST_SECONDS
            self._fail(error)
            return None
        if self._is_lost:
            self._is_lost = False
            log.info("breaker_share_restored")
        return [_read(reply) for reply in replies]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _fail(self, error: Exception) -> None:
        self._metrics.breaker_share_failures.inc()
        if not self._is_lost:
            self._is_lost = True
            log.warning("breaker_share_lost", cause=type(error).__name__)


def _read(reply: Sequence[Any]) -> Told:
    epoch, is_open, reason, distance_ms, rest_ms, attempts, failures, accepted, leased = reply
    return Told(
        epoch=epoch,
        state=State(bool(is_open), reason.decode(), distance_ms / 1000, rest_ms / 1000),
        totals=Totals(attempts, failures),
        accepted=bool(accepted),
        leased=bool(leased),
    )
