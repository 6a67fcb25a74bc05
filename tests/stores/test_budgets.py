"""Budgets from the edge over Redis to the books and back: a spike of traffic, what edges lose, midnight."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from cost_ledger.budgets.budgets import Budget, Budgets
from cost_ledger.budgets.publish import ACTIVE, BudgetPublisher
from cost_ledger.metrics import Metrics as LedgerMetrics
from cost_ledger.recording.price import price_settled
from edge.budgets.check import Budgets as BudgetCheck
from edge.cache.exact import ExactCache
from edge.cache.policy import CachePolicy, read_wish
from edge.contracts.chat.contract import ChatContract
from edge.conversation import Conversation, digest_of, encode_body
from edge.events.emitter import Emitter
from edge.events.redis import RedisStore
from edge.events.reservation import Used
from edge.events.spool import Spool
from edge.expectation import Expectation
from edge.facts import RequestFacts
from edge.guard.admission import Admission, Admittance
from edge.guard.check import Asked
from edge.identity import Identity
from edge.limits.leases import Leases
from edge.metrics import Metrics as EdgeMetrics
from edge.problems import Problem
from kit.ledger.cost_events import attempt, new_id, read_settled, settled, used
from kit.ledger.process import Parts
from servicekit.redis_client import RedisAccess, open_redis

pytestmark = pytest.mark.integration

# 100 in, 20 out at the rates from June on: what each request of these tests costs.
COST = 650_880
BERLIN = "Europe/Berlin"
# Of the day before in Berlin, an hour before its midnight; in UTC it is ten in the evening.
EVENING = datetime(2026, 11, 28, 22, 0, tzinfo=UTC)


class Outcome(NamedTuple):
    """What became of requests."""

    normal: int
    economy: int
    emergency: int
    refused: int


class Gateway:
    """An edge's admission and settlement, and the ledger's books, on the real stores."""

    def __init__(self, parts: Parts, url: str, spool: Spool) -> None:
        self._parts = parts
        self.client = open_redis(url, RedisAccess(), max_connections=64)
        metrics, store = EdgeMetrics(CollectorRegistry()), RedisStore(self.client, 5.0)
        expectation = Expectation(lambda _model, _usage: Decimal(COST) / 10**9)
        self.check = BudgetCheck(store, Leases(store), expectation, metrics)
        self.emitter = Emitter(store, spool, metrics)
        self._admission = Admission(store, self.emitter, [self.check], metrics)
        self._cache = ExactCache(ChatContract().check)
        self.publisher = BudgetPublisher(parts.pool, parts.client, LedgerMetrics(CollectorRegistry()))

    async def admit(self, at: datetime, user: str = "ada") -> tuple[RequestFacts, Admittance]:
        """Admit a request of that moment; Problem when it is refused."""
        facts = RequestFacts(
            new_id(at), Identity("key-1", "acme", user, "gold"), "/chat", "fast", True, time.monotonic(),
            accepted_at_ns=int(at.timestamp() * 1e9),
        )  # fmt: skip
        body = {"messages": [{"role": "user", "content": facts.request_id}]}
        content = Conversation("/chat", "fast", encode_body(body), digest_of(body), 5, is_streaming=True)
        policy = CachePolicy(may_read=True, may_write=True, bypass_reason="")
        return facts, await self._admission.admit(
            Asked(facts, content, self._cache, read_wish([], [], "always")), policy
        )

    async def settle(
        self, facts: RequestFacts, admittance: Admittance, *, cost: int = COST, is_recorded: bool = True
    ) -> None:
        """End it: its cost is charged, and in the books or on its way there."""
        truth = Used(120, 20, cost, is_priced=True)
        commands = [command for each in admittance.reservations for command in each.settle(truth)]
        end = settled(facts.to_proto(), [attempt(usage=used(100, 20))])
        await self.emitter.settle(end, commands)
        if is_recorded:
            book = await self._parts.prices.book()
            await self._parts.store.record([], [price_settled(read_settled(end), book)])

    async def spike(self, count: int, at: datetime, user: str = "ada") -> Outcome:
        """Let so many requests come at once, and end all that were admitted."""
        results = await asyncio.gather(*(self.admit(at, user) for _ in range(count)), return_exceptions=True)
        admitted = [result for result in results if not isinstance(result, BaseException)]
        assert all(isinstance(result, Problem) for result in results if isinstance(result, BaseException))
        for facts, admittance in admitted:
            await self.settle(facts, admittance)
        moved = [admittance.exhausted for _, admittance in admitted]
        return Outcome(
            normal=moved.count(None),
            economy=sum(each is not None and not each.is_emergency for each in moved),
            emergency=sum(each is not None and each.is_emergency for each in moved),
            refused=count - len(admitted),
        )

    async def publish(self) -> None:
        """Let the ledger publish what edges ask for, and the edge follow."""
        await self.check.follow()
        await self.publisher.publish()
        await self.check.follow()

    async def pending(self) -> list[int]:
        """Return what the figures in use count beside the books."""
        found: Any = [await self._parts.client.hget(key, "pending") for key in await self.figures()]
        return [int(each or 0) for each in found]

    async def figures(self) -> list[str]:
        """Return the keys of the figures in use."""
        members: Any = await self._parts.client.zrange(ACTIVE, 0, -1)
        return [json.loads(member)[0] for member in members]


@pytest.fixture(name="parts")
async def _parts(pool: asyncpg.Pool, redis_url: str) -> AsyncIterator[Parts]:
    async with redis.Redis.from_url(redis_url) as client:
        parts = Parts(pool, client)
        await parts.empty()
        yield parts
        await client.flushall()


@asynccontextmanager
async def gateway(parts: Parts, url: str, folder: Path, *budgets: Budget) -> AsyncIterator[Gateway]:
    """Run one with these budgets, and no others, in force."""
    spool = Spool(folder / "spool.sqlite", 2**20)
    running = Gateway(parts, url, spool)
    before = await Budgets(parts.pool).list()
    try:
        for each in before:
            await Budgets(parts.pool).remove("test", each.name)
        for each in budgets:
            await Budgets(parts.pool).put("test", each)
        await running.publish()
        yield running
    finally:
        for each in budgets:
            await Budgets(parts.pool).remove("test", each.name)
        for each in before:
            await Budgets(parts.pool).put("test", each)
        await spool.close()
        await running.client.aclose()


def usd(requests: float) -> Decimal:
    """Return what so many requests cost."""
    return Decimal(int(COST * requests)) / 10**9


async def test_a_spike_meets_each_switch_and_midnight_ends_it(parts: Parts, redis_url: str, tmp_path: Path) -> None:
    """First the user's economy, then the emergency of all, then the hard limit; at midnight of the zone all is new."""
    user = Budget("user", "user", "day", usd(10.5), "economy", zone=BERLIN)
    everybody = Budget("all", "all", "day", usd(30.5), "emergency", stop_usd=usd(50.5), zone=BERLIN)
    async with gateway(parts, redis_url, tmp_path, user, everybody) as running:
        first = await running.spike(20, EVENING)
        await running.publish()
        second = await running.spike(20, EVENING, user="bob")
        await running.publish()
        third = await running.spike(40, EVENING, user="eve")
        await running.publish()
        before_midnight = await running.spike(1, EVENING + timedelta(minutes=59), user="zoe")
        midnight = await running.spike(5, EVENING + timedelta(minutes=60))

    assert Outcome(normal=10, economy=10, emergency=0, refused=0) == first
    # Ten more are left to all together; the other ten are beyond, and one's own budget is used up as well.
    assert Outcome(normal=10, economy=0, emergency=10, refused=0) == second
    assert Outcome(normal=0, economy=0, emergency=10, refused=30) == third
    assert 1 == before_midnight.refused
    assert Outcome(normal=5, economy=0, emergency=0, refused=0) == midnight


