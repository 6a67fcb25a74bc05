"""The HTTP transport below the SDKs: like their own, but the reads of a connection can be paced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

# As the SDKs have them; this process talks to few hosts with many streams each.
CONNECTIONS, IDLE_CONNECTIONS = 1000, 100
# One head is limited to 100 kB by httpcore; any number of provisional ones (1xx) may come before it.
_MAX_HEADS_BYTES = 128 * 1024


class PacedStream(httpcore2.AsyncNetworkStream):
    """A connection with paced reads: waking up for each chunk is the most expensive part of a stream."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._interval = 0.0
        self._next_read = 0.0
        self._head_bytes: int | None = 0  # read of a reply whose head is not complete

    def read_at_most_every(self, seconds: float) -> None:
        """Leave at least `seconds` between two reads, until the next request is written."""
        self._interval = seconds
        self._next_read = asyncio.get_running_loop().time() + seconds

    def head_came(self) -> None:
        """Learn that what follows is the body of the reply."""
        self._head_bytes = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait until the next read is due, then read what has arrived or wait for it."""
        if self._head_bytes is not None:
            return await self._read_head(max_bytes, timeout)
        if self._interval:
            loop = asyncio.get_running_loop()
            pause = self._next_read - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            self._next_read = loop.time() + self._interval
        return await self._stream.read(max_bytes, timeout)

    async def _read_head(self, max_bytes: int, timeout: float | None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._head_bytes = (self._head_bytes or 0) + len(data)
        if self._head_bytes > _MAX_HEADS_BYTES:
            raise httpcore2.RemoteProtocolError("the head of the reply has no end")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; a new request is read without delay again."""
        self._interval = 0.0
        self._head_bytes = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Return the same connection, encrypted."""
        return PacedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return a property of the connection."""
        return self._stream.get_extra_info(info)


class _PacedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return PacedStream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class PacedTransport(httpx2.AsyncHTTPTransport):
    """httpx's transport over connections that can be paced."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        """`ssl_context` holds the trusted certificates; loading them is slow, so all transports share one."""
        super().__init__(verify=ssl_context)
        # httpx has no argument for the network below it; its pool is the one place where it can be put in.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=_PacedBackend(),
        )
