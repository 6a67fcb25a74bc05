"""Step 7 of the request path: cost events leave the edge, into Redis or, while it is away, into the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from edge.metrics import Metrics
from edge.problems import Problem
from edge.redis_store import RedisAway, RedisStore
from edge.spool import Spool, SpoolFull
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

log = structlog.get_logger()

_REPLAY_BATCH = 200
REPLAY_INTERVAL_SECONDS = 1.0


class Emitter:
    """Records cost events so that none is lost, and moves cache entries in the same round trips."""

    def __init__(self, store: RedisStore, spool: Spool, metrics: Metrics) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._under_way: set[asyncio.Task[bool]] = set()

    async def claim(self, request_id: str, seconds: int) -> bool:
        """Take a request id that a client chose; False when it was taken before, or when nobody can tell."""
        try:
            return await self._store.claim(request_id, seconds)
        except RedisAway:
            return False

    async def admit(self, event: ledgerpb.CostEvent, key: str | None) -> tuple[bytes | None, bool]:
        """Record an admitted event and look `key` up.

        Returns what is stored under the key, and whether Redis could be asked. Problem (503) when the event could
        be recorded nowhere: then nothing may be spent.
        """
        payload = event.SerializeToString()
        try:
            return await self._store.admit(payload, key), True
        except RedisAway:
            try:
                await self._into_spool(payload)
            except SpoolFull as error:
                log.error("cost_event_refused", reason="spool_full")  # noqa: TRY400 - expected, counted and told
                raise Problem(
                    "spend_unrecordable", "the gateway cannot record what this request would cost; try again later"
                ) from error
            return None, False

    async def settle(self, event: ledgerpb.CostEvent, entry: tuple[str, bytes] | None) -> bool:
        """Record a settled event and store the cache entry; return whether the entry was stored.

        Goes on to its end when the caller is cancelled.
        """
        return await asyncio.shield(self._track(self._settle(event.SerializeToString(), entry)))

    async def replay(self) -> None:
        """Move what waits in the spool into Redis, oldest first, until it is empty or Redis is away."""
        while self._spool.depth:
            waiting = await self._spool.oldest(_REPLAY_BATCH)
            try:
                await self._store.replay([event for _, event in waiting])
            except RedisAway:
                return
            await self._spool.remove_through(waiting[-1][0])
            self._metrics.spool_depth.set(self._spool.depth)
            log.info("spool_replayed", events=len(waiting), left=self._spool.depth)

    async def close(self) -> None:
        """Wait until every event that is under way is recorded."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _track(self, work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _settle(self, payload: bytes, entry: tuple[str, bytes] | None) -> bool:
        try:
            await self._store.settle(payload, entry)
        except RedisAway:
            try:
                await self._into_spool(payload)
            except SpoolFull:
                # The admitted event is recorded, so the ledger will show this request as unsettled.
                self._metrics.cost_events_lost.inc()
                log.error("cost_event_lost", reason="spool_full")  # noqa: TRY400 - expected, counted and told
            return False
        return entry is not None

    async def _into_spool(self, payload: bytes) -> None:
        await self._spool.append(payload)
        self._metrics.cost_events_spooled.inc()
        self._metrics.spool_depth.set(self._spool.depth)
