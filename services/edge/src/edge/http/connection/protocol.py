"""One connection: one request at a time, each with its limits and its deadlines."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from edge.http.connection.connections import Connections, group_of
from edge.http.connection.framing import MAX_CHUNKED_BYTES_AT_A_TIME, BadRequest, Buffer, RequestFraming
from edge.http.connection.refusal import refusal

# So much is read at a time; uvloop would read four times as much.
_READ_BYTES = 64 * 1024
# A client may send the next requests before it has read an answer. When this much of them waits, no more is read.
_MAX_AHEAD_BYTES = 16 * 1024
# A body that nobody reads, because its answer is given already, is read and dropped up to here: a client that still
# writes would otherwise not read the answer.
_MAX_UNREAD_BODY_BYTES = 64 * 1024 * 1024
# How long, and how much, a client may go on writing after the connection's last answer; closed at once, the answer
# could be lost on its way.
_LINGER_SECONDS = 2.0
_MAX_LINGER_BYTES = 1024 * 1024
# A client that reads slower than this while output waits (64 kbit/s) is as good as gone.
_MIN_BYTES_PER_SECOND = 8 * 1024
# How often a half-closed client is sent a letter, to learn whether it is still there.
_PROBE_INTERVAL_SECONDS = 15.0
_ANSWER_BEGINS = b"HTTP/1.1 "
# Clients limit the digits of a chunk's size. A stream is never silent for long anyway.
_MAX_ZEROS = 4

# An answer in one piece that may be too much together with others.
_LARGE_BYTES = 1024 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)
# Where the kernel says how many milliseconds ago the newest bytes came: `tcpi_last_data_recv` in `struct tcp_info`.
_LAST_RECEIVED = slice(52, 56)

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024


class _Phase(Enum):
    NEW = auto()
    """Nothing has come yet."""
    HEAD = auto()
    """A head has begun."""
    BODY = auto()
    ANSWER = auto()
    """The request is complete, its answer is not."""
    IDLE = auto()
    LINGER = auto()
    """The last answer is written; what comes is dropped."""


class _Flow(FlowControl):
    """Reading stays paused while it is held, whoever would like to resume it."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()

    def hold(self) -> None:
        self.is_held = True
        self.pause_reading()

    def release(self) -> None:
        self.is_held = False
        self.resume_reading()


