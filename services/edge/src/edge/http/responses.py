"""Step 6 of the request path: an exchange answered over HTTP, as a stream of frames or as one JSON object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.contracts.contract import Contract, Frames
from edge.exchange.exchange import Exchange
from edge.problems import Problem
from edge.receipt_json import checked_text
from servicekit.tracing import Steps
from spillway.router.v1 import router_pb2 as routerpb

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """How long a response waits for what."""

    keepalive_seconds: float
    """A stream that is silent for this long is kept alive."""
    status_hold_seconds: float
    """A stream whose contract has no head waits this long for content before it commits to status 200."""
    client_gone_grace_seconds: float
    """How long an answer goes on after its client has gone."""


class StreamResponse(Response):
    """Runs an exchange and writes its frames as they come."""

    def __init__(
        self, exchange: Exchange, contract: Contract, headers: Mapping[str, str], times: StreamTimes, ends: Counter
    ) -> None:
        """`ends` counts the streams by how they ended."""
        self.exchange = exchange
        self._contract = contract
        self._frames = contract.frames(exchange)
        self._reply_headers = headers
        self._times = times
        self._ends = ends
        self.is_whole = False
        """Whether its end says that nothing is missing."""
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled only when the whole process is out of patience."""
        end, writer = "cut", _Writer(send, self._reply_headers)
        try:
            end = await self._stream(writer, scope, receive, send)
        except asyncio.CancelledError:
            if self.exchange.cut_off is not None and writer.is_open:
                await writer.end(self._frames.end(self.exchange.cut_off))
                end = "error"
            raise
        finally:
            self._ends.labels(end).inc()

    async def _stream(self, writer: _Writer, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer; return how it ended."""
        exchange, times = self.exchange, self._times
        head = self._frames.head()
        async with _watching(receive, exchange, times.client_gone_grace_seconds), self._keeping_alive(writer):
            if head:
                await writer.write(head)
            receipt = await exchange.run(_StreamReader(writer, self._frames))
        if exchange.is_client_gone:
            return "client_cancelled"
        end = "ok" if receipt.problem is None else "error"
        if receipt.problem is not None and not writer.is_open:
            names = {name: value for name, value in self._reply_headers.items() if name.endswith("request-id")}
            await _error(self._contract, exchange, receipt.problem, names)(scope, receive, send)
            return end
        last = self._frames.end(receipt)
        if exchange.checked is not None:
            last = b": guardrails %b\n\n" % checked_text(exchange.checked).encode() + last
        self.is_whole = receipt.problem is None
        await writer.end(last)
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
        """Write when nothing else was written for a while; the first time that also sends the status."""
        sign, times = self._frames.keep_alive, self._times
        if not writer.is_open:
            await asyncio.sleep(times.status_hold_seconds)
            if not writer.is_open:
                await writer.write(sign)
        while True:
            silence = time.monotonic() - writer.last_written
            if silence >= times.keepalive_seconds:
                await writer.write(sign)
                silence = 0.0
            await asyncio.sleep(times.keepalive_seconds - silence)


class WholeResponse(Response):
    """Runs an exchange and writes its answer in one piece."""

    def __init__(
        self,
        exchange: Exchange,
        contract: Contract,
        headers: Mapping[str, str],
        client_gone_grace_seconds: float,
        steps: Steps,
    ) -> None:
        """`steps` are those so far; the answer's own is added."""
        self.exchange = exchange
        self._contract = contract
        self._reply_headers = dict(headers)
        self._grace = client_gone_grace_seconds
        self._steps = steps
        self.is_whole = True
        """Its status says the rest."""
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; cancelled only when the whole process is out of patience."""
        exchange, contract = self.exchange, self._contract
        async with _watching(receive, exchange, self._grace):
            with self._steps.step("answer"):
                receipt = await exchange.run(_CheckingReader(contract, exchange))
        if exchange.is_client_gone:
            return
        headers = {**self._reply_headers, "server-timing": self._steps.header()}
        problem = receipt.problem
        try:
            content = b"" if problem is not None else await contract.whole(exchange, receipt)
        except Problem as failure:
            problem = failure
        if problem is not None:
            response = _error(contract, exchange, problem, headers)
        else:
            if receipt.ending.continuations:
                places = ", ".join(str(continued.after_characters) for continued in receipt.ending.continuations)
                headers["x-continued-after-characters"] = places
            if exchange.checked is not None:
                headers["x-guardrails-output"] = checked_text(exchange.checked)
            if receipt.stored:
                headers["cache-status"] += "; stored"
            response = Response(content, 200, {**headers, "content-type": "application/json"})
        await response(scope, receive, send)


def json_response(body: Any, status: int, headers: Mapping[str, str]) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(body), status, {**headers, "content-type": "application/json"})


def _error(contract: Contract, exchange: Exchange, problem: Problem, headers: Mapping[str, str]) -> Response:
    body = contract.error(problem, exchange.facts.request_id)
    return json_response(body, problem.kind.status, {**headers, **problem.headers()})


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
        await self._write(frames, more_body=True)

    async def end(self, frames: bytes) -> None:
        """Write the last frames and the end of the response in one: what comes before the one comes before both."""
        await self._write(frames, more_body=False)

    async def _write(self, frames: bytes, *, more_body: bool) -> None:
        async with self.between_frames:
            if not self.is_open:
                self.is_open = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            self.last_written = time.monotonic()
            await self._send({"type": "http.response.body", "body": frames, "more_body": more_body})


class _StreamReader:
    """Writes what comes as frames."""

    def __init__(self, writer: _Writer, frames: Frames) -> None:
        self._writer = writer
        self._frames = frames

    async def content(self, chunks: list[str | bytes]) -> None:
        await self._writer.write(self._frames.content(chunks))

    async def continued(self, continued: routerpb.Continued) -> None:
        await self._writer.write(self._frames.continued(continued))


class _CheckingReader:
    """Waits for the whole answer, which the exchange keeps.

    Frames are written and dropped: chunks that make no stream of this contract make no answer in one piece either, and
    that has to be known before the answer is settled and stored.
    """

    def __init__(self, contract: Contract, exchange: Exchange) -> None:
        self._contract = contract
        self._exchange = exchange
        self._frames: Frames | None = None

    async def content(self, chunks: list[str | bytes]) -> None:
        if self._frames is None:
            self._frames = self._contract.frames(self._exchange)
        self._frames.content(chunks)

    async def continued(self, continued: routerpb.Continued) -> None:
        pass


@asynccontextmanager
async def _watching(receive: Receive, exchange: Exchange, grace_seconds: float) -> AsyncIterator[None]:
    """Report to the exchange when its client has been gone for `grace_seconds`.

    The pause is for clients that come back: a short answer comes to its end, is accounted as the provider counts it,
    and waits in the cache for the same request. And attempts that fail in quick succession are all reported before the
    call is stopped (ADR 3).
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
        task.cancel()
        await asyncio.wait((task,))
