"""The Redis parts of edge, router and ledger as their processes make them, on one address."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from cost_ledger.budgets.publish import ACTIVE, BudgetPublisher
from cost_ledger.metrics import Metrics as LedgerMetrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.backlog import measure_backlog, remove_idle_members
from cost_ledger.recording.consumer import Consumer
from cost_ledger.recording.store import Store
from edge.answer import Answer
from edge.budgets.check import Budgets
from edge.cache.cache import Bypass, Hit, LookUp, Miss
from edge.cache.exact import ExactCache
from edge.cache.policy import read_wish
from edge.contracts.chat.contract import ChatContract
from edge.conversation import Conversation, digest_of, encode_body
from edge.events.emitter import Emitter
from edge.events.redis import RedisStore
from edge.events.reservation import Used
from edge.events.spool import Spool
from edge.expectation import Expectation
from edge.facts import RequestFacts
from edge.guard.admission import Admission
from edge.guard.check import Asked
from edge.identity import Identity
from edge.limits.check import Limits
from edge.limits.leases import Leases
from edge.limits.rules import Rule, Rules
from edge.metrics import Metrics as EdgeMetrics
from edge.request_id import new_request_id
from kit.ledger.cost_events import attempt, settled, used
from llm_router.breaker.shared import BreakerReply, BreakerUpdate, SharedBreakerState
from llm_router.metrics import Metrics as RouterMetrics
from pricing.usage import Usage
from servicekit.lifecycle import repeat
from servicekit.redis_client import RedisAccess, RedisClient, open_redis
from spillway.router.v1 import router_pb2 as routerpb

# Time for a first connection, which takes more than one answer.
_LOOK_UP_SECONDS = 0.5
_REPLAY_SECONDS = 0.2
# What the edge says that each request cost; the books have their own price.
_COST_NANO_USD = 1_000_000
# Limits of a tenant and of all: in a Cluster they are on two nodes.
_RULES = [
    Rule(name="tenant", each=["tenant"], requests_per_minute=10_000, tokens_per_day=10**9, concurrent_streams=1_000),
    Rule(name="all", requests_per_minute=10_000, tokens_per_minute=10**9),
]


class Services:
    """Each service has a client of its own."""

    def __init__(self, url: str, access: RedisAccess, pool: asyncpg.Pool, spool: Spool) -> None:
        self.pool = pool
        self._edge = open_redis(url, access, max_connections=8)
        self.ledger = open_redis(url, access, max_connections=16, socket_timeout_seconds=1.0)
        self.store = RedisStore(self._edge, _LOOK_UP_SECONDS)
        edge_metrics, self._cache = EdgeMetrics(CollectorRegistry()), ExactCache(ChatContract().check)
        self.emitter = Emitter(self.store, spool, edge_metrics)
        leases, expectation = Leases(self.store), Expectation(lambda _model, _usage: Decimal("0.001"))
        self.budgets = Budgets(self.store, leases, expectation, edge_metrics)
        limits = Limits(Rules(_RULES), leases, lambda: 1, expectation, edge_metrics)
        self._admission = Admission(self.store, self.emitter, [self.budgets, limits], edge_metrics)
        rng = random.Random(1)
        self._shared = SharedBreakerState.connect(url, RouterMetrics(CollectorRegistry()), rng, access)
        metrics, prices = LedgerMetrics(CollectorRegistry()), PriceList(pool, 10.0)
        self.publisher = BudgetPublisher(pool, self.ledger, metrics)
        self.consumer = Consumer(self.ledger, Store(pool, 10.0), prices, metrics, name="one", claim_after_seconds=30.0)

    async def ask(self, tenant: str = "acme", query: str = "hello") -> tuple[str, LookUp]:
        """Do what the edge does for a request: admit it, settle it, store the answer.

        Return its id, and what the cache said.
        """
        facts = RequestFacts(
            new_request_id(), Identity("key-1", tenant, "ada", "gold"), "/chat", "fast", True, time.monotonic()
        )
        body = {"messages": [{"role": "user", "content": query}]}
        content = Conversation("/chat", "fast", encode_body(body), digest_of(body), 5, is_streaming=True)
        wish = read_wish([], [], "always")
        policy = wish.policy(routerpb.CACHE_MODE_UNSPECIFIED, is_drawn=False)
        admittance = await self._admission.admit(Asked(facts, content, self._cache, wish), policy)
        answer = Answer(["yes"], [routerpb.FINISH_REASON_STOP], "openai", "gpt-test", usage=Usage(100, 20))
        end = settled(facts.to_proto(), [attempt(usage=used(100, 20))])
        look_up = admittance.look_up
        entry = self._cache.store(look_up, answer)
        truth = Used(120, 20, _COST_NANO_USD, is_priced=True)
        corrections = [command for each in admittance.reservations for command in each.settle(truth)]
        await self.emitter.settle(end, [*([] if entry is None else [entry]), *corrections])
        return facts.request_id, look_up

    async def ask_until_redis_decides(self, timeout_seconds: float) -> str:
        """Ask again and again, as clients do, until an answer is looked up; return the id of the first request."""
        async with asyncio.timeout(timeout_seconds):
            first, look_up = await self.ask(query="another")
            while isinstance(look_up, Bypass):
                await asyncio.sleep(0.1)
                _, look_up = await self.ask(query="another")
        return first

    async def exchange(self, *targets: str) -> list[BreakerReply] | None:
        """Do what the router does: report an attempt on each target, and learn what is decided."""
        return await self._shared.exchange([BreakerUpdate(target, 0, 0) for target in targets], _LOOK_UP_SECONDS)

    async def exchange_until_answered(self, timeout_seconds: float) -> list[BreakerReply]:
        """Exchange again and again, as the router does in the background."""
        async with asyncio.timeout(timeout_seconds):
            while (replies := await self.exchange("a", "b")) is None:
                await asyncio.sleep(0.1)
        return replies

    async def is_recorded(self, request_id: str) -> bool:
        """Whether the request is settled in PostgreSQL."""
        state = await self.pool.fetchval("SELECT state FROM requests WHERE request_id = $1", request_id)
        return bool(state == "settled")

    async def check_everything(self) -> None:
        """Use every command of every service once; what is sent arrives, what is stored is found."""
        # A process has its connections long before; the first ones, with TLS on a slow machine, are not what is tested.
        async with asyncio.timeout(20.0):
            await asyncio.gather(*(self._edge.ping() for _ in range(4)))
        await self.ask_until_redis_decides(20.0)
        asked, first = await self.ask()
        _, second = await self.ask()
        assert isinstance(first, Miss)
        assert isinstance(second, Hit)
        await until_recorded(self, asked, 20.0)
        await self.store.replay([b"no event"])
        assert await self.store.run_id()
        assert await self.store.is_reachable()
        assert 2 == len(await self.exchange_until_answered(20.0))
        async with asyncio.timeout(20.0):
            while (backlog := await measure_backlog(self.ledger)).events or not backlog.dead_letters:
                await asyncio.sleep(0.05)
        assert 1 == backlog.dead_letters
        await self._check_budgets()
        assert [] == await remove_idle_members(self.ledger, 3600.0)

    async def _check_budgets(self) -> None:
        """What was spent before a budget was in force is in its figure as soon as somebody is charged to it."""
        await self.publisher.publish()
        await self.budgets.follow()
        request_id, _ = await self.ask(query="charged")
        await until_recorded(self, request_id, 20.0)
        await self.budgets.follow()
        await self.publisher.publish()
        spent: Decimal = await self.pool.fetchval("SELECT sum(cost_usd) FROM spend_daily")
        members: Any = await self.ledger.zrange(ACTIVE, 0, -1)
        keys = [json.loads(member)[0] for member in members]
        found: Any = [await _fields(self.ledger, key) for key in keys if ":budget:all=" in key]
        assert [{b"ledger": b"%d" % (spent * 10**9), b"pending": b"0"}] == found

    async def close(self) -> None:
        """Close the clients."""
        await self._edge.aclose()
        await self._shared.close()
        await self.ledger.aclose()


async def _fields(client: RedisClient, key: str) -> Any:
    found: Any = client.hgetall(key)
    return await found


async def until_recorded(services: Services, request_id: str, timeout_seconds: float) -> None:
    """Wait until the ledger has recorded the request."""
    async with asyncio.timeout(timeout_seconds):
        while not await services.is_recorded(request_id):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_services(
    url: str, pool: asyncpg.Pool, folder: Path, access: RedisAccess | None = None
) -> AsyncIterator[Services]:
    """Run the ledger's consumer and the edge's replay of its spool while the block runs."""
    spool = Spool(folder / "spool.sqlite", 2**20)
    services, stop = Services(url, access or RedisAccess(), pool, spool), asyncio.Event()
    consuming = asyncio.create_task(services.consumer.run(stop))
    replaying = asyncio.create_task(repeat("replay_spool", _REPLAY_SECONDS, services.emitter.replay))
    try:
        yield services
    finally:
        stop.set()
        replaying.cancel()
        try:
            async with asyncio.timeout(10.0):
                await asyncio.wait([consuming, replaying])
        finally:
            await spool.close()
            await services.close()
