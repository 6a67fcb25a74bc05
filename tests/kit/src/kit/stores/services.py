"""The Redis parts of edge, router and ledger as their processes make them, on one address."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from cost_ledger.metrics import Metrics as LedgerMetrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.backlog import measure_backlog, remove_idle_members
from cost_ledger.recording.consumer import Consumer
from cost_ledger.recording.publish_spend import SpendPublisher, total_key
from cost_ledger.recording.store import Store
from edge.events.redis import COST_EVENTS, RedisAway, RedisStore
from kit.ledger.cost_events import admitted, attempt, request, settled, used
from llm_router.breaker.shared import BreakerReply, BreakerUpdate, SharedBreakerState
from llm_router.metrics import Metrics as RouterMetrics
from servicekit.redis_client import RedisAccess, open_redis
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

# Time for a first connection, which takes more than one answer.
_LOOK_UP_SECONDS = 0.5


class Services:
    """Each service has a client of its own."""

    def __init__(self, url: str, access: RedisAccess, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self._edge = open_redis(url, access, max_connections=8)
        self.ledger = open_redis(url, access, max_connections=16, socket_timeout_seconds=1.0)
        self.store = RedisStore(self._edge, _LOOK_UP_SECONDS)
        self._script = self.store.script(resources.files("edge.guard").joinpath("admission.lua").read_text())
        rng = random.Random(1)
        self._shared = SharedBreakerState.connect(url, RouterMetrics(CollectorRegistry()), rng, access)
        metrics, prices = LedgerMetrics(CollectorRegistry()), PriceList(pool, 10.0)
        self.spend = SpendPublisher(pool, self.ledger, metrics)
        self.consumer = Consumer(
            self.ledger, Store(pool, 10.0), prices, self.spend, metrics, name="one", claim_after_seconds=30.0
        )

    async def ask(self, *, tenant: str = "acme", key: str = "") -> ledgerpb.Request:
        """Do what the edge does for a request: admit it under a ceiling, settle it, store the answer."""
        asked = request(tenant=tenant, at=datetime.now(UTC))
        key = key or f"spillway:cache:{asked.request_id}"
        total = total_key(datetime.now(UTC).date())
        event = admitted(asked).SerializeToString()
        answer = await self.store.evaluate(
            self._script, [COST_EVENTS, key, total], [event, "1", "ceiling", 1, 1, 10**12]
        )
        assert [1, None] == answer
        end = settled(asked, [attempt(usage=used(100, 20))])
        await self.store.settle(end.SerializeToString(), ("SET", key, b"an answer", "EX", 60))
        return asked

    async def ask_until_admitted(self, timeout_seconds: float) -> ledgerpb.Request:
        """Ask again and again, as clients do, until Redis takes it."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    return await self.ask()
                except RedisAway:
                    await asyncio.sleep(0.1)

    async def exchange(self, *targets: str) -> list[BreakerReply] | None:
        """Do what the router does: report an attempt on each target, and learn what is decided."""
        return await self._shared.exchange([BreakerUpdate(target, 0, 0) for target in targets], _LOOK_UP_SECONDS)

    async def exchange_until_answered(self, timeout_seconds: float) -> list[BreakerReply]:
        """Exchange again and again, as the router does in the background."""
        async with asyncio.timeout(timeout_seconds):
            while (replies := await self.exchange("a", "b")) is None:
                await asyncio.sleep(0.1)
        return replies

    async def is_recorded(self, asked: ledgerpb.Request) -> bool:
        """Whether the request is settled in PostgreSQL."""
        state = await self.pool.fetchval("SELECT state FROM requests WHERE request_id = $1", asked.request_id)
        return bool(state == "settled")

    async def check_everything(self) -> None:
        """Use every command of every service once; what is sent arrives."""
        asked = await self.ask()
        await until_recorded(self, asked, 20.0)
        await self.store.replay([admitted(asked).SerializeToString(), b"no event"])
        assert await self.store.run_id()
        assert await self.store.is_reachable()
        replies = await self.exchange("a", "b", "c")
        assert replies is not None
        assert 3 == len(replies)
        async with asyncio.timeout(20.0):
            while (backlog := await measure_backlog(self.ledger)).events or not backlog.dead_letters:
                await asyncio.sleep(0.05)
        assert 1 == backlog.dead_letters
        await self.spend.publish(datetime.now(UTC).date())
        published: Any = await self.ledger.get(total_key(datetime.now(UTC).date()))
        spent: Decimal = await self.pool.fetchval("SELECT sum(cost_usd) FROM spend_daily")
        assert spent * 10**9 == int(published)
        assert [] == await remove_idle_members(self.ledger, 3600.0)

    async def close(self) -> None:
        """Close the clients."""
        await self._edge.aclose()
        await self._shared.close()
        await self.ledger.aclose()


async def until_recorded(services: Services, asked: ledgerpb.Request, timeout_seconds: float) -> None:
    """Wait until the ledger has recorded the request."""
    async with asyncio.timeout(timeout_seconds):
        while not await services.is_recorded(asked):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_services(
    url: str,
    pool: asyncpg.Pool,
    access: RedisAccess = RedisAccess(),  # noqa: B008 - frozen
) -> AsyncIterator[Services]:
    """Run the ledger's consumer while the block runs; it does not end by itself when Redis fails."""
    services, stop = Services(url, access, pool), asyncio.Event()
    consuming = asyncio.create_task(services.consumer.run(stop))
    try:
        yield services
    finally:
        stop.set()
        try:
            async with asyncio.timeout(10.0):
                await consuming
        finally:
            await services.close()
