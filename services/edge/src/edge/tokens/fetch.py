"""One GET of a small document, within a time, without a redirect."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import httptools

_MAX_BYTES = 256 * 1024
_READ_BYTES = 16 * 1024


class FetchFailed(Exception):
    """There is no document; the text says why."""


class _Reply:
    """What httptools calls."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


async def fetch(url: str, timeout_seconds: float) -> bytes:
    """Return what is at `url`; FetchFailed when that is not 200, too long, late or no HTTP."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _fetch(url)
    except TimeoutError as error:
        raise FetchFailed("timeout") from error
    except (OSError, ssl.SSLError, httptools.HttpParserError, UnicodeError) as error:
        raise FetchFailed(type(error).__name__) from error


async def _fetch(url: str) -> bytes:
    parts = urlsplit(url)
    has_tls = parts.scheme == "https"
    context = ssl.create_default_context() if has_tls else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if has_tls else 80), ssl=context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", f"host: {parts.netloc}", "accept: application/json"]
        writer.write("\r\n".join([*lines, "accept-encoding: identity", "connection: close", "", ""]).encode())
        return await _read(reader)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    reply = _Reply()
    parser = httptools.HttpResponseParser(reply)
    taken = 0
    while not reply.is_complete:
        data = await reader.read(_READ_BYTES)
        if not data:
            break
        taken += len(data)
        if taken > _MAX_BYTES:  # the head counts as well
            raise FetchFailed("too_large")
        parser.feed_data(data)
        status = parser.get_status_code()
        if status >= 200 and status != 200:
            raise FetchFailed(f"status_{status}")
    if not reply.is_complete and parser.get_status_code() != 200:
        raise FetchFailed("no_answer")
    return bytes(reply.body)
