"""What goes back to the edge: joins chunks so that gRPC carries few messages and yet no chunk waits long."""

from __future__ import annotations

import asyncio

from llm_router.providers.answer import Content
from spillway.router.v1 import router_pb2 as routerpb

# Enough for any pause of the reader that is not the client's own slowness; then the provider is read no further.
_MOST_WAITING = 512


class Outbox:
    """A bounded queue of one stream: the chain puts, the RPC takes.

    The first content leaves at once; after it content leaves at most once per `interval_seconds`, all that has
    come since then together. Whatever is not content leaves at once, with the content before it.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Content | routerpb.StreamCompletionResponse] = []
        self._has_content = False
        self._is_urgent = False
        self._is_closed = False
        self._is_timed = False
        self._next_departure = 0.0
        self._taker: asyncio.Future[None] | None = None
        self._room = asyncio.Event()

    async def put_content(self, contents: list[Content]) -> None:
        """Queue content; waits while too much is waiting already."""
        while len(self._waiting) >= _MOST_WAITING:
            self._room.clear()
            await self._room.wait()
        self._waiting += contents
        self._has_content = True
        if not self._is_timed:
            self._wake()  # a taker with a timer wakes by itself when the interval is over

    def put_event(self, event: routerpb.StreamCompletionResponse) -> None:
        """Queue anything that is not content."""
        self._waiting.append(event)
        self._is_urgent = True
        self._wake()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._is_closed = True
        self._wake()

    async def take(self) -> list[routerpb.StreamCompletionResponse]:
        """Wait for what may leave now and return it, in order; an empty list when the outbox is closed and empty."""
        while not (self._is_urgent or self._is_closed):
            pause = self._next_departure - self._loop.time()
            if self._waiting and pause <= 0:
                break
            await self._sleep(pause if self._waiting else None)
        taken, self._waiting = self._waiting, []
        if self._has_content:
            self._next_departure = self._loop.time() + self._interval
        self._has_content = self._is_urgent = False
        self._room.set()
        return _messages(taken)

    async def _sleep(self, seconds: float | None) -> None:
        """Sleep until woken, at most `seconds`; None: until woken."""
        self._taker = taker = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
        self._is_timed = timer is not None
        try:
            await taker
        finally:
            self._taker = None
            self._is_timed = False
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


def _messages(taken: list[Content | routerpb.StreamCompletionResponse]) -> list[routerpb.StreamCompletionResponse]:
    """Join runs of content of one kind into one message each."""
    messages: list[routerpb.StreamCompletionResponse] = []
    texts: list[str] = []
    choices: list[bytes] = []

    def flush() -> None:
        if texts or choices:
            messages.append(
                routerpb.StreamCompletionResponse(delta=routerpb.Delta(texts=texts, choices=choices)),
            )
            texts.clear()
            choices.clear()

    for item in taken:
        if isinstance(item, str):
            if choices:
                flush()
            texts.append(item)
        elif isinstance(item, bytes):
            if texts:
                flush()
            choices.append(item)
        else:
            flush()
            messages.append(item)
    flush()
    return messages
