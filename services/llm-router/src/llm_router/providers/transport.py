"""The HTTP transport below the SDKs: like their own, but the reads of a connection can be paced."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

# As the SDKs have them; this process talks to few hosts with many streams each.
CONNECTIONS, IDLE_CONNECTIONS = 1000, 100
# The event loop takes at once what the kernel has, before a reader can say that it is enough; the kernel's own limit is
# megabytes. Answers need kilobytes a second.
_RECEIVE_BUFFER_BYTES = 128 * 1024
# One head is limited to 100 kB by httpcore; any number of provisional ones (1xx) may come before it.
_MAX_HEADS_BYTES, _MAX_HEADS = 128 * 1024, 16
# What brings no content may take so much of the thread's time: heads, pings, a large event that is coming in.
_FREE_SECONDS = 0.005
# Beyond that all connections together get this part of the thread's time, ...
_FRUITLESS_SHARE = 0.15
# ... and one that brings content gets this part: tens of thousands of chunks a second.
_CONTENT_SHARE = 0.25
# A timer cannot wait for less.
_SHORT_SECONDS = 0.001


class FruitlessReading:
    """Bounds the time that goes into bytes without content, however fast providers send them: for all connections."""

    def __init__(self) -> None:
        self._next_turn = 0.0

    def add(self, seconds: float) -> None:
        """Count time of the thread."""
        self._next_turn = max(self._next_turn, asyncio.get_running_loop().time()) + seconds / _FRUITLESS_SHARE

    async def turn(self) -> None:
        """Wait until what was counted is a small part of the time that has passed."""
        pause = self._next_turn - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)


class PacedStream(httpcore2.AsyncNetworkStream):
    """A connection with paced reads.

    Waking up for each chunk is the most expensive part of a stream, and a provider that sends without end must not
    take the time of all others.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, fruitless: FruitlessReading) -> None:
        self._stream = stream
        self._fruitless = fruitless
        self._interval = 0.0
        self._next_read = 0.0
        self._head_bytes: int | None = 0  # read of a reply whose head is not complete
        self._looked_at: float | None = None  # the thread's time when the bytes after that were there to be looked at
        self._fruitless_seconds = 0.0  # since the last content

    def read_at_most_every(self, seconds: float) -> None:
        """Leave at least `seconds` between two reads, until the next request is written."""
        self._interval = seconds
        self._next_read = asyncio.get_running_loop().time() + seconds

    def head_came(self) -> None:
        """Learn that what follows is the body of the reply."""
        self._head_bytes = None

    def brought(self, *, content: bool) -> None:
        """Learn, at once, what came of bytes that were read. Nobody else has had the thread since they came."""
        if self._looked_at is None:
            return
        now = time.thread_time()
        spent, self._looked_at = now - self._looked_at, None if content else now
        if not content:
            self.add_fruitless(spent)
            return
        self._fruitless_seconds = 0.0
        if spent > _SHORT_SECONDS:
            self._next_read = max(self._next_read, asyncio.get_running_loop().time() + spent / _CONTENT_SHARE)

    def look_again(self) -> None:
        """Learn that others had the thread, and the same bytes are looked at further."""
        self._looked_at = time.thread_time()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait until the next read is due, then read what has arrived or wait for it."""
        if self._head_bytes is not None:
            self.brought(content=False)
        if self._fruitless_seconds > _FREE_SECONDS:
            await self._fruitless.turn()
        if self._head_bytes is not None:
            return await self._read_head(self._head_bytes, max_bytes, timeout)
        if self._next_read:
            loop = asyncio.get_running_loop()
            pause = self._next_read - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            self._next_read = loop.time() + self._interval
        data = await self._stream.read(max_bytes, timeout)
        self._looked_at = time.thread_time()
        return data

    async def _read_head(self, before: int, max_bytes: int, timeout: float | None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._looked_at = time.thread_time()
        self._head_bytes = before + len(data)
        if self._head_bytes > _MAX_HEADS_BYTES or data.count(b"\nHTTP/1.") > _MAX_HEADS:
            raise httpcore2.RemoteProtocolError("the head of the reply has no end")
        return data

    def add_fruitless(self, seconds: float) -> None:
        """Count time that went into bytes from here without content."""
        self._fruitless_seconds += seconds
        if self._fruitless_seconds > _FREE_SECONDS:
            self._fruitless.add(seconds)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; a new request is read without delay again."""
        self._interval = self._next_read = self._fruitless_seconds = 0.0
        self._head_bytes = 0
        self._looked_at = None
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Return the same connection, encrypted."""
        return PacedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._fruitless)

    def get_extra_info(self, info: str) -> Any:
        """Return a property of the connection."""
        return self._stream.get_extra_info(info)


class _PacedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, fruitless: FruitlessReading) -> None:
        self._backend = httpcore2.AnyIOBackend()
        self._fruitless = fruitless

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return PacedStream(stream, self._fruitless)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class Network:
    """What the connections to all providers share."""

    def __init__(self) -> None:
        """Load the trusted certificates, which is slow."""
        self.ssl_context = httpx2.create_ssl_context()
        self.fruitless = FruitlessReading()


class PacedTransport(httpx2.AsyncHTTPTransport):
    """httpx's transport over connections that can be paced."""

    def __init__(self, network: Network) -> None:
        """Of one target."""
        super().__init__(verify=network.ssl_context)
        # httpx has no argument for the network below it; its pool is the one place where it can be put in.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=network.ssl_context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=5.0,
            socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)],
            network_backend=_PacedBackend(network.fruitless),
        )
