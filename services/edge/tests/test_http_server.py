"""How the HTTP server ends: nobody who was told that a connection stays finds it shut in his face."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.http.connection.connections import ConnectionLimits
from edge.http.server import HttpServer
from edge.metrics import Metrics

pytestmark = pytest.mark.integration  # they serve on sockets

LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Running:
    """A server whose streams end when they are allowed to."""

    address: tuple[str, int]
    server: HttpServer
    serving: asyncio.Task[None]
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False


@asynccontextmanager
async def running(drain_timeout_seconds: float = 60.0) -> AsyncIterator[Running]:
    """Run a server with `/stream`, which waits for its permission to end, and `/whole`."""

    async def words() -> AsyncIterator[bytes]:
        yield b"first "
        try:
            await here.may_end.wait()
        except asyncio.CancelledError:
            here.was_cancelled = True
            raise
        yield b"last"

    async def stream(_: Request) -> Response:
        return StreamingResponse(words())

    async def whole(_: Request) -> Response:
        return PlainTextResponse("whole")

    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/stream", stream), Route("/whole", whole)])
    server = HttpServer(app, [listener], drain_timeout_seconds, ConnectionLimits(), Metrics(CollectorRegistry()))
    here = Running(listener.getsockname(), server, asyncio.create_task(server.serve()))
    try:
        yield here
    finally:
        here.may_end.set()
        await server.drain()
        await here.serving


@asynccontextmanager
async def connection(here: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect as a client that keeps its connection."""
    reader, writer = await asyncio.open_connection(*here.address)
    yield reader, writer
    writer.transport.abort()


def get(path: str) -> bytes:
    """Write a request."""
    return f"GET {path} HTTP/1.1\r\nhost: edge\r\n\r\n".encode()


async def test_who_asks_again_when_a_stream_ends_is_answered_though_the_server_ends() -> None:
    """The second answer says that the connection ends, and then it does."""
    async with asyncio.timeout(60), running() as here, connection(here) as (reader, writer):
        writer.write(get("/stream"))
        head = await reader.readuntil(b"first ")
        draining = asyncio.create_task(here.server.drain())
        await asyncio.sleep(0.3)  # a server that hung up at once would have begun to
        here.may_end.set()
        await reader.readuntil(LAST_CHUNK)
        writer.write(get("/whole"))
        again = await reader.read()
        await draining
        await here.serving

    assert b"connection: close" not in head.lower()
    assert b"connection: close" in again.lower()
    assert again.endswith(b"whole")


async def test_a_server_that_ends_takes_no_new_connection() -> None:
    """While it lets a stream come to its end."""
    async with asyncio.timeout(60), running() as here, connection(here) as (reader, writer):
        writer.write(get("/stream"))
        await reader.readuntil(b"first ")
        draining = asyncio.create_task(here.server.drain())
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*here.address)
        assert not draining.done()
        here.may_end.set()
        assert b"last" in await reader.readuntil(LAST_CHUNK)
        await draining


async def test_a_stream_that_does_not_end_in_time_is_cancelled() -> None:
    """The drain timeout holds for all that runs."""
    async with asyncio.timeout(60), running(drain_timeout_seconds=0.2) as here, connection(here) as (reader, writer):
        writer.write(get("/stream"))
        await reader.readuntil(b"first ")
        await here.server.drain()
        await here.serving

        assert here.was_cancelled
