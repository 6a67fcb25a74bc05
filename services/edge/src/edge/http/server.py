"""The HTTP server, and how it drains without closing a connection on which a client is about to ask again."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.http.connection.connections import CHECK_INTERVAL_SECONDS, ConnectionLimits, Connections
from edge.http.connection.protocol import ConnectionReader
from edge.http.surface.security_headers import ALWAYS
from edge.metrics import Metrics
from servicekit.addresses import listen
from servicekit.lifecycle import repeat

# How long no request must be running before idle connections are closed. A client that has read the end of an answer
# sends the next request on the same connection within this time, or first checks that the connection is still open.
_QUIET_SECONDS = 0.5
_POLL_SECONDS = 0.05
_BACKLOG = 2048
# What the kernel keeps of an answer that its client does not read, and of requests that the edge does not read. It
# doubles both for its own needs; left to itself it keeps 4 and 6 MB of a connection.
_SEND_BUFFER_BYTES = 128 * 1024
_RECEIVE_BUFFER_BYTES = 256 * 1024
# Files that are no connections of clients: those to Redis, router and ledger, the spool, logs.
_OTHER_FILES = 256


def open_listeners(host: str, port: int, stall_timeout_seconds: float) -> list[socket.socket]:
    """Return sockets for `HttpServer`; their connections end when what is sent is not acknowledged for so long."""
    listeners = listen(host, port, _BACKLOG)
    for listener in listeners:
        # Each connection has these from here.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_timeout_seconds * 1000))
    return listeners


def max_connections(wanted: int) -> int:
    """Return how many of the wanted connections this process can have open files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else min(wanted, max(files // 2, files - _OTHER_FILES))


class HttpServer:
    """Serves an application on sockets until `drain`."""

    def __init__(
        self,
        app: ASGIApp,
        listeners: Sequence[socket.socket],
        drain_timeout_seconds: float,
        limits: ConnectionLimits,
        metrics: Metrics,
    ) -> None:
        self._listeners = listeners
        self._drain_timeout_seconds = drain_timeout_seconds
        self._closer = _ConnectionCloser(app)
        self._connections = Connections(limits, metrics)
        config = uvicorn.Config(
            self._closer,
            http=partial(ConnectionReader, self._connections),  # type: ignore[arg-type] # anything that makes protocols
            ws="none",
            proxy_headers=False,  # `Surface` reads them, of those that may say where a client comes from
            access_log=False,
            log_config=None,
            server_header=False,
            headers=ALWAYS,
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until drained."""
        checking = asyncio.create_task(repeat("check_connections", CHECK_INTERVAL_SECONDS, self._connections.check))
        try:
            await self._server.serve(sockets=[*self._listeners])
        finally:
            checking.cancel()

    async def drain(self) -> None:
        """Take no new connection, let running requests finish, and let `serve` return.

        A connection on which a stream runs was announced as kept alive when the stream began, so its client may send
        the next request as soon as the stream ends: that request is still answered, and its answer closes the
        connection. Requests that run after the drain timeout are cancelled.
        """
        deadline = time.monotonic() + self._drain_timeout_seconds
        self._closer.is_draining = True
        self._server.stop_listening()
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < deadline and now - quiet_since < _QUIET_SECONDS:
            if self._server.is_busy:
                quiet_since = now
            await asyncio.sleep(_POLL_SECONDS)
        # Requests that arrived in the last moment have what is left of the time.
        self._server.config.timeout_graceful_shutdown = max(1, int(deadline - time.monotonic()))
        self._server.should_exit = True


class _ConnectionCloser:
    """Ends each connection with its next answer, once the server drains."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if self.is_draining and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_on if scope["type"] == "http" else send)


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: this process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self.server_state.tasks)

    def stop_listening(self) -> None:
        """Take no new connection; those that there are stay."""
        for server in getattr(self, "servers", ()):  # it has none when it is stopped before it has started
            server.close()
