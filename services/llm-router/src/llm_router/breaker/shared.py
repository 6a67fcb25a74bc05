"""The breakers that routers share over Redis: one script takes what they report of targets and returns what is decided.

Of each target Redis keeps three keys: the state with its number, the epoch; the outcomes of all routers in the sliding
window; the lease of the probe. The braces in them put all on one node of a Cluster. All times are Redis's own; routers
receive durations.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson
import structlog
from redis.exceptions import RedisError

from llm_router.breaker.state import (
    FLAPPING_SECONDS,
    MAX_REST_SECONDS,
    TOO_MANY_FAILURES,
    BreakerState,
    Failure,
    Verdict,
    draw_jitter,
)
from llm_router.breaker.window import BUCKET_SECONDS, BUCKETS, FAILURE_RATIO, MIN_ATTEMPTS, NO_ATTEMPTS, Totals
from llm_router.metrics import Metrics
from servicekit.redis_client import Reconnection, RedisAccess, RedisClient, open_redis

log = structlog.get_logger()

# A probe renews its lease at every exchange; the lease of a router that was killed is free after this time.
LEASE_SECONDS = 5.0
# After a failed exchange Redis is not called for this long: a slow Redis is worse than none.
_PAUSE_SECONDS = 1.0
# Longer than any state matters, so that no key stays for ever; a router that still needs it restores it.
_KEEP_SECONDS = 600.0
_CONNECTIONS = 4


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _failure_document(failure: Failure) -> dict[str, Any]:
    return {
        "reason": failure.reason,
        "min_backoff_ms": _milliseconds(failure.min_backoff_seconds),
        "max_backoff_ms": _milliseconds(failure.max_backoff_seconds),
        "rest_ms": _milliseconds(failure.rest_seconds),
    }


_RULES = orjson.dumps(
    {
        "lease_ms": _milliseconds(LEASE_SECONDS),
        "bucket_ms": _milliseconds(BUCKET_SECONDS),
        "buckets": BUCKETS,
        "min_attempts": MIN_ATTEMPTS,
        "failure_ratio": FAILURE_RATIO,
        "too_many_failures": _failure_document(TOO_MANY_FAILURES),
        "flapping_ms": _milliseconds(FLAPPING_SECONDS),
        "max_rest_ms": _milliseconds(MAX_REST_SECONDS),
        "keep_ms": _milliseconds(_KEEP_SECONDS),
    }
)


@dataclass(frozen=True, slots=True)
class BreakerUpdate:
    """What one router reports about one target, and asks for."""

    target: str
    """Under this name routers share what they know."""
    epoch: int
    """The number of the last shared state that this router knows."""
    generation: int
    """The router's own number of its state; not sent."""
    counts: Totals = NO_ATTEMPTS
    """Attempts that ended in this state and were not reported yet."""
    verdict: Verdict | None = None
    restore: BreakerState | None = None
    """A state that was decided while Redis was away, or that Redis has lost; taken unless Redis has a newer one."""
    acquire: str = ""
    """The token of a probe that needs the lease."""
    renew: str = ""
    """The token of a probe that is under way."""
    release: Sequence[str] = ()
    """The tokens of probes that ended."""

    def as_document(self) -> dict[str, Any]:
        """Return what the script reads; what does not apply is absent."""
        document: dict[str, Any] = {
            "epoch": self.epoch,
            "attempts": self.counts.attempts,
            "failures": self.counts.failures,
        }
        if self.verdict == "healthy":
            document["is_healthy"] = True
        elif self.verdict is not None:
            document["failure"] = _failure_document(self.verdict)
        if self.restore is not None:
            document["restore"] = {
                "is_open": self.restore.is_open,
                "reason": self.restore.reason,
                "backoff_ms": _milliseconds(self.restore.backoff_seconds),
                "rest_ms": _milliseconds(self.restore.rest_seconds),
            }
        for name in ("acquire", "renew", "release"):
            if value := getattr(self, name):
                document[name] = value
        return document


@dataclass(frozen=True, slots=True)
class BreakerReply:
    """What Redis decided about one target."""

    epoch: int
    state: BreakerState
    totals: Totals
    """The outcomes of all routers in the window, those of the update included."""
    is_own: bool
    """Whether the update brought the state about."""
    is_leased: bool
    """Whether the lease was granted to the update."""


class SharedBreakerState:
    """The routers' common state. Redis slow or away is an answer here, not an error."""

    def __init__(self, client: RedisClient, metrics: Metrics, rng: random.Random) -> None:
        self._client = client
        self._reconnection = Reconnection(client)
        self._script = client.register_script(files("llm_router.breaker").joinpath("shared.lua").read_text())
        self._metrics = metrics
        self._rng = rng
        self._paused_until = 0.0
        self._is_lost = False

    @classmethod
    def connect(
        cls, url: str, metrics: Metrics, rng: random.Random, access: RedisAccess | None = None
    ) -> SharedBreakerState:
        """Return the state in the Redis at `url`, connected at the first exchange; ValueError for a bad address."""
        return cls(open_redis(url, access, max_connections=_CONNECTIONS), metrics, rng)

    async def exchange(self, updates: Sequence[BreakerUpdate], timeout_seconds: float) -> list[BreakerReply] | None:
        """Report and learn in one round trip, in the order of `updates`; None when Redis did not answer in time."""
        loop = asyncio.get_running_loop()
        if not updates or loop.time() < self._paused_until:
            return None
        keys = [
            f"{{spillway:breaker}}:{kind}:{update.target}"
            for update in updates
            for kind in ("state", "outcomes", "probe")
        ]
        documents = orjson.dumps([update.as_document() for update in updates])
        try:
            async with asyncio.timeout(timeout_seconds):
                replies = await self._script(keys, [documents, _RULES, draw_jitter(self._rng)])
        except (RedisError, OSError, TimeoutError) as error:
            self._paused_until = loop.time() + _PAUSE_SECONDS
            self._reconnection.note_failure(error)
            self._fail(error)
            return None
        self._reconnection.note_success()
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


def _read(reply: Sequence[Any]) -> BreakerReply:
    epoch, is_open, reason, backoff_ms, rest_ms, attempts, failures, is_own, is_leased = reply
    return BreakerReply(
        epoch=epoch,
        state=BreakerState(bool(is_open), reason.decode(), backoff_ms / 1000, rest_ms / 1000),
        totals=Totals(attempts, failures),
        is_own=bool(is_own),
        is_leased=bool(is_leased),
    )
