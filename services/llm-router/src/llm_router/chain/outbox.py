"""The events for the edge: a bounded queue that joins waiting chunks, so that gRPC carries few messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby

from llm_router.providers.provider import Content, MessagesEvent
from spillway.router.v1 import router_pb2 as routerpb

# Covers every pause of the reader but those of a slow client; beyond it the provider is not read.
_MAX_WAITING = 512
_MAX_WAITING_SIZE = 512 * 1024  # characters or bytes


@dataclass(frozen=True, slots=True)
class _AnswersNow:
    """Content that follows is from this attempt."""

    attempt_number: int


_DELTA_FIELDS: dict[type, str] = {str: "texts", bytes: "choices", MessagesEvent: "messages_events"}

_Item = Content | routerpb.StreamCompletionResponse | _AnswersNow


class Outbox:
    """The queue of one stream: the chain puts events and content, the RPC takes all of them in order."""

    def __init__(self) -> None:
        self._waiting: list[_Item] = []
        self._size = 0  # of the content among them
        self._answering = 0  # the attempt that the next delta has to name; 0: none
        self._is_closed = False
        self._taker: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._all_sent = asyncio.Event()

    async def put_content(self, contents: list[Content]) -> None:
        """Queue content; waits while too much is waiting already."""
        while len(self._waiting) >= _MAX_WAITING or self._size >= _MAX_WAITING_SIZE:
            self._room.clear()
            await self._room.wait()
        self._waiting += contents
        self._size += sum(map(len, contents))
        self._all_sent.clear()
        self._wake()

    def put_event(self, event: routerpb.StreamCompletionResponse) -> None:
        """Queue anything that is not content."""
        self._waiting.append(event)
        self._all_sent.clear()
        self._wake()

    def answer_from(self, attempt_number: int) -> None:
        """Say that the content that follows is from this attempt."""
        self._waiting.append(_AnswersNow(attempt_number))

    def close(self) -> None:
        """Say that nothing more will come."""
        self._is_closed = True
        self._wake()

    async def sent(self) -> None:
        """Wait until the RPC has sent everything that was put, so that it arrives even if this process is killed."""
        await self._all_sent.wait()

    async def take(self) -> list[routerpb.StreamCompletionResponse]:
        """Wait until there is something and return all of it; an empty list when the outbox is closed and empty.

        What was taken before has been sent by now.
        """
        if not self._waiting:
            self._all_sent.set()
        while not (self._waiting or self._is_closed):
            self._taker = asyncio.get_running_loop().create_future()
            try:
                await self._taker
            finally:
                self._taker = None
        taken, self._waiting, self._size = self._waiting, [], 0
        self._room.set()
        return self._messages(taken)

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _messages(self, taken: list[_Item]) -> list[routerpb.StreamCompletionResponse]:
        """Join runs of content of one kind into one message each."""
        messages: list[routerpb.StreamCompletionResponse] = []
        for field, run in groupby(taken, key=_delta_field):
            if field is not None:
                message = routerpb.StreamCompletionResponse(delta=routerpb.Delta(attempt_number=self._answering))
                values = (item.data if isinstance(item, MessagesEvent) else item for item in run)
                getattr(message.delta, field).extend(values)
                messages.append(message)
                self._answering = 0
                continue
            for item in run:
                if isinstance(item, _AnswersNow):
                    self._answering = item.attempt_number
                elif isinstance(item, routerpb.StreamCompletionResponse):
                    messages.append(item)
        return messages


def _delta_field(item: _Item) -> str | None:
    """Return the field of a delta that this content travels in; None when it is no content."""
    return _DELTA_FIELDS.get(type(item))
