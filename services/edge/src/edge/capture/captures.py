"""Captures leave the edge beside everything else: redacted, sealed, sent to the ledger, or dropped and counted.

Neither a request nor a cost event ever waits for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import structlog

from edge.capture.keys import CaptureKeys
from edge.capture.tenants import CapturingTenants
from edge.capture.texts import RedactedTexts, Source
from edge.facts import RequestFacts
from edge.ledger.captures import CapturesAway, CapturesRefused, LedgerCaptures
from edge.metrics import Metrics
from edge.problems import Problem
from servicekit.log_limit import LimitedLog
from spillway.captures.v1 import captures_pb2 as capturespb

log = structlog.get_logger()

# What waits is in memory, in plain text.
_MAX_WAITING = 500
_MAX_WAITING_BYTES = 64 * 1024 * 1024
_BATCH, _BATCH_BYTES = 50, 2 * 1024 * 1024
# A ledger that is replaced is back after some seconds; what comes meanwhile waits.
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
_LAST_SECONDS = 5.0
# What comes within this time goes out together.
SEND_INTERVAL_SECONDS = 0.2


class Captured(NamedTuple):
    """What is captured of one request."""

    facts: RequestFacts
    source: Source
    outcome: str
    finish_reason: str


class Captures:
    """A bounded queue, and the task that empties it."""

    def __init__(
        self,
        tenants: CapturingTenants,
        keys: CaptureKeys,
        read: Callable[[Source], Awaitable[RedactedTexts]],
        ledger: LedgerCaptures,
        metrics: Metrics,
    ) -> None:
        """`read` does `read_texts` beside the event loop."""
        self._tenants = tenants
        self._keys = keys
        self._read = read
        self._ledger = ledger
        self._metrics = metrics
        self._waiting: deque[Captured] = deque()
        self._waiting_bytes = 0
        # Taken, and neither recorded nor dropped yet.
        self._open = 0
        self._has_some, self._is_idle = asyncio.Event(), asyncio.Event()
        self._is_idle.set()
        self._log = LimitedLog(1)

    def wants(self, tenant: str) -> bool:
        """Tell whether texts of a tenant are to be captured."""
        return tenant in self._tenants

    def offer(self, captured: Captured) -> None:
        """Take what is to be captured, if its tenant still wants it; what there is no room for is dropped."""
        if not self.wants(captured.facts.identity.tenant):
            return
        size = captured.source.size
        if not self._keys.are_there:
            self._drop("no_key")
        elif len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + size > _MAX_WAITING_BYTES:
            self._drop("queue_full")
        else:
            self._waiting.append(captured)
            self._waiting_bytes += size
            self._open += 1
            self._is_idle.clear()
            self._has_some.set()

    async def turn(self) -> None:
        """Wait until there is something, and send what there is."""
        await self._has_some.wait()
        while self._waiting:
            batch = await self._next_batch()
            if batch:
                await self._send(batch)
        self._has_some.clear()

    async def close(self, sending: asyncio.Task[None]) -> None:
        """Give the task that takes turns some seconds to send what waits, and end it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._is_idle.wait()
        sending.cancel()
        await asyncio.wait((sending,))
        if self._open:
            self._settle(self._open, "shutdown")

    async def _next_batch(self) -> list[capturespb.Capture]:
        batch: list[capturespb.Capture] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            captured = self._waiting.popleft()
            self._waiting_bytes -= captured.source.size
            sealed = await self._sealed(captured)
            if sealed is not None:
                batch.append(sealed)
                size += len(sealed.texts.ciphertext)
        return batch

    async def _sealed(self, captured: Captured) -> capturespb.Capture | None:
        """Return it redacted and sealed; None when it cannot be, and it was dropped."""
        facts = captured.facts
        try:
            texts = await self._read(captured.source)
        except Problem:
            self._settle(1, "unreadable")
            return None
        except Exception:
            log.exception("capture_failed")
            self._settle(1, "unreadable")
            return None
        plain = capturespb.Texts(**texts._asdict(), outcome=captured.outcome, finish_reason=captured.finish_reason)
        sealed = self._keys.seal(plain, facts.request_id, facts.identity.tenant)
        capture = capturespb.Capture(
            request_id=facts.request_id, tenant=facts.identity.tenant, user=facts.identity.user, texts=sealed
        )
        capture.asked_at.FromNanoseconds(facts.accepted_at_ns)
        return capture

    async def _send(self, batch: list[capturespb.Capture]) -> None:
        """Have the ledger store a batch, or drop it after some tries."""
        for pause in (*_PAUSES_SECONDS, None):
            try:
                done = await self._ledger.record(batch)
            except CapturesRefused:
                self._settle(len(batch), "refused")
                return
            except CapturesAway:
                if pause is not None:
                    await asyncio.sleep(pause)
                continue
            self._metrics.captures.labels("recorded").inc(done.recorded + done.duplicates)
            self._metrics.captures.labels("unwanted").inc(done.unwanted)
            self._settle(len(batch))
            return
        self._settle(len(batch), "ledger_unavailable")

    def _settle(self, count: int, dropped: str = "") -> None:
        """Learn what became of some that were taken; `dropped` says why they are not recorded."""
        self._open -= count
        if not self._open:
            self._is_idle.set()
        if dropped:
            self._drop(dropped, count)

    def _drop(self, reason: str, count: int = 1) -> None:
        self._metrics.captures_dropped.labels(reason).inc(count)
        self._log.info("captures_dropped", reason, captures=count)
