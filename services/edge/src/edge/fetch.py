"""One request to a server that somebody else runs, for a small document: within a time, without a redirect."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import httptools

from servicekit.proxies import Proxies, Proxy, ProxyRefused, connect, open_tunnel
from servicekit.tls_files import trust_also

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


class Fetcher:
    """Fetches for one edge, through the proxies of its environment."""

    def __init__(self, proxies: Proxies | None = None, ca_file: Path | None = None) -> None:
        """`ca_file` has authorities that are trusted besides the system's; TlsFilesUnusable when it has none."""
        self._proxies = proxies or Proxies()
        self._ca_file = ca_file
        if ca_file is not None:
            self._trust()

    async def fetch(
        self,
        url: str,
        timeout_seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] = _NOTHING,
        max_bytes: int = MAX_DOCUMENT_BYTES,
        trust: ssl.SSLContext | None = None,
    ) -> bytes:
        """Return what is at `url`; FetchFailed when it is not 200, too long, late or no HTTP, or not who it should be.

        With a `body`, which is JSON, it is a POST. `trust` says whose certificates are good; None: those of the system
        and of the authorities in the edge's own file.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._fetch(url, body, headers, max_bytes, trust)
        except TimeoutError as error:
            raise FetchFailed("timeout") from error
        except ssl.SSLError as error:  # before OSError, of which it is one
            raise FetchFailed("tls") from error
        except ProxyRefused as error:  # likewise
            raise FetchFailed("proxy") from error
        except (OSError, httptools.HttpParserError, UnicodeError) as error:
            raise FetchFailed(type(error).__name__) from error

    async def _fetch(
        self, url: str, body: bytes | None, headers: Mapping[str, str], max_bytes: int, trust: ssl.SSLContext | None
    ) -> bytes:
        parts = urlsplit(url)
        has_tls = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if has_tls else 80)
        proxy = self._proxies.proxy_for(parts.scheme, host, port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own: dict[str, str] = {}
        if proxy is not None and not has_tls:
            target = f"http://{parts.netloc}{target}"
            if proxy.authorization:
                own["proxy-authorization"] = proxy.authorization.decode("ascii")
        reader, writer = await _connection(host, port, (trust or self._trust()) if has_tls else None, proxy)
        try:
            lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"host: {parts.netloc}"]
            lines += ["accept: application/json", "accept-encoding: identity", "connection: close"]
            lines += [f"{name}: {value}" for name, value in {**headers, **own}.items()]
            if body is not None:
                lines += ["content-type: application/json", f"content-length: {len(body)}"]
            writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
            return await _read(reader, max_bytes)
        except FetchFailed as failure:
            if proxy is not None and str(failure) == "status_407":
                raise FetchFailed("proxy") from failure
            raise
        finally:
            writer.transport.abort()

    def _trust(self) -> ssl.SSLContext:
        return _tls_context(self._ca_file)


@cache
def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the one of all calls: to read the authorities of the system takes 20 ms."""
    context = ssl.create_default_context()
    if ca_file is not None:
        trust_also(context, ca_file)
    return context


async def _connection(
    host: str, port: int, tls: ssl.SSLContext | None, proxy: Proxy | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to a server, or to the proxy that is asked for what is not encrypted."""
    if proxy is None:
        return await asyncio.open_connection(host, port, ssl=tls)
    opened = await connect(proxy.host, proxy.port)
    try:
        if tls is not None:
            await open_tunnel(opened, proxy, host, port)
        return await asyncio.open_connection(sock=opened, ssl=tls, server_hostname=None if tls is None else host)
    except BaseException:
        opened.close()
        raise


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
