"""Takes cost events off the Redis Stream: a batch is acknowledged after its commit, a poisoned event blocks nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from redis.exceptions import RedisError, ResponseError

from cost_ledger.connections import OUTAGES
from cost_ledger.errors import PoisonedEvent
from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.event import AdmittedEvent, LedgerEvent, SettledEvent, read_event
from cost_ledger.recording.price import UnpricedModels, price_settled
from cost_ledger.recording.store import Recorded, Store
from pricing.price_book import PriceBook
from servicekit.redis_client import Reconnection, RedisClient

log = structlog.get_logger()

STREAM = "spillway:cost-events"
# In a Cluster on the node of the stream: an entry goes from one to the other in one step.
DEAD_LETTERS = "{spillway:cost-events}:dead"
GROUP = "cost-ledger"
_MAX_EVENTS = 500
_BLOCK_MS = 500
_MAX_DEAD_LETTERS = 10_000
# A transaction for each event costs twenty times what an event costs in a long batch. So events that come one by one
# are given so long to gather after each batch: the first of them is recorded at once.
_SHORT_BATCH_EVENTS = 100
_GATHER_SECONDS = 0.1
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 5.0
# The values are at fault: they cannot be stored, indexed or multiplied. Other errors of Postgres are temporary.
REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ArithmeticError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream: its id there, its bytes, and the event in them."""

    entry_id: bytes
    data: bytes
    event: LedgerEvent


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that can never be recorded."""

    entry_id: bytes
    data: bytes
    error: PoisonedEvent


class Consumer:
    """One member of the consumer group."""

    def __init__(
        self,
        client: RedisClient,
        store: Store,
        prices: PriceList,
        metrics: Metrics,
        *,
        name: str,
        claim_after_seconds: float,
    ) -> None:
        """`name` is unique in the group; entries that another member has held for `claim_after_seconds` are claimed."""
        self._client = client
        self._reconnection = Reconnection(client)
        self._store = store
        self._prices = prices
        self._metrics = metrics
        self._unpriced = UnpricedModels()
        self._name = name
        self._claim_after = claim_after_seconds
        self._next_claim = 0.0
        self._has_own_pending = True
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; the current batch is finished first."""
        pause = _MIN_PAUSE_SECONDS
        while not stop.is_set():
            try:
                await self._turn(stop)
                pause = _MIN_PAUSE_SECONDS
                self._reconnection.note_success()
            except (RedisError, OSError, TimeoutError) as error:
                self._reconnection.note_failure(error)
                self._metrics.stream_errors.inc()
                self._has_own_pending = True
                log.warning("stream_read_failed", cause=type(error).__name__)
                pause = await self._pause(pause, stop)
        if self._has_own_pending:
            await self._finish(stop)

    async def _finish(self, stop: asyncio.Event) -> None:
        """Record what an exchange has left that failed just before the end: it would wait for another member."""
        try:
            while (entries := await self._read("0")) and await self._process(entries, stop):
                pass
        except (RedisError, OSError, TimeoutError) as error:
            self._metrics.stream_errors.inc()
            log.warning("stream_read_failed", cause=type(error).__name__)

    async def _turn(self, stop: asyncio.Event) -> None:
        """Take one batch and record it."""
        try:
            batch = await self._take()
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self._create_group()
            return
        if batch:
            await self._process(batch, stop)
            if len(batch) < _SHORT_BATCH_EVENTS:
                await self._sleep(_GATHER_SECONDS, stop)

    async def _take(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return the next entries: own ones that are still pending, then a dead member's, then new ones."""
        if self._has_own_pending:
            entries = await self._read("0")
            if entries:
                return entries
            self._has_own_pending = False
        if time.monotonic() >= self._next_claim:
            claimed: Any = await self._client.xautoclaim(
                STREAM, GROUP, self._name, min_idle_time=int(self._claim_after * 1000), count=_MAX_EVENTS
            )
            entries = [entry for entry in claimed[1] if entry[1] is not None]
            if entries:
                log.info("entries_claimed", entries=len(entries))
                return entries
            self._next_claim = time.monotonic() + self._claim_after / 2
        return await self._read(">")

    async def _read(self, start: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        block = _BLOCK_MS if start == ">" else None
        answer: Any = await self._client.xreadgroup(GROUP, self._name, {STREAM: start}, count=_MAX_EVENTS, block=block)
        if not answer:
            return []
        entries = answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0]
        # An entry that was deleted while it was pending is returned without fields.
        return [(entry_id, fields or {}) for entry_id, fields in entries]

    async def _process(self, batch: Sequence[tuple[bytes, dict[bytes, bytes]]], stop: asyncio.Event) -> bool:
        """Record a batch and acknowledge it; False when `stop` was set before it could be recorded."""
        entries: list[Entry] = []
        dead: list[DeadLetter] = []
        for entry_id, fields in batch:
            if not fields:
                # Deleted while it was pending; there is nothing to record and nothing to keep.
                log.warning("entry_deleted_unread", entry_id=entry_id.decode())
                continue
            data = fields.get(b"event", b"")
            try:
                entries.append(Entry(entry_id, data, read_event(data)))
            except PoisonedEvent as error:
                dead.append(DeadLetter(entry_id, data, error))
        refused = await self._record_until_done(entries, stop)
        if refused is None:
            return False
        await self._acknowledge([entry_id for entry_id, _ in batch], [*dead, *refused])
        return True

    async def _record_until_done(self, entries: list[Entry], stop: asyncio.Event) -> list[DeadLetter] | None:
        """Record, waiting for Postgres as long as it takes; return what it refused, None when `stop` was set first."""
        pause = _MIN_PAUSE_SECONDS
        while True:
            try:
                return await self._record(entries)
            except OUTAGES as error:
                self._metrics.database_errors.inc()
                log.warning("batch_not_recorded", events=len(entries), cause=type(error).__name__)
                pause = await self._pause(pause, stop)
                if stop.is_set():
                    return None

    async def _record(self, entries: list[Entry]) -> list[DeadLetter]:
        """Record all in one transaction, or half by half down to the one that Postgres refuses; return those."""
        if not entries:
            return []
        book = await self._prices.book()
        try:
            await self._record_batch(entries, book)
        except REFUSALS as error:
            if len(entries) == 1:
                entry = entries[0]
                return [DeadLetter(entry.entry_id, entry.data, PoisonedEvent("refused", type(error).__name__))]
            middle = len(entries) // 2
            return [*await self._record(entries[:middle]), *await self._record(entries[middle:])]
        return []

    async def _record_batch(self, entries: list[Entry], book: PriceBook) -> None:
        started = time.monotonic()
        admitted = [entry.event for entry in entries if isinstance(entry.event, AdmittedEvent)]
        settled = [entry.event for entry in entries if isinstance(entry.event, SettledEvent)]
        recorded = await self._store.record(admitted, [price_settled(event, book) for event in settled])
        self._observe(entries, recorded, time.monotonic() - started)

    async def _acknowledge(self, entry_ids: Sequence[bytes], dead: Sequence[DeadLetter]) -> None:
        """Remove the entries from the stream; those that can never be recorded go to the dead letters."""
        pipeline = self._client.pipeline(transaction=True)
        for letter in dead:
            fields: dict[Any, Any] = {"event": letter.data, "reason": str(letter.error), "entry_id": letter.entry_id}
            pipeline.xadd(DEAD_LETTERS, fields, maxlen=_MAX_DEAD_LETTERS, approximate=True)
        pipeline.xack(STREAM, GROUP, *entry_ids)
        pipeline.xdel(STREAM, *entry_ids)
        await pipeline.execute()
        for letter in dead:
            self._metrics.dead_letters.labels(letter.error.kind).inc()
            log.error("event_poisoned", reason=letter.error.kind, detail=letter.error.reason)

    async def _create_group(self) -> None:
        try:
            await self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _pause(self, seconds: float, stop: asyncio.Event) -> float:
        """Sleep about `seconds` unless `stop` is set first; return how long to sleep the next time."""
        await self._sleep(seconds * self._jitter.uniform(0.5, 1.5), stop)
        return min(seconds * 2, _MAX_PAUSE_SECONDS)

    async def _sleep(self, seconds: float, stop: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()

    def _observe(self, entries: Sequence[Entry], recorded: Recorded, seconds: float) -> None:
        now = time.time()
        # An event that is twice in one batch is recorded once.
        new = {True: set(recorded.settled), False: set(recorded.admitted)}
        self._metrics.batch_events.observe(len(entries))
        self._metrics.batch_seconds.observe(seconds)
        for entry in entries:
            is_settled = isinstance(entry.event, SettledEvent)
            request_id = entry.event.request.request_id
            outcome = "recorded" if request_id in new[is_settled] else "duplicate"
            new[is_settled].discard(request_id)
            counter = self._metrics.settled_events if is_settled else self._metrics.admitted_events
            counter.labels(outcome).inc()
            self._metrics.lag_seconds.observe(max(now - entry.event.occurred_at.timestamp(), 0.0))
            if is_settled:
                log.info("request_recorded", request_id=str(request_id), outcome=outcome)
        for attempt in recorded.attempts:
            provider, target_model = attempt.facts.provider, attempt.facts.target_model
            if attempt.cost.usd is not None:
                self._metrics.cost_usd.labels(provider).inc(float(attempt.cost.usd))
                continue
            self._metrics.unpriced_attempts.labels(provider).inc()
            attempts = self._unpriced.count(provider, target_model, time.monotonic())
            if attempts is not None:
                log.error(
                    "model_unpriced",
                    provider=provider,
                    target_model=target_model,
                    attempts=attempts,
                    reason=attempt.unpriced_because,
                )
