"""The interface between chain and providers: what a provider does, and how its answer comes in."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import httpx2
import orjson

from llm_router.errors import ConnectionLost, ProviderError, StreamBroken
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.events import LARGE_EVENT_BYTES, MAX_NAME_CHARACTERS, parse_event
from llm_router.providers.http.client import READS_IN_A_ROW, is_plain
from llm_router.providers.http.transport import reply_of
from llm_router.providers.stream_error import read_stream_error
from llm_router.providers.usage import Counting
from pricing.usage import Usage
from servicekit.sse import MAX_EVENT_BYTES, EventTooLong, ServerSentEvent, SseDecoder
from spillway.router.v1 import router_pb2 as routerpb


@dataclass(frozen=True, slots=True)
class MessagesEvent:
    """An event of the Messages API that OpenAI JSON cannot say."""

    data: bytes
    """As JSON without its `index`."""

    def __len__(self) -> int:
        """Return its size in bytes."""
        return len(self.data)


# Text of choice 0 on the fast path, the `choices` array of an OpenAI chunk as JSON, or an event of Anthropic's own.
Content = str | bytes | MessagesEvent


_MAX_FIELDS = 50
# A field of a longer event is kept as JSON, whose size is known.
_SMALL_EVENT_BYTES = 4096

_CUT_SHORT = frozenset({routerpb.FINISH_REASON_LENGTH, routerpb.FINISH_REASON_CONTENT_FILTER})


@dataclass(slots=True)
class Answer:
    """Everything the provider sent so far besides the content."""

    choices: int = 1
    """How many choices were asked for."""
    response_model: str = ""
    system_fingerprint: str = ""
    counting: Counting | None = None
    """Counts what is billed."""
    finish_reasons: dict[int, routerpb.FinishReason.ValueType] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)
    """What the provider's chunks have beside the fields that are read here, by name; the newest value of each.

    Fields that would make more than an event can hold are left out.
    """
    has_ended: bool = False
    """The wire's own end marker came."""
    has_trailer: bool = False
    """The usage of the whole answer came behind its finish reasons, and no content after that."""
    went_on: bool = False
    """Content came after a finish reason: this provider's finish reasons are no end."""
    _reopened: set[int] = field(default_factory=set)  # choices with content after their finish reason
    _large_fields: dict[str, int] = field(default_factory=dict)  # how many bytes those have that are kept as JSON

    @property
    def usage(self) -> Usage | None:
        """What is billed, as far as it is known; None when nothing is."""
        return None if self.counting is None else self.counting.known()

    @property
    def total_disagrees(self) -> tuple[int, int] | None:
        """The provider's own total of tokens and the sum of its parts, when they are not the same."""
        if self.counting is None:
            return None
        self.counting.known()
        return self.counting.total_disagrees

    @property
    def is_whole(self) -> bool:
        """Every choice has a finish reason. Content that comes nevertheless belongs to the answer."""
        return len(self.finish_reasons) >= self.choices

    @property
    def may_end(self) -> bool:
        """Whether the answer is complete if the stream ends here, cleanly."""
        return self.is_whole and (self.has_ended or self.has_trailer or not self.went_on)

    def keep_field(self, name: str, value: object, event_bytes: int) -> None:
        """Keep a field of an event that has this length."""
        if len(name) > MAX_NAME_CHARACTERS or (name not in self.fields and len(self.fields) >= _MAX_FIELDS):
            return
        if event_bytes > _SMALL_EVENT_BYTES:
            encoded = orjson.dumps(value)
            others = sum(size for other, size in self._large_fields.items() if other != name)
            if others + len(encoded) > MAX_EVENT_BYTES:
                return
            self._large_fields[name] = len(encoded)
            value = orjson.Fragment(encoded)
        elif self._large_fields:
            self._large_fields.pop(name, None)
        self.fields[name] = value

    def encoded_fields(self) -> bytes:
        """Return the fields as one JSON object; nothing when there are none."""
        return orjson.dumps(self.fields) if self.fields else b""

    def finish(self, index: int, reason: routerpb.FinishReason.ValueType) -> None:
        """Note why a choice has ended; the newest reason holds, but a mere "stop" right behind it says nothing new."""
        is_cut_short = self.finish_reasons.get(index) in _CUT_SHORT
        if is_cut_short and reason == routerpb.FINISH_REASON_STOP and index not in self._reopened:
            return
        self.finish_reasons[index] = reason
        self._reopened.discard(index)

    def add_after_end(self, index: int) -> None:
        """Note that a choice has content again, if it had a finish reason already."""
        if index in self.finish_reasons:
            self._reopened.add(index)
            self.went_on, self.has_trailer = True, False


class Wire(Protocol):
    """Reads the events of one answer."""

    answer: Answer

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event, note its facts in `answer`, return its content. ProviderError when it is bad."""

    def end(self) -> list[Content]:
        """Return the content that is due when nothing more comes, and settle the finish reasons.

        By what was delivered: an answer with tool calls ends with a tool call. ProviderError when something is
        unfinished. Again, it returns nothing.
        """


class _JsonDecoder:
    """Collects a reply that is one JSON object instead of a stream."""

    def __init__(self) -> None:
        self._object = bytearray()

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes. EventTooLong when there are too many."""
        self._object += chunk
        if len(self._object) > MAX_EVENT_BYTES:
            raise EventTooLong
        return []

    def end(self) -> ServerSentEvent | None:
        """Return the object."""
        whole, self._object = bytes(self._object), bytearray()
        return ServerSentEvent(whole) if whole else None