async def test_nothing_is_forgotten_and_nothing_counted_twice(parts: Parts, redis_url: str, tmp_path: Path) -> None:
    """While the ledger is behind, when it has caught up, and after Redis was emptied."""
    stop = Budget("stop", "tenant", "total", usd(10), "warn", stop_usd=usd(10))
    async with gateway(parts, redis_url, tmp_path, stop) as running:
        ends = [await running.admit(EVENING) for _ in range(4)]
        for each in ends:
            await running.settle(*each, is_recorded=False)
        await running.publish()
        assert [4 * COST] == await running.pending()
        for _ in range(6):
            assert 1 == (await running.spike(1, EVENING)).normal
        assert 4 == (await running.spike(4, EVENING)).refused
        await running.publish()
        assert [4 * COST] == await running.pending()

        await parts.client.flushall()
        # Nine had been spent when the last one was let through: that is what this edge remembers.
        assert 4 == (await running.spike(5, EVENING)).refused
        await running.publish()
        assert [0] == await running.pending()
        for facts, _ in ends:  # what Redis has lost is sent again
            end = settled(facts.to_proto(), [attempt(usage=used(100, 20))])
            await parts.store.record([], [price_settled(read_settled(end), await parts.prices.book())])
        await running.publish()
        assert 5 == (await running.spike(5, EVENING)).refused
        books = await parts.pool.fetchval("SELECT sum(cost_usd) FROM spend_daily WHERE tenant = 'acme'")
        (key,) = await running.figures()
        assert int(books * 10**9) == int(await parts.client.hget(key, "ledger") or 0) == 11 * COST


