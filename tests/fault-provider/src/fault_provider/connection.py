"""One HTTP exchange with a grip on its TCP connection, which ASGI does not give."""

from __future__ import annotations

import socket
import struct
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_BODY_BYTES = 32 * 1024 * 1024


class ConnectionProtocol(HttpToolsProtocol):
    """uvicorn's protocol; it hands itself to the application in the scope's state."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["protocol"] = self


class BodyTooLarge(Exception):
    """The request's body is over 32 MiB."""


class Connection:
    """Reads one request and answers it, politely or not."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._protocol: ConnectionProtocol = scope["state"]["protocol"]

    async def read_body(self) -> bytes:
        """Return the request's body, empty when the client left before it was there; BodyTooLarge past the limit."""
        body = bytearray()
        while True:
            message: Message = await self._receive()
            if message["type"] == "http.disconnect":
                return b""
            body += message.get("body", b"")
            if len(body) > _MAX_BODY_BYTES:
                raise BodyTooLarge
            if not message.get("more_body", False):
                return bytes(body)

    async def until_gone(self) -> None:
        """Return when the client has closed the connection or the response is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: dict[str, str]) -> None:
        """Send the status line and `headers`."""
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def send_json(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        """Send a whole JSON response."""
        data = orjson.dumps(body)
        await self.start(status, {**headers, "content-type": "application/json", "content-length": str(len(data))})
        await self.finish(data)

    async def send_part(self, data: bytes) -> None:
        """Send a part of a body that was announced with content-length."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def write(self, frame: bytes) -> None:
        """Send a part of a chunked body straight to the transport: several times cheaper than ASGI's `send`."""
        if self._protocol.transport.is_closing():  # the client is gone, and ASGI has not said so yet
            await self.until_gone()
            return
        if self._protocol.flow.write_paused:
            await self._protocol.flow.drain()
        self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part and end the response as HTTP wants it."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def cut(self) -> None:
        """Close the connection after what was written, without the end that HTTP wants."""
        self._protocol.transport.close()
        await self.until_gone()

    async def reset(self) -> None:
        """Drop the connection with a TCP RST, at once."""
        pseudo_socket: socket.socket = self._protocol.transport.get_extra_info("socket")
        pseudo_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._protocol.transport.abort()
        await self.until_gone()
