"""The HTTP server, and how it ends without hanging up on a client that is about to ask again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# How long nothing has to run before idle connections are closed. A client that has read the end of an answer asks the
# next question on the same connection within this time, or looks first whether it is still open.
_QUIET_SECONDS = 0.5
_POLL_SECONDS = 0.05


class HttpServer:
    """Serves an application on a socket until it is told to drain."""

    def __init__(self, app: ASGIApp, listener: socket.socket, drain_timeout_seconds: float) -> None:
        self._listener = listener
        self._drain_timeout_seconds = drain_timeout_seconds
        self._farewell = _Farewell(app)
        self._server = _Server(
            uvicorn.Config(self._farewell, http="httptools", access_log=False, log_config=None, server_header=False)
        )

    async def serve(self) -> None:
        """Serve until drained."""
        await self._server.serve(sockets=[self._listener])

    async def drain(self) -> None:
        """Take no new connection, let running requests finish, and let `serve` return.

        A connection on which a stream runs was promised to be kept when the stream began, so its client may ask again
        the moment that it ends: such a request is still answered, and its answer says that the connection ends. What
        runs after the drain timeout is cancelled.
        """
        deadline = time.monotonic() + self._drain_timeout_seconds
        self._farewell.is_said = True
        self._server.stop_listening()
        quiet_since = time.monotonic()
        while (now := time.monotonic()) < deadline and now - quiet_since < _QUIET_SECONDS:
            if self._server.is_busy:
                quiet_since = now
            await asyncio.sleep(_POLL_SECONDS)
        # Whoever came in the last moment has what is left of the time.
        self._server.config.timeout_graceful_shutdown = max(1, int(deadline - time.monotonic()))
        self._server.should_exit = True


class _Farewell:
    """Says with each answer that its connection ends, from when it has been said to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.is_said = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if self.is_said and message["type"] == "http.response.start":
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
        for server in getattr(self, "servers", ()):  # told to end before it has begun, it has none
            server.close()