async def test_the_truth_takes_the_place_of_what_was_expected(parts: Parts, redis_url: str, tmp_path: Path) -> None:
    """Also when it is more, or nothing; once the books have it, nothing of it is left beside them."""
    budget = Budget("large", "tenant", "day", usd(1000), "warn")
    async with gateway(parts, redis_url, tmp_path, budget) as running:
        more, nothing = await running.admit(EVENING), await running.admit(EVENING)
        await running.publish()
        assert [2 * COST] == await running.pending()
        await running.settle(*nothing, cost=0, is_recorded=False)
        await running.settle(*more, cost=3 * COST)
        assert [3 * COST] == await running.pending()
        await running.publish()
        assert [0] == await running.pending()


async def test_an_edge_that_dies_leaks_nothing(parts: Parts, redis_url: str, tmp_path: Path) -> None:
    """What it had reserved counts until its lease ends."""
    stop = Budget("stop", "tenant", "day", usd(2), "warn", stop_usd=usd(2))
    async with gateway(parts, redis_url, tmp_path, stop) as running:
        facts, _ = await running.admit(EVENING)
        await running.publish()
        assert 1 == (await running.spike(2, EVENING)).refused
        (key,) = await running.figures()
        assert await parts.client.zscore(f"{key}:leases", facts.request_id) is not None
        await parts.client.zadd(f"{key}:leases", {facts.request_id: 1})
        assert 1 == (await running.spike(2, EVENING)).refused
        await running.publish()
        assert [0] == await running.pending()


@pytest.mark.parametrize("edges", [1, 3])
async def test_twenty_at_once_overshoot_by_one_at_most(
    parts: Parts, redis_url: str, tmp_path: Path, edges: int
) -> None:
    """Also over several edges: there is one count."""
    stop = Budget("stop", "user", "day", usd(5.5), "warn", stop_usd=usd(5.5))
    async with gateway(parts, redis_url, tmp_path, stop) as running:
        others = [Gateway(parts, redis_url, Spool(tmp_path / f"{n}.sqlite", 2**20)) for n in range(edges - 1)]
        for other in others:
            await other.check.follow()
        everyone = [running, *others]
        outcomes = await asyncio.gather(*(each.spike(20 // edges, EVENING) for each in everyone))
        for other in others:
            await other.client.aclose()
        spent = await parts.pool.fetchval("SELECT sum(cost_usd) FROM spend_daily")

    assert 5 == sum(outcome.normal + outcome.economy for outcome in outcomes)
    assert spent <= usd(5.5) + usd(1)
