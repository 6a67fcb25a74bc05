"""A reply that is coming in: the connection adds what it reads, and whoever asked takes what has gathered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import httpx2

from llm_router.providers.http.metronome import Metronome
from llm_router.providers.http.pace import SHORT_SECONDS, FruitlessReading, Pace

# More than this is not kept for a reader who does not come: the connection is read no further.
_MAX_KEPT_BYTES = 64 * 1024


class Reply(httpx2.AsyncByteStream):
    """The head of a reply and, as it comes, its body. No task, timer or generator runs for a read of the network."""

    def __init__(self, transport: asyncio.Transport, metronome: Metronome, fruitless: FruitlessReading) -> None:
        """Of the request that is written to `transport`."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._metronome = metronome
        self.pace = Pace(fruitless)
        """Told by whoever reads what comes of it."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head: asyncio.Future[None] = self._loop.create_future()
        """Done when `status` and `headers` are there; an httpx2.HTTPError when they do not come."""
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._has_ended = False
        self._error: httpx2.HTTPError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None  # of a deadline, maybe of one that was put off since
        self._will_look = False  # `_look` is going to be called
        self._gathers = False  # pieces, for a frame
        self._read_at = 0.0

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Learn the head."""
        self.status, self.headers = status, headers
        if not self.head.done():
            self.head.set_result(None)

    def add(self, data: bytes) -> None:
        """Keep a piece of the body; `notice` follows."""
        self._pieces.append(data)
        self._kept_bytes += len(data)

    def notice(self, seconds: float) -> None:
        """Learn that the connection was read, which took `seconds` of the thread."""
        self.pace.read(seconds)
        if self._kept_bytes > _MAX_KEPT_BYTES:
            self._transport.pause_reading()
        if self._waiter is not None:
            self._call()

    def end(self) -> None:
        """Learn that the body is complete."""
        self._has_ended = True
        if self._waiter is not None:
            self._call()

    def fail(self, error: httpx2.HTTPError) -> None:
        """Learn that nothing more comes though the body is not complete; what came before can be taken."""
        self._error = error
        if not self.head.done():
            self.head.set_exception(error)
        if self._waiter is not None:
            self._call()

    def gather(self) -> None:
        """From now on let pieces gather for a frame of the metronome."""
        if not self._gathers:
            self._gathers = True
            self._metronome.streams += 1
            self._read_at = self._loop.time()

    async def take(self, deadline: float = math.inf) -> bytes | None:
        """Wait for bytes of the body and return all that came; None at its end.

        TimeoutError at `deadline`, on the loop's clock; httpx2.HTTPError when the body broke off, after all that came.
        """
        if not self._may_take():
            await self._wait(deadline)
        if self._pieces:
            return self._take()
        if self._error is not None:
            raise self._error
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Take until the end."""
        while (data := await self.take()) is not None:
            yield data

    async def aclose(self) -> None:
        """Give the reply up; its connection with it, unless the body was complete."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathers:
            self._gathers = False
            self._metronome.streams -= 1
        if not self._has_ended:
            self._transport.abort()

    @property
    def _has_more(self) -> bool:
        return bool(self._pieces) or self._has_ended or self._error is not None

    def _may_take(self) -> bool:
        is_over = self._has_ended or self._error is not None  # nothing more would gather
        is_due = is_over or (bool(self._pieces) and not self._gathers)
        return is_due and not self.pace.is_resting

    def _take(self) -> bytes:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._kept_bytes > _MAX_KEPT_BYTES and not (self._has_ended or self._transport.is_closing()):
            self._transport.resume_reading()
        self._kept_bytes = 0
        self._read_at = self._loop.time()
        self.pace.look()
        return data

    async def _wait(self, deadline: float) -> None:
        """Wait until there is something to take and it may be taken."""
        self._waiter = self._loop.create_future()
        self._deadline = deadline
        if deadline < math.inf and (self._timer is None or self._timer.when() > deadline):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_deadline)
        self._call()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _call(self) -> None:
        """Have `_look` called when what is there may be taken; that may be at once."""
        if self._will_look or not self._has_more:
            return
        self._will_look = True
        if self.pace.is_resting:
            self._loop.call_at(self.pace.rests_until, self._look)
        elif self._gathers and not self._has_ended:
            self._metronome.call(self._look, self._read_at)
        else:
            self._look()

    def _look(self) -> None:
        self._will_look = False
        if self._waiter is None or self._waiter.done() or not self._has_more:
            return
        if self.pace.is_resting:
            self._call()
        else:
            self._waiter.set_result(None)

    def _on_deadline(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._deadline > self._loop.time() + SHORT_SECONDS:
            self._timer = self._loop.call_at(self._deadline, self._on_deadline)
        else:
            self._waiter.set_exception(TimeoutError())
