"""The interface between chain and providers: what a provider does, and how its answer comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import httpx2

from llm_router.errors import ProviderError, StreamBroken
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.transport import PacedStream
from pricing.usage import Usage
from servicekit.sse import EventTooLong, SseDecoder
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


@dataclass(slots=True)
class Answer:
    """Everything the provider sent so far besides the content."""

    choices: int = 1
    """How many choices were asked for."""
    response_model: str = ""
    system_fingerprint: str = ""
    usage: Usage | None = None
    finish_reasons: dict[int, routerpb.FinishReason.ValueType] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)
    """What the provider's chunks have beside the fields that are read here, by name; the newest value of each."""
    has_ended: bool = False
    """The wire's own end marker came."""

    @property
    def is_whole(self) -> bool:
        """Every choice has a finish reason: the content is complete."""
        return len(self.finish_reasons) >= self.choices


class Wire(Protocol):
    """Reads the events of one answer."""

    answer: Answer

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event, note its facts in `answer`, return its content. ProviderError when it is bad."""


class AnswerStream:
    """An answer that is coming in over HTTP."""

    def __init__(self, response: httpx2.Response, wire: Wire, provider_request_id: str) -> None:
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._decoder = SseDecoder()
        self._wire = wire
        self._failure: ProviderError | None = None
        self._connection = response.extensions.get("network_stream")
        self.http_status = response.status_code
        self.provider_request_id = provider_request_id

    @property
    def answer(self) -> Answer:
        """What is known of the answer so far."""
        return self._wire.answer

    def read_at_most_every(self, seconds: float) -> None:
        """From now on let chunks gather for `seconds` between two reads of the network."""
        if isinstance(self._connection, PacedStream):  # a proxy's connection is not one
            self._connection.read_at_most_every(seconds)

    async def read(self) -> list[Content] | None:
        """Wait for bytes and return their content, possibly none; None at the end of the stream.

        ProviderError when the connection breaks or a chunk is malformed; do not call it again after that.
        Content before the error is returned first, however the network has split the bytes.
        """
        if self._failure is not None:
            raise self._failure
        try:
            chunk = await anext(self._chunks, None)
        except httpx2.HTTPError as error:
            raise StreamBroken("the connection broke") from error
        if chunk is None:
            return None
        try:
            events = self._decoder.feed(chunk)
        except EventTooLong as error:
            raise StreamBroken("an event of the stream was too long") from error
        content: list[Content] = []
        try:
            for event in events:
                content += self._wire.read(event.data)
        except ProviderError as error:
            if not content:
                raise
            self._failure = error
        return content


class Provider(Protocol):
    """Opens answers at one target."""

    def open(self, chat: ChatBody) -> AbstractAsyncContextManager[AnswerStream]:
        """Send the form of `chat` that the wire can take, and enter once the headers of a good answer are there.

        Entering raises ProviderError. Leaving closes the connection unless the answer was read to its end.
        """

    async def close(self) -> None:
        """Close idle connections."""
