"""Step 7 of the request path: cost events leave the edge, into Redis or, while it is away, into the spool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from edge.events.redis import Command, RedisAway, RedisStore
from edge.events.spool import Spool, SpoolFull
from edge.events.unsynced import UnsyncedEvents
from edge.metrics import Metrics
from edge.problems import Problem
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

log = structlog.get_logger()

_REPLAY_BATCH = 200
REPLAY_INTERVAL_SECONDS = 1.0
_LAST_REPLAY_SECONDS = 4.0
_LAST_REPLAY_PAUSE_SECONDS = 0.2


class Emitter:
    """Records cost events so that none is lost."""

    def __init__(self, store: RedisStore, spool: Spool, metrics: Metrics) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._unsynced = UnsyncedEvents()
        self._under_way: set[asyncio.Task[bool]] = set()

    def note(self, event: bytes) -> None:
        """Learn that Redis has taken an admitted event."""
        self._unsynced.add([event])

    async def spool_admitted(self, event: bytes) -> None:
        """Keep an admitted event while Redis is away; Problem (503) when there is no room, so that nothing is spent."""
        try:
            await self._spool_event(event, may_use_reserve=False)
        except SpoolFull as error:
            log.error("cost_event_refused", reason="spool_full")  # noqa: TRY400 - expected, counted and reported
            raise Problem(
                "spend_unrecordable", "the gateway cannot record what this request would cost; try again later"
            ) from error

    async def settle(self, event: ledgerpb.CostEvent, beside: Sequence[Command] = ()) -> bool:
        """Record a settled event, and run the commands `beside` it in the same round trip; False when Redis is away.

        They are then not run. Goes on to its end when the caller is cancelled.
        """
        return await asyncio.shield(self._track(self._settle(event.SerializeToString(), beside)))

    async def replay(self) -> None:
        """Give Redis what it may have lost when it ended, and what waits in the spool, each oldest first."""
        with suppress(RedisAway):
            await self._resend_unconfirmed()
            await self._empty_spool()

    async def _resend_unconfirmed(self) -> None:
        """Send the events of the last seconds once more to a Redis that was started since; each still counts once."""
        asked_at = time.monotonic()
        run_id = await self._store.run_id()
        unconfirmed = self._unsynced.unconfirmed(run_id, asked_at)
        for start in range(0, len(unconfirmed), _REPLAY_BATCH):
            await self._store.replay(unconfirmed[start : start + _REPLAY_BATCH])
        if unconfirmed:
            self._unsynced.resent(len(unconfirmed), run_id)
            self._metrics.cost_events_resent.inc(len(unconfirmed))
            log.warning("redis_restarted", events_resent=len(unconfirmed))

    async def _empty_spool(self) -> None:
        while self._spool.depth:
            waiting = await self._spool.oldest(_REPLAY_BATCH)
            events = [spooled.event for spooled in waiting]
            await self._store.replay(events)
            self._unsynced.add(events)
            await self._spool.remove_through(waiting[-1].sequence)
            self._metrics.spool_depth.set(self._spool.depth)
            log.info("spool_replayed", events=len(waiting), left=self._spool.depth)

    async def close(self) -> None:
        """Wait until every event that is under way is recorded, and for some seconds until Redis has what was spooled.

        The spool's file may go with this process: a pod's volume does by default.
        """
        if self._under_way:
            await asyncio.wait(self._under_way)
        end = time.monotonic() + _LAST_REPLAY_SECONDS
        while self._spool.depth and time.monotonic() < end:
            await self.replay()
            if self._spool.depth:
                await asyncio.sleep(_LAST_REPLAY_PAUSE_SECONDS)
        if self._spool.depth:
            log.warning("spool_left", events=self._spool.depth)

    def _track(self, work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _settle(self, payload: bytes, beside: Sequence[Command]) -> bool:
        try:
            await self._store.settle(payload, beside)
        except RedisAway:
            try:
                await self._spool_event(payload, may_use_reserve=True)
            except SpoolFull:
                # The admitted event is recorded, so the ledger will show this request as unsettled.
                self._metrics.cost_events_lost.inc()
                log.error("cost_event_lost", reason="spool_full")  # noqa: TRY400 - expected, counted and reported
            return False
        self._unsynced.add([payload])
        return True

    async def _spool_event(self, payload: bytes, *, may_use_reserve: bool) -> None:
        await self._spool.append(payload, may_use_reserve=may_use_reserve)
        self._metrics.cost_events_spooled.inc()
        self._metrics.spool_depth.set(self._spool.depth)
