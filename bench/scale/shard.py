"""What one request costs the Valkey that has keys of one kind, with the edge's own scripts, and what it keeps of it.

In a Redis Cluster the stream of cost events with all that is global, each tenant's limits and budgets, and the cached
answers are on nodes of their own; here each kind is asked of one Valkey alone. Valkey is stopped while requests are
sent, and then finds many at once, as one does that has much to do.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any, TypeAlias

import orjson
import redis

from bench.ledger import STREAM, events_of
from bench.scale.slopes import Shard
from bench.usage import own_usage_of
from edge.events.redis import COST_EVENTS
from llm_router.breaker.shared import _RULES, BreakerUpdate
from llm_router.breaker.window import Totals

Command: TypeAlias = tuple[str | bytes | int, ...]
Trips: TypeAlias = Sequence[Sequence[Command]]
"""The round trips of one request, each with its commands."""

REQUESTS, CONNECTIONS = 4000, 100
_REST_SECONDS = 5.0
_GROUP, _BATCH = "bench", 500
_MINUTE_MS, _DAY_MS, _PLENTY = 60_000, 86_400_000, 10**12
_CHUNKS, _CHUNK_BYTES = 400, 8
_ADMISSION = resources.files("edge.guard").joinpath("admission.lua").read_text()
_SETTLE_WINDOW = resources.files("edge.limits").joinpath("settle.lua").read_text()
_SETTLE_BUDGET = resources.files("edge.budgets").joinpath("settle.lua").read_text()
_BREAKERS = resources.files("llm_router.breaker").joinpath("shared.lua").read_text()
_TARGETS = ("openai", "anthropic", "azure", "own")
_BREAKER_KEYS = [f"{{spillway:breaker}}:{kind}:{name}" for name in _TARGETS for kind in ("state", "outcomes", "probe")]
_BREAKER_UPDATES = orjson.dumps([BreakerUpdate(name, 0, 0, Totals(7, 0), "healthy").as_document() for name in _TARGETS])
_WINDOWS = (_MINUTE_MS, _DAY_MS, _MINUTE_MS, _DAY_MS)


class Valkey:
    """One of its own, empty, and connections of many edges to it."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.pid = int(self.client.info("server")["process_id"])
        pool = redis.ConnectionPool.from_url(url)
        self._connections = [pool.get_connection() for _ in range(CONNECTIONS)]
        self.admission: str = self.client.script_load(_ADMISSION)

    def cpu_us(self, requests: int, trips_of: Callable[[int], Trips]) -> float:
        """Send the round trips of so many requests; return the CPU microseconds that one took."""
        before = own_usage_of(self.pid).cpu_seconds
        for first in range(0, requests, CONNECTIONS):
            together = [trips_of(number) for number in range(first, min(first + CONNECTIONS, requests))]
            for trips in zip(*together, strict=True):
                self._send(trips)
        return (own_usage_of(self.pid).cpu_seconds - before) * 1e6 / requests

    def at_rest_us(self) -> float:
        """Ask nothing for some seconds; return the CPU microseconds of one."""
        before = own_usage_of(self.pid).cpu_seconds
        time.sleep(_REST_SECONDS)
        return (own_usage_of(self.pid).cpu_seconds - before) * 1e6 / _REST_SECONDS

    def _send(self, trips: Sequence[Sequence[Command]]) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        try:
            for connection, trip in zip(self._connections, trips, strict=False):
                connection.send_packed_command(connection.pack_commands(trip))  # type: ignore[no-untyped-call]
        finally:
            os.kill(self.pid, signal.SIGCONT)
        for connection, trip in zip(self._connections, trips, strict=False):
            for _ in trip:
                connection.read_response()


def measure(url: str, say: Callable[[str], None]) -> tuple[Shard, float]:
    """Return what a request costs each kind of shard, and the bytes that a budget holds of a running request."""
    valkey = Valkey(url)
    consumed_us = _consumed(valkey)
    alone = valkey.cpu_us(REQUESTS, lambda number: _stream(valkey, number, has_budget=False)) + consumed_us
    valkey.client.flushall()
    with_budget = valkey.cpu_us(REQUESTS, lambda number: _stream(valkey, number, has_budget=True)) + consumed_us
    running_bytes = memory(valkey.client, *_budget_keys(COST_EVENTS, "all")) / REQUESTS
    valkey.client.flushall()
    tenant = valkey.cpu_us(REQUESTS, lambda number: _tenant(valkey, number, budgets=1, windows=1, leases=0))
    valkey.client.flushall()
    full = valkey.cpu_us(REQUESTS, lambda number: _tenant(valkey, number, budgets=2, windows=8, leases=2))
    valkey.client.flushall()
    cache = valkey.cpu_us(REQUESTS, _cache)
    valkey.client.flushall()
    exchange: Command = ("EVAL", _BREAKERS, len(_BREAKER_KEYS), *_BREAKER_KEYS, _BREAKER_UPDATES, _RULES, 1)
    breakers = valkey.cpu_us(REQUESTS, lambda _: [[exchange]])
    valkey.client.flushall()
    shard = Shard(alone, with_budget, tenant, full, cache, breakers, valkey.at_rest_us())
    say(
        f"CPU us of a request: stream {alone:.0f}, with a global budget {with_budget:.0f}, tenant {tenant:.0f}, "
        f"with all limits {full:.0f}, cache {cache:.0f}; of a router's exchange {breakers:.0f}"
    )
    say(f"bytes of a running request in a budget: {running_bytes:.0f}")
    return shard, running_bytes


