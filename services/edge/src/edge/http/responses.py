"""Step 6 of the request path: a chat request answered over HTTP, as a stream of frames or as one JSON object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.exchange.exchange import Exchange, Receipt
from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_KEEP_ALIVE = b": keep-alive\n\n"


class Frames(Protocol):
    """How a contract writes a stream."""

    def head(self) -> bytes:
        """Return the frames before any content; empty: the status may wait for the first content."""

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return the frames for these chunks."""

    def seam(self, continued: routerpb.Continued) -> bytes:
        """Return what tells that the content that follows was written by another target."""

    def end(self, receipt: Receipt) -> bytes:
        """Return the last frames: exactly one terminal one, of success or of failure."""


class WholeAnswers(Protocol):
    """How a contract writes an answer in one piece."""

    def whole(self, receipt: Receipt) -> dict[str, Any]:
        """Return the JSON object of a good answer."""


class StreamResponse(Response):
    """Runs an exchange and writes its frames as they come."""

    def __init__(
        self,
        exchange: Exchange,
        frames: Frames,
        headers: Mapping[str, str],
        *,
        keepalive_seconds: float,
        status_hold_seconds: float,
        client_gone_grace_seconds: float,
        ends: Counter,
        error_body: Callable[[Problem], Any] = Problem.body,
    ) -> None:
        """`ends` counts the streams by how they ended."""
        self._exchange = exchange
        self._frames = frames
        self._ends = ends
        self._reply_headers = headers
        self._keepalive = keepalive_seconds
        self._hold = status_hold_seconds
        self._grace = client_gone_grace_seconds
        self._error_body = error_body
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled only when the whole process is out of patience."""
        end = "cut"
        try:
            end = await self._stream(scope, receive, send)
        finally:
            self._ends.labels(end).inc()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer; return how it ended."""
        writer = _Writer(send, self._reply_headers)
        head = self._frames.head()
        async with _watching(receive, self._exchange, self._grace), self._keeping_alive(writer):
            if head:
                await writer.write(head)
            receipt = await self._exchange.run(_StreamReader(writer, self._frames))
        if self._exchange.is_client_gone:
            return "client_cancelled"
        end = "ok" if receipt.problem is None else "error"
        if receipt.problem is not None and not writer.is_open:
            names = {name: value for name, value in self._reply_headers.items() if name.endswith("request-id")}
            body, headers = self._error_body(receipt.problem), {**names, **receipt.problem.headers()}
            await json_response(body, receipt.problem.kind.status, headers)(scope, receive, send)
            return end
        await writer.write(self._frames.end(receipt))
        await writer.close()
        return end

    @asynccontextmanager
    async def _keeping_alive(self, writer: _Writer) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_alive(writer))
        try:
            yield
        finally:
            async with writer.between_frames:  # cut off in the middle of a write it would leave half a response
                task.cancel()
            await asyncio.wait((task,))

    async def _keep_alive(self, writer: _Writer) -> None:
        """Write a comment when nothing else was written for a while; the first one also sends the status."""
        if not writer.is_open:
            await asyncio.sleep(self._hold)
            if not writer.is_open:
                await writer.write(_KEEP_ALIVE)
        while True:
            silence = time.monotonic() - writer.last_written
            if silence >= self._keepalive:
                await writer.write(_KEEP_ALIVE)
                silence = 0.0
            await asyncio.sleep(self._keepalive - silence)


class WholeResponse(Response):
    """Runs an exchange and writes its answer in one piece."""

    def __init__(
        self,
        exchange: Exchange,
        answers: WholeAnswers,
        headers: Mapping[str, str],
        *,
        client_gone_grace_seconds: float,
        error_body: Callable[[Problem], Any] = Problem.body,
    ) -> None:
        self._exchange = exchange
        self._answers = answers
        self._error_body = error_body
        self._reply_headers = dict(headers)
        self._grace = client_gone_grace_seconds
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled only when the whole process is out of patience."""
        async with _watching(receive, self._exchange, self._grace):
            receipt = await self._exchange.run(_PatientReader())
        if self._exchange.is_client_gone:
            return
        if receipt.problem is not None:
            self._reply_headers |= receipt.problem.headers()
            body = self._error_body(receipt.problem)
            response = json_response(body, receipt.problem.kind.status, self._reply_headers)
        else:
            if receipt.seams:
                told = ", ".join(str(continued.after_characters) for continued in receipt.seams)
                self._reply_headers["x-continued-after-characters"] = told
            if receipt.stored:
                self._reply_headers["cache-status"] += "; stored"
            response = json_response(self._answers.whole(receipt), 200, self._reply_headers)
        await response(scope, receive, send)


def json_response(body: Any, status: int, headers: Mapping[str, str]) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(body), status, {**headers, "content-type": "application/json"})


def frame(event: str, event_id: str, data: Any) -> bytes:
    """Return one SSE frame with a name and an id."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), event_id.encode(), orjson.dumps(data))


class _Writer:
    """Sends the head once and then whole frames, from whichever task has some."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = [(name.encode(), value.encode()) for name, value in (STREAM_HEADERS | dict(headers)).items()]
        self.between_frames = asyncio.Lock()
        """Held while frames are being written."""
        self.is_open = False
        self.last_written = time.monotonic()

    async def write(self, frames: bytes) -> None:
        async with self.between_frames:
            if not self.is_open:
                self.is_open = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            self.last_written = time.monotonic()
            await self._send({"type": "http.response.body", "body": frames, "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _StreamReader:
    """Writes what comes as frames."""

    def __init__(self, writer: _Writer, frames: Frames) -> None:
        self._writer = writer
        self._frames = frames

    async def content(self, chunks: list[str | bytes]) -> None:
        await self._writer.write(self._frames.content(chunks))

    async def seam(self, continued: routerpb.Continued) -> None:
        await self._writer.write(self._frames.seam(continued))


class _PatientReader:
    """Waits for the whole answer, which the exchange keeps."""

    async def content(self, chunks: list[str | bytes]) -> None:
        pass

    async def seam(self, continued: routerpb.Continued) -> None:
        pass


@asynccontextmanager
async def _watching(receive: Receive, exchange: Exchange, grace_seconds: float) -> AsyncIterator[None]:
    """Tell the exchange when its client has been gone for `grace_seconds`.

    The pause is for who comes back: a short answer comes to its end, is accounted as the provider counts it, and waits
    in the cache for the same request. And attempts that fail in quick succession are all reported before the call is
    cancelled (ADR 3).
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await asyncio.sleep(grace_seconds)
        exchange.client_gone()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