class _Output:
    """What an answer is written to: the transport, but for the first letter and the end of a connection."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(
        self, write: Callable[[bytes], None], is_closing: Callable[[], bool], close: Callable[[], None]
    ) -> None:
        self.write = write
        self.is_closing = is_closing
        self.close: Callable[[], object] = close

    def cut_off(self) -> None:
        """Forget where it leads: nothing reaches a connection that is lost, and nothing shall keep it."""
        self.write = _to_nowhere
        self.is_closing = _is_lost
        self.close = _is_lost


def _to_nowhere(_data: bytes) -> None:
    pass


def _is_lost() -> bool:
    return True


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, which gets one strictly delimited request after the other.

    Nothing is parsed, and little is read, before the answer to the request before it is complete. A client that has
    closed its half of the connection gets its answer, though at first nothing tells it from one that left: both look
    the same until something is sent. Therefore the first letter of the answer, or a leading zero of the next chunk's
    size, goes out at once: it changes no byte of the answer, and the system of a client that left refuses it.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._registry = connections
        self._limits = connections.limits
        self._framing = RequestFraming()
        self._ahead: Buffer = b""
        self._phase = _Phase.NEW
        self._deadline = math.inf
        self._began = 0.0  # when the phase began
        self._read_at = 0.0  # when something of a body came
        self._arrived = 0.0  # when the request began to come
        self._dropped = 0
        self._has_turn = False  # whether `_take_turn` is going to be called
        self._is_dispatched = False  # whether `cycle` is that of the current request
        self._is_half_closed = False
        self._next_probe = math.inf
        self._letters = 0
        self._zeros = 0
        self._unsent: tuple[int, float] | None = None  # how much, and since when
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        self.flow: _Flow = _Flow(transport)
        self._output = _Output(transport.write, self._is_closing, self._close)
        self._address = group_of(self.client[0]) if self.client else ""
        is_proxy = self.client is not None and self._limits.is_proxy(self.client[0])
        reason = self._registry.admit(self, self._address, is_proxy=is_proxy)
        if reason:
            self._registry.metrics.connections_refused.labels(reason).inc()
            self._registry.log.info("connection_refused", reason, address=self._address)
            if self._registry.linger(self):
                message = "there are too many connections; try again in a moment"
                self._last_words("too_many_connections", message)
            else:
                transport.abort()
            return
        self._enter(_Phase.NEW, self._limits.head_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and leave no circle for the garbage collector: each would keep tens of kilobytes.

        A request that is still being answered has its cycle, and the cycle has this.
        """
        self._registry.leave(self, self._address)
        self._ahead = b""
        super().connection_lost(exc)
        self._output.cut_off()
        self.cycle = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read on in the request, or keep what belongs to the next one."""
        if self._phase is _Phase.LINGER:
            self._drop(len(data), _MAX_LINGER_BYTES)
            return
        if self._ahead:
            self._ahead = bytearray(self._ahead) if isinstance(self._ahead, bytes) else self._ahead
            self._ahead += data
        else:
            self._ahead = data
        if self._phase is _Phase.ANSWER:
            self._hold_if_full()
            return
        if self._phase is _Phase.BODY:
            self._read_at = time.monotonic()
        elif self._phase is not _Phase.HEAD:
            self._arrived = time.monotonic() - self._seconds_unseen()
        self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays: only for an answer to what was asked completely."""
        self._is_half_closed = True
        self.flow.hold()
        if self._phase is _Phase.ANSWER:
            self._answer_half_closed()
        return self._phase is _Phase.ANSWER or self._has_turn

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        super().on_headers_complete()
        self.scope["state"]["arrived"] = self._arrived
        self._is_dispatched = True
        self.cycle.transport = self._output  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Pass a part of a body on, or drop it when the answer is given."""
        if self.cycle.response_complete:
            self._drop(len(body), _MAX_UNREAD_BODY_BYTES)
        else:
            super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._phase is _Phase.LINGER:
            return
        if self._framing.is_complete:
            self._next_request()
        elif self.expect_100_continue and self._read_at == self._began:  # none of the body has come
            self._close()  # and whether it will is not known
        else:
            self.flow.release()  # the rest of the body is dropped

    def pause_writing(self) -> None:
        """Begin anew to measure how fast the client takes its answer."""
        size = self.transport.get_write_buffer_size()
        self._unsent = (size, time.monotonic())
        super().pause_writing()
        if size > _LARGE_BYTES:
            self.loop.call_soon(self._registry.bound_unsent)

    # What the registry asks for.

    def check(self, now: float) -> None:
        """Do what is due."""
        if self.transport.is_closing():
            self._check_output(now)
            return
        if self._is_gone():
            self.transport.abort()
            return
        if now >= self._deadline:
            self._expired()
        elif self._phase is _Phase.BODY:
            if self.flow.read_paused:  # by us
                self._read_at = now
            elif now - self._read_at >= self._limits.stall_timeout_seconds:
                self._refuse(BadRequest("body_timeout", "the rest of the body did not come", "request_timeout"))
        if now >= self._next_probe:
            self._probe(now)
        self._check_output(now)

    def unsent(self) -> tuple[int, float]:
        """Return the bytes that the client has not taken, and since when it has been too slow."""
        return self.transport.get_write_buffer_size(), self._unsent[1] if self._unsent else math.inf

    def idle_since(self) -> float | None:
        """Return since when the connection is idle; None when it is not."""
        return self._began if self._phase is _Phase.IDLE else None

    def end(self) -> None:
        """Close the idle connection."""
        self.transport.close()

    def give_up(self) -> None:
        """Cut the connection; the kernel does not go on to send what it has of the answer."""
        with suppress(OSError):  # its client was faster
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    # Reading.

    def _advance(self) -> None:
        """Feed the parser with what there is of the current request."""
        if self._has_turn or self._phase is _Phase.LINGER or self.transport.is_closing():
            return
        framing = self._framing
        try:
            while self._ahead and not framing.is_complete:
                piece, used = framing.take(self._ahead)
                if not used:
                    break
                self._use_up(used)
                if piece:
                    self.parser.feed_data(piece)
                if used >= MAX_CHUNKED_BYTES_AT_A_TIME and self._ahead and not framing.is_complete:
                    self._hold_if_full()
                    self._has_turn = True  # after all others
                    self.loop.call_soon(self._take_turn)
                    break
        except BadRequest as fault:
            self._refuse(fault)
            return
        except httptools.HttpParserError:
            self._refuse(BadRequest("malformed", "the request line or a header is not HTTP/1.1"))
            return
        if framing.is_complete:
            self._enter(_Phase.ANSWER, math.inf)
            if self.cycle.response_complete:  # before its body was
                self._next_request()
            else:
                self._hold_if_full()
                if self._is_half_closed:
                    self._answer_half_closed()
        elif not framing.is_in_head:
            if self._phase is not _Phase.BODY:
                self._enter(_Phase.BODY, self._limits.body_timeout_seconds)
                self._read_at = self._began
        elif self._phase is _Phase.NEW:
            self._phase = _Phase.HEAD  # in the time that it has had for the head from the beginning
        elif self._phase is _Phase.IDLE:
            self._enter(_Phase.HEAD, self._limits.head_timeout_seconds)

    def _take_turn(self) -> None:
        self._has_turn = False
        self._advance()
        if self._is_half_closed and not self._has_turn and self._phase is not _Phase.ANSWER:
            self.transport.close()

    def _answer_half_closed(self) -> None:
        if not self._ahead:
            self.cycle.keep_alive = False
        self._probe(time.monotonic())

    def _seconds_unseen(self) -> float:
        """Return for how long the kernel had what was read just now: a busy loop is late."""
        if not hasattr(socket, "TCP_INFO"):  # Linux has it
            return 0.0
        with suppress(OSError):
            connection = self.transport.get_extra_info("socket")
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED.stop)
            return int.from_bytes(info[_LAST_RECEIVED], sys.byteorder) / 1000
        return 0.0

    def _use_up(self, count: int) -> None:
        if count == len(self._ahead):
            self._ahead = b""
            return
        if isinstance(self._ahead, bytes):
            self._ahead = bytearray(self._ahead)  # which loses its beginning without being copied
        del self._ahead[:count]

    def _next_request(self) -> None:
        self._framing.begin()
        self._is_dispatched = False
        self._dropped = 0
        self._enter(_Phase.IDLE, self._limits.idle_timeout_seconds)
        if self._ahead:
            self._arrived = self._began
            self._advance()
        if self._is_half_closed and self._phase not in (_Phase.ANSWER, _Phase.LINGER) and not self._has_turn:
            self.transport.close()
        elif len(self._ahead) <= _MAX_AHEAD_BYTES and not self._is_half_closed:
            self.flow.release()

    def _hold_if_full(self) -> None:
        if len(self._ahead) > _MAX_AHEAD_BYTES:
            self.flow.hold()
        elif self.flow.is_held and not self._is_half_closed:
            self.flow.release()

    def _enter(self, phase: _Phase, seconds: float) -> None:
        self._phase = phase
        self._began = time.monotonic()
        self._deadline = self._began + seconds

    # Ending.

    def _expired(self) -> None:
        if self._phase is _Phase.HEAD:
            self._refuse(BadRequest("head_timeout", "the rest of the request did not come", "request_timeout"))
        elif self._phase is _Phase.BODY:
            self._refuse(BadRequest("body_timeout", "the body took too long", "request_timeout"))
        elif self._phase is _Phase.LINGER:
            if self.transport.get_write_buffer_size():  # how long it may take that is another rule
                self._enter(_Phase.LINGER, _LINGER_SECONDS)
            else:
                self.transport.abort()
        else:
            if self._phase is _Phase.NEW:
                self._registry.metrics.bad_requests.labels("nothing_sent").inc()
            self.transport.close()
            self._deadline = math.inf

    def _refuse(self, fault: BadRequest) -> None:
        """Answer what is no request, if it can still be answered, and read nothing more."""
        self._registry.metrics.bad_requests.labels(fault.reason).inc()
        self._registry.log.info("bad_request", fault.reason, address=self._address)
        self._ahead = b""
        cycle = self.cycle
        if not self._is_dispatched:
            self._last_words(fault.code, fault.message)
        elif not cycle.response_started:
            cycle.disconnected = True
            cycle.message_event.set()
            self._last_words(fault.code, fault.message)
        elif cycle.response_complete:
            self._close()
        else:
            self.transport.abort()

    def _last_words(self, code: str, message: str) -> None:
        self.transport.write(refusal(code, message, self.server_state.default_headers))
        self._close()

    def _close(self) -> None:
        """Close after what is written, and after a client that is still writing has had time to read it."""
        if self._is_half_closed or (self._phase is _Phase.ANSWER and not self._ahead):
            self.transport.close()
            return
        self._ahead = b""
        self._dropped = 0
        self._enter(_Phase.LINGER, _LINGER_SECONDS)
        with suppress(OSError, RuntimeError):  # it has left meanwhile
            self.transport.write_eof()
        self.flow.release()

    def _drop(self, count: int, limit: int) -> None:
        self._dropped += count
        if self._dropped > limit:
            self.transport.abort()

    # Looking after the client.

    def _probe(self, now: float) -> None:
        """Send something that a client waiting for this answer does not notice."""
        cycle = self.cycle
        self._next_probe = now + _PROBE_INTERVAL_SECONDS
        if self.transport.is_closing() or cycle.response_complete or self.flow.write_paused:
            return
        if cycle.response_started:
            if cycle.chunked_encoding and cycle.scope["method"] != "HEAD" and self._zeros < _MAX_ZEROS:
                self._zeros += 1
                self.transport.write(b"0")
        elif self._letters < len(_ANSWER_BEGINS):
            self.transport.write(_ANSWER_BEGINS[self._letters : self._letters + 1])
            self._letters += 1
            self._output.write = self._write_after_letters

    def _write_after_letters(self, data: bytes) -> None:
        self._output.write = self.transport.write
        self.transport.write(data[self._letters :])
        self._letters = 0

    def _is_closing(self) -> bool:
        return self._phase is _Phase.LINGER or self.transport.is_closing()

    def _is_gone(self) -> bool:
        """Say whether the client's system refused what was sent; while nothing is read, nobody else notices."""
        if not self.flow.read_paused:
            return False
        return bool(self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _check_output(self, now: float) -> None:
        """Give up a client that takes its answer too slowly, unless more is being written."""
        size = self.transport.get_write_buffer_size()
        if not size or not (self.flow.write_paused or self._phase is not _Phase.ANSWER or self.transport.is_closing()):
            self._unsent = None
            return
        if self._unsent is None:
            self._unsent = (size, now)
            return
        before, since = self._unsent
        period = now - since
        if period < self._limits.stall_timeout_seconds:
            return
        if before - size < min(before, _MIN_BYTES_PER_SECOND * period):
            self._registry.metrics.slow_clients.labels("stalled").inc()
            self.give_up()
        else:
            self._unsent = (size, now)


class ConnectionReader(asyncio.BufferedProtocol):
    """What the transport calls: reads for a connection, in small portions."""

    # One for all: what is in it is copied before anything else is read.
    _buffer = memoryview(bytearray(_READ_BYTES))

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take the arguments of `Connection`."""
        connection = Connection(*arguments, **named)
        self._data_received = connection.data_received
        for name in ("connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(connection, name))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what is read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass it on."""
        self._data_received(bytes(self._buffer[:nbytes]))