def windows_and_leases(url: str) -> tuple[int, int, float, int]:
    """Return the bytes of a window with one request, of a full one, of a lease among many, and of a budget's figure."""
    valkey = Valkey(url)
    client, key = valkey.client, _window_key("ada", 0)
    valkey.cpu_us(1, lambda number: _tenant(valkey, number, budgets=1, windows=1, leases=1))
    quiet = memory(client, key)
    figure = memory(valkey.client, *_budget_keys("spillway:limits:acme", "user=ada"))
    part = 1_800_000_000_000 * 120 // _MINUTE_MS
    client.hset(key, mapping={str(part + offset): 3 for offset in range(120)})
    full = memory(client, key)
    members = {_request_id(number): 1_800_000_000_000 + number for number in range(REQUESTS)}
    client.zadd("leases", members)
    lease = memory(client, "leases") / REQUESTS
    client.flushall()
    return quiet, full, lease, figure


def _consumed(valkey: Valkey) -> float:
    """Return the CPU microseconds to read and remove both events of a request, as the ledger does."""
    client = valkey.client
    pipeline = client.pipeline(transaction=False)
    for number in range(REQUESTS):
        for event in events_of(number, datetime.now(UTC)):
            pipeline.xadd(STREAM, {"event": event})
    pipeline.execute()
    client.xgroup_create(STREAM, _GROUP, id="0")
    before = own_usage_of(valkey.pid).cpu_seconds
    while ids := _read(client):
        acknowledge = client.pipeline(transaction=True)
        acknowledge.xack(STREAM, _GROUP, *ids)
        acknowledge.xdel(STREAM, *ids)
        acknowledge.execute()
    used = own_usage_of(valkey.pid).cpu_seconds - before
    client.flushall()
    return used * 1e6 / REQUESTS


def _read(client: redis.Redis) -> list[bytes]:
    answer: Any = client.xreadgroup(_GROUP, "one", {STREAM: ">"}, count=_BATCH)
    return [entry_id for _, entries in answer for entry_id, _ in entries]


def _stream(valkey: Valkey, number: int, *, has_budget: bool) -> Trips:
    admitted, settled = events_of(number, datetime.now(UTC))
    slots = _budget_slot(COST_EVENTS, "all", number) if has_budget else _NO_SLOTS
    keys, arguments = [COST_EVENTS, COST_EVENTS, *slots[0]], [admitted, "0", *slots[1]]
    end = [_settle_budget(COST_EVENTS, "all", number)] if has_budget else []
    return [[_admit(valkey, keys, arguments)], [("XADD", COST_EVENTS, "*", "event", settled), *end]]


def _tenant(valkey: Valkey, number: int, *, budgets: int, windows: int, leases: int) -> Trips:
    tag, subjects = "spillway:limits:acme", ("user=ada", "tenant=")
    keys: list[str] = []
    arguments: list[str | bytes | int] = []
    end: list[Command] = []
    for subject in subjects[:budgets]:
        slot = _budget_slot(tag, subject, number)
        keys += slot[0]
        arguments += slot[1]
        end.append(_settle_budget(tag, subject, number))
    for place in range(windows):
        width = _WINDOWS[place % len(_WINDOWS)]
        keys.append(_window_key("ada", place))
        arguments += ["window", 1, 4, _PLENTY, 500 if place % 4 > 1 else 1, width, "0"]
        if place % 4 > 1:
            end.append(("EVAL", _SETTLE_WINDOW, 1, keys[-1], 10**12, 7, width // 120))
    for place in range(leases):
        keys.append(f"{{{tag}}}:limit:all:concurrent_streams:{subjects[place]}")
        arguments += ["lease", 1, 4, _PLENTY, _request_id(number), _MINUTE_MS, "0"]
        end.append(("ZREM", keys[-1], _request_id(number)))
    return [[_admit(valkey, keys, ["", "0", *arguments])], end]


def _cache(number: int) -> Trips:
    key, value = f"spillway:cache:{number:064x}", b"x" * (_CHUNKS * _CHUNK_BYTES)
    return [[("GET", key)], [("SET", key, value, "EX", 86_400)]]


def _admit(valkey: Valkey, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Command:
    return ("EVALSHA", valkey.admission, len(keys), *keys, *arguments)


_NO_SLOTS: tuple[list[str], list[str | bytes | int]] = ([], [])


def _budget_slot(tag: str, subject: str, number: int) -> tuple[list[str], list[str | bytes | int]]:
    keys = list(_budget_keys(tag, subject))
    return keys, ["budget", 2, 6, _PLENTY, 12_345, _request_id(number), _MINUTE_MS, 3 * _DAY_MS, 0]


def _settle_budget(tag: str, subject: str, number: int) -> Command:
    figure, leases = _budget_keys(tag, subject)
    return ("EVAL", _SETTLE_BUDGET, 2, figure, leases, _request_id(number), 12_300, 3 * _DAY_MS, 4 * _DAY_MS)


def _budget_keys(tag: str, subject: str) -> tuple[str, str]:
    figure = f"{{{tag}}}:budget:{subject}:day:1799971200-1800057600"
    return figure, f"{figure}:leases"


def _window_key(user: str, place: int) -> str:
    return f"{{spillway:limits:acme}}:limit:rule-{place}:requests_per_minute:user={user}"


def _request_id(number: int) -> str:
    return f"019aa3c4-0000-7000-8000-{number:012d}"


def memory(client: redis.Redis, *keys: str) -> int:
    """Return the bytes of keys, all their elements counted."""
    usages: list[Any] = [client.memory_usage(key, samples=0) for key in keys]
    return sum(int(usage or 0) for usage in usages)
