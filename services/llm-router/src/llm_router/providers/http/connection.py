"""A connection to a provider: requests are written whole, replies are read as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools
import httpx2

from llm_router.providers.http.metronome import Metronome
from llm_router.providers.http.pace import FruitlessReading
from llm_router.providers.http.reply import Reply

# Of all heads of one reply: any number of provisional ones (1xx) may come before its own.
_MAX_HEADS_BYTES = 128 * 1024
# What is no body, between two pieces of one: sizes and extensions of chunks, trailers.
_MAX_FRAMING_BYTES = 128 * 1024
_FIRST_FINAL = 200
_FIRST_SERVER_ERROR = 500


class Connection(asyncio.BufferedProtocol):
    """An HTTP/1.1 connection with at most one request at a time."""

    def __init__(
        self,
        buffer: memoryview,
        metronome: Metronome,
        fruitless: FruitlessReading,
        release: Callable[[Connection], None],
    ) -> None:
        """`buffer` may be that of all connections; `release` is called whenever the next request can be written."""
        self._buffer = buffer
        self._metronome = metronome
        self._fruitless = fruitless
        self._release = release
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._heads_bytes = self._framing_bytes = 0
        self._is_in_body = self._has_body = self._ends_with_connection = self._is_complete = self._may_go_on = False
        self._fault = ""
        self.idle_since = 0.0
        """On the loop's clock; set by whoever keeps it."""

    @property
    def is_closed(self) -> bool:
        """Whether no request can be written any more."""
        return self._transport.is_closing()

    def ask(self, request: bytes) -> Reply:
        """Write a request."""
        self._heads_bytes = self._framing_bytes = 0
        self._is_in_body = self._ends_with_connection = self._is_complete = self._may_go_on = False
        self._reply = Reply(self._transport, self._metronome, self._fruitless)
        self._transport.write(request)
        return self._reply

    def close(self) -> None:
        """Close it at once."""
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # that of a stream; uvloop's is no subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read what has come."""
        reply = self._reply
        if reply is None:  # nothing was asked: what comes now would be taken for the next reply
            self._transport.abort()
            return
        started = time.thread_time()
        was_in_body, self._has_body = self._is_in_body, False
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserUpgrade:
            self._fault = "the reply changes the protocol"
        except httptools.HttpParserError:
            self._fault = self._fault or "the reply is not HTTP"
        self._count(nbytes, is_in_body=was_in_body)
        seconds = time.thread_time() - started
        if self._is_complete:
            self._finish(reply)
        elif self._fault:
            self._reply = None
            reply.fail(httpx2.RemoteProtocolError(self._fault))
            self._transport.abort()
        elif self._is_in_body:
            reply.notice(seconds)
        else:
            self._rest(reply, seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if self._ends_with_connection and exc is None:
            reply.end()
        else:
            kind = httpx2.RemoteProtocolError if exc is None else httpx2.ReadError
            reply.fail(kind("the connection was closed before the reply was complete"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        """See httptools."""
        self._headers = []
        if self._is_complete:
            self._fault = "something follows the reply"

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; trailers say nothing that is used here."""
        if not self._is_in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status >= _FIRST_FINAL and self._reply is not None and not self._is_complete:
            self._is_in_body = True
            self._ends_with_connection = not _says_its_length(self._headers)
            self._reply.begin(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._has_body = True
        if self._reply is not None and not self._is_complete:
            self._reply.add(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._is_in_body:
            self._is_complete = True
            self._may_go_on = self._parser.should_keep_alive()

    def _count(self, size: int, *, is_in_body: bool) -> None:
        """Bound what comes besides the body."""
        if self._has_body:
            self._framing_bytes = 0
        elif is_in_body:
            self._framing_bytes += size
        else:
            self._heads_bytes += size
        if self._heads_bytes > _MAX_HEADS_BYTES:
            self._fault = "the head of the reply has no end"
        elif self._framing_bytes > _MAX_FRAMING_BYTES:
            self._fault = "the reply has too much that is no body"

    def _finish(self, reply: Reply) -> None:
        self._reply = None
        reply.end()
        # One that fails may be shutting down: whoever tries again shall have another one, if there is another.
        can_go_on = self._may_go_on and not self._fault and reply.status < _FIRST_SERVER_ERROR
        can_go_on = can_go_on and not self._transport.get_write_buffer_size()
        if can_go_on and not self._transport.is_closing():
            self._release(self)
        else:
            self._transport.abort()

    def _rest(self, reply: Reply, seconds: float) -> None:
        """Read a head no faster than what is no content may be read."""
        reply.pace.add_fruitless(seconds)
        if reply.pace.is_resting:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_at(reply.pace.rests_until, self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


def _says_its_length(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether a body ends by itself; otherwise it ends with its connection."""
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-length" or (lowered == b"transfer-encoding" and b"chunked" in value.lower()):
            return True
    return False
