"""A load client that costs little: many streams at once on connections that stay open; each answer is checked whole."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson

from bench.wire import NotWhole, has_content

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_MAX_ANSWER_SECONDS = 180.0
_REFUSALS = (429, 503)
# A client that is turned away asks again when it was told to, but not for ever.
_MAX_TRIES_IN_VAIN, _PAUSE_SECONDS = 40, 1.0


@dataclass(frozen=True)
class Question:
    """What is asked again and again, and what each answer must be."""

    path: str
    body: dict[str, object]
    check: Callable[[bytes], None]
    """Raises NotWhole for another answer."""
    headers: dict[str, str] = field(default_factory=dict)
    prompt: str = ""
    """What is asked about, behind the number that makes each question a new one."""
    spread_seconds: float = 0.0
    """The clients begin one after the other over this time, so that they do not ask in step."""
    is_repeated: bool = False
    """Whether each time the same is asked, so that a cache has it; otherwise each question is a new one."""


@dataclass
class Load:
    """What the clients saw. Times are seconds."""

    answers: int = 0
    """The whole ones."""
    seconds: float = 0.0
    """From the first question to the last answer."""
    first: list[float] = field(default_factory=list)
    """From the question to the first content, of each whole answer."""
    gaps: list[float] = field(default_factory=list)
    """Between arrivals of content, of all whole answers."""
    whole: list[float] = field(default_factory=list)
    refused: int = 0
    """Questions that were turned away with 429 or 503, and asked again."""
    faults: Counter[str] = field(default_factory=Counter)
    """What is wrong with answers that are not whole."""


class Exchange(asyncio.Protocol):
    """One connection, one answer at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[None] | None = None
        self._buffer = bytearray()
        self._head = b""
        self._length: int | None = None
        self.arrivals: list[float] = []
        self.ended_at = 0.0

    @property
    def retry_after_seconds(self) -> float:
        """When to ask again."""
        found = _RETRY_AFTER.search(self._head)
        return float(found[1]) if found else _PAUSE_SECONDS

    @property
    def is_open(self) -> bool:
        """Whether another question can be asked on it."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that runs is cut."""
        self._transport = None
        self._fail(f"cut after {len(self._buffer)} bytes: {exc or 'closed'}")

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, return status and body; NotWhole when the answer ends before its end."""
        if self._transport is None:
            raise NotWhole("not connected")
        self._buffer.clear()
        self._head, self._length, self.arrivals = b"", None, []
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._ended
        found = _STATUS.match(self._head)
        body = bytes(self._buffer)
        if _CLOSES.search(self._head):
            self.close()
        return int(found[1]) if found else 0, dechunked(body) if self._length is None else body

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        """Note when content comes; see whether the answer is at its end."""
        now = time.perf_counter()
        self._buffer += data
        if has_content(data):
            self.arrivals.append(now)
        if not self._head and not self._take_head():
            return
        if self._length is None:
            is_end = self._buffer.endswith(_LAST_CHUNK) or self._buffer == _LAST_CHUNK[2:]
        else:
            is_end = len(self._buffer) >= self._length
        if is_end and self._ended is not None and not self._ended.done():
            self.ended_at = now
            self._ended.set_result(None)

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        self._head = bytes(self._buffer[:end])
        del self._buffer[:end]
        length = _LENGTH.search(self._head)
        self._length = int(length[1]) if length else None
        if length is None and not _CHUNKED.search(self._head):
            self._fail("the answer has neither a length nor chunks")
            return False
        return True

    def _fail(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(NotWhole(reason))


def dechunked(body: bytes) -> bytes:
    """Return what HTTP's chunks contain; NotWhole unless each has its length and the last one is there."""
    parts: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\r\n", position)
        try:
            size = int(body[position:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0 or body[end + 2 + size : end + 4 + size] != b"\r\n":
            raise NotWhole(f"HTTP's chunks are cut at {position} of {len(body)} bytes")
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        position = end + 4 + size


class Crowd:
    """Some clients, each with a connection of its own, that ask one question after the other."""

    def __init__(self, url: str, headers: dict[str, str], clients: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._headers = headers
        self._connections = [Exchange() for _ in range(clients)]
        self._numbers = itertools.count(time.time_ns())

    async def ask(self, question: Question, seconds: float) -> Load:
        """Let each ask until `seconds` are over and it has a whole answer; those that run then come to their end."""
        load = Load()
        # What the collector costs, and when it stops the world, is not what is measured.
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        until = began + question.spread_seconds + seconds
        try:
            async with asyncio.TaskGroup() as group:
                for place in range(len(self._connections)):
                    group.create_task(self._client(place, question, until, load))
        finally:
            gc.enable()
        load.seconds = time.perf_counter() - began
        return load

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    async def _client(self, place: int, question: Question, until: float, load: Load) -> None:
        await asyncio.sleep(question.spread_seconds * place / len(self._connections))
        answers = 0
        for _ in range(_MAX_TRIES_IN_VAIN):
            while await self._ask_once(place, question, load):
                answers += 1
                if time.perf_counter() >= until:
                    return
            if answers and time.perf_counter() >= until:
                return
            # Not all at the same moment again.
            spread = 0.75 + 0.5 * place / len(self._connections)
            await asyncio.sleep(self._connections[place].retry_after_seconds * spread)

    async def _connected(self, place: int) -> Exchange:
        connection = self._connections[place]
        if not connection.is_open:
            connection = self._connections[place] = Exchange()
            try:
                await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)
            except OSError as error:
                raise NotWhole(f"cannot connect: {error}") from error
        return connection

    async def _ask_once(self, place: int, question: Question, load: Load) -> bool:
        """Ask and note how it went; return whether there was a whole answer."""
        request = self._request(question)
        try:
            connection = await self._connected(place)
            began = time.perf_counter()
            async with asyncio.timeout(_MAX_ANSWER_SECONDS):
                status, body = await connection.ask(request)
            if status in _REFUSALS:
                load.refused += 1
                return False
            check(question, status, body)
        except (NotWhole, TimeoutError, ValueError, LookupError, TypeError) as error:
            load.faults[str(error) or f"no answer after {_MAX_ANSWER_SECONDS:g} s"] += 1
            self._connections[place].close()
            return False
        load.answers += 1
        load.whole.append(connection.ended_at - began)
        if connection.arrivals:
            load.first.append(connection.arrivals[0] - began)
            load.gaps.extend(_gaps(connection.arrivals))
        return True

    def _request(self, question: Question) -> bytes:
        body = question.body
        if not question.is_repeated:
            asked = f"question {next(self._numbers)}{question.prompt}"
            body = {**body, **({"input": asked} if "input" in body else {"messages": messages(asked)})}
        encoded = orjson.dumps(body)
        headers = {
            "Host": f"{self._host}:{self._port}",
            "Content-Type": "application/json",
            **self._headers,
            **question.headers,
            "Content-Length": str(len(encoded)),
        }
        lines = [f"POST {question.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + encoded


def check(question: Question, status: int, body: bytes) -> None:
    """Raise NotWhole for any answer but the one that the question must have."""
    if status != 200:
        raise NotWhole(f"status {status}: {body[:200]!r}")
    question.check(body)


def messages(text: str) -> list[dict[str, str]]:
    """Return a conversation of one question."""
    return [{"role": "user", "content": text}]


def _gaps(arrivals: list[float]) -> Iterator[float]:
    return (after - before for before, after in itertools.pairwise(arrivals))