# The longest event and as much again; pings come in some bytes a second.
_MAX_BYTES_WITHOUT_CONTENT = 2 * MAX_EVENT_BYTES
# One after the other, so that the memory of one is free again before the next is read.
_large_events = ThreadPoolExecutor(1, "large-events")


class AnswerStream:
    """An answer that is coming in over HTTP: as a stream, or whole, whatever was asked for."""

    def __init__(
        self, response: httpx2.Response, wire: Wire, provider_request_id: str, dropped: tuple[str, ...] = ()
    ) -> None:
        """`dropped` are the fields that the provider was not told.

        StreamBroken when the reply is compressed, which nobody has asked for.
        """
        if not is_plain(response):
            raise StreamBroken("the answer is compressed although it was asked for as it is", http_status=200)
        self._reply = reply_of(response)
        self._reads = 0
        self._bytes_without_content = 0  # since the last content
        self._decoder: SseDecoder | _JsonDecoder | None = None  # the first byte tells which; many label it wrongly
        self._wire = wire
        self._failure: ProviderError | None = None
        self.http_status = response.status_code
        self.provider_request_id = provider_request_id[:MAX_NAME_CHARACTERS]
        self.dropped = dropped

    @property
    def answer(self) -> Answer:
        """What is known of the answer so far."""
        return self._wire.answer

    def gather(self) -> None:
        """From now on let chunks gather for a frame before they are read."""
        self._reply.gather()

    async def read(self, deadline: float) -> list[Content] | None:
        """Wait for bytes and return their content, possibly none; None at the end of the stream.

        TimeoutError when nothing came by `deadline`, on the loop's clock. ProviderError when the connection breaks, a
        chunk is malformed or too much came that was no content; do not call it again after that.
        Content before the error is returned first, however the network has split the bytes.
        """
        if self._failure is not None:
            raise self._failure
        self._reads += 1
        if self._reads % READS_IN_A_ROW == 0:
            await asyncio.sleep(0)
            self._reply.pace.look()
        try:
            chunk = await self._reply.take(deadline)
        except httpx2.HTTPError as error:
            raise ConnectionLost("the connection broke") from error
        if chunk is None:
            return await self._last()
        events = self._decode(chunk)
        if events and len(events[0].data) > LARGE_EVENT_BYTES:  # no other one can be: it began in this chunk
            contents = await self._read_aside(events)
        else:
            contents = self._read(events) if events else []
            self._reply.pace.brought(content=bool(contents))
        self._bytes_without_content = 0 if contents else self._bytes_without_content + len(chunk)
        if self._bytes_without_content > _MAX_BYTES_WITHOUT_CONTENT:
            raise StreamBroken("the stream brought too much that is no content")
        return contents

    def end(self) -> list[Content]:
        """Return the content that is due though the stream did not end. ProviderError when something is unfinished."""
        return self._wire.end()

    def _decode(self, chunk: bytes) -> list[ServerSentEvent]:
        if self._decoder is None:
            chunk = chunk.lstrip()
            if not chunk:
                return []
            self._decoder = _JsonDecoder() if chunk.startswith(b"{") else SseDecoder()
        try:
            return self._decoder.feed(chunk)
        except EventTooLong as error:
            raise StreamBroken("an event of the stream was too long") from error

    async def _last(self) -> list[Content] | None:
        """Return the content that the end of the stream brings; None when it brings none.

        An event may lack its last blank line.
        """
        event = self._decoder.end() if self._decoder is not None else None
        contents = await self._read_aside([event]) if event is not None else []
        return contents or self._wire.end() or None

    async def _read_aside(self, events: list[ServerSentEvent]) -> list[Content]:
        """Read events of which one may be long: the event loop goes on meanwhile."""
        seconds = 0.0

        def read() -> list[Content]:
            nonlocal seconds
            started = time.thread_time()
            try:
                return self._read(events)
            finally:
                seconds = time.thread_time() - started

        try:
            return await asyncio.get_running_loop().run_in_executor(_large_events, read)
        finally:
            self._reply.pace.add_fruitless(seconds)  # most of the time of that thread is none of the others
            self._reply.pace.look()

    def _read(self, events: list[ServerSentEvent]) -> list[Content]:
        contents: list[Content] = []
        answer = self._wire.answer
        try:
            for event in events:
                if answer.has_ended:
                    break  # what follows is not read when it comes by itself either
                if event.name == "error":
                    raise read_stream_error(parse_event(event.data))
                contents += self._wire.read(event.data)
        except ProviderError as error:
            if not contents:
                raise
            self._failure = error
        return contents


class Provider(Protocol):
    """Opens answers at one target."""

    def open(self, chat: ChatBody) -> AbstractAsyncContextManager[AnswerStream]:
        """Send the form of `chat` that the wire can take, and enter once the headers of a good answer are there.

        Entering raises ProviderError. Leaving closes the connection unless the answer was read to its end.
        """

    async def close(self) -> None:
        """Close idle connections."""
