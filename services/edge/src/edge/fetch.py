"""One request to a server that somebody else runs, for a small document: within a time, without a redirect."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from urllib.parse import urlsplit

import httptools

MAX_DOCUMENT_BYTES = 256 * 1024
_NOTHING: Mapping[str, str] = MappingProxyType({})
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


async def fetch(
    url: str,
    timeout_seconds: float,
    body: bytes | None = None,
    headers: Mapping[str, str] = _NOTHING,
    max_bytes: int = MAX_DOCUMENT_BYTES,
    trust: ssl.SSLContext | None = None,
) -> bytes:
    """Return what is at `url`; FetchFailed when that is not 200, too long, late or no HTTP, or not who it says it is.

    With a `body`, which is JSON, it is a POST. `trust` says whose certificates are good; None: what the system trusts.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _fetch(url, body, headers, max_bytes, trust)
    except TimeoutError as error:
        raise FetchFailed("timeout") from error
    except ssl.SSLError as error:  # before OSError, of which it is one
        raise FetchFailed("tls") from error
    except (OSError, httptools.HttpParserError, UnicodeError) as error:
        raise FetchFailed(type(error).__name__) from error


async def _fetch(
    url: str, body: bytes | None, headers: Mapping[str, str], max_bytes: int, trust: ssl.SSLContext | None
) -> bytes:
    parts = urlsplit(url)
    has_tls = parts.scheme == "https"
    context = (trust or _tls_context()) if has_tls else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if has_tls else 80), ssl=context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"host: {parts.netloc}"]
        lines += ["accept: application/json", "accept-encoding: identity", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return await _read(reader, max_bytes)
    finally:
        writer.transport.abort()


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the one of all calls: to read the authorities of the system takes 20 ms."""
    return ssl.create_default_context()


async def _read(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    reply = _Reply()
    parser = httptools.HttpResponseParser(reply)
    taken = 0
    while not reply.is_complete:
        data = await reader.read(_READ_BYTES)
        if not data:
            break
        taken += len(data)
        if taken > max_bytes:  # the head counts as well
            raise FetchFailed("too_large")
        parser.feed_data(data)
        status = parser.get_status_code()
        if status >= 200 and status != 200:
            raise FetchFailed(f"status_{status}")
    if not reply.is_complete and parser.get_status_code() != 200:
        raise FetchFailed("no_answer")
    return bytes(reply.body)
