"""The HTTP transport to providers: HTTP/1.1 whose bytes are pushed to who reads them.

Reading through httpx's own pool costs more than everything else that is done for a chunk: several tasks' worth of
waking up. Here `data_received` parses and keeps, and a reply is taken from what was kept.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiohappyeyeballs
import httpx2

from llm_router.providers.http.connection import Connection
from llm_router.providers.http.metronome import Metronome
from llm_router.providers.http.pace import FruitlessReading
from llm_router.providers.http.reply import Reply
from servicekit.proxies import Proxies, Proxy, ProxyRefused, open_tunnel
from servicekit.tls_files import trust_also

# As the SDKs have them; this process talks to few hosts with many streams each.
_IDLE_CONNECTIONS = 100
_IDLE_SECONDS = 5.0
# The second address of a name is tried when the first has not answered for so long (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25
# The event loop takes at once what the kernel has, before a reader can say that it is enough; the kernel's own limit is
# megabytes. Answers need kilobytes a second.
_RECEIVE_BUFFER_BYTES = 128 * 1024
_READ_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}
_ALPN = ["http/1.1"]
_PROXY_WANTS_CREDENTIALS = 407
# The place of the `Reply` among the extensions of a response.
REPLY = "reply"
WAS_KEPT = "was_kept"
"""Among them too: whether its connection had served before."""
# What a server that is shutting down answers on the connections that it still has.
DRAINING = frozenset({500, 502, 503})


class KeptConnectionLost(httpx2.TransportError):
    """A connection that had served before broke before the head of a reply came: its server may be gone."""


class Network:
    """What the connections to all providers share."""

    def __init__(self, frame_seconds: float, proxies: Proxies | None = None, ca_file: Path | None = None) -> None:
        """Load the trusted certificates, which is slow; those of `ca_file` besides the public ones.

        TlsFilesUnusable when it has none. See `Metronome` for `frame_seconds`.
        """
        self.ssl_context: ssl.SSLContext = httpx2.create_ssl_context()
        self.ssl_context.set_alpn_protocols(_ALPN)
        if ca_file is not None:
            trust_also(self.ssl_context, ca_file)
        self.proxies = proxies or Proxies()
        self.fruitless = FruitlessReading()
        self.metronome = Metronome(frame_seconds)
        self.buffer = memoryview(bytearray(_READ_BYTES))  # what is read is looked at before anything else is read


class PushedTransport(httpx2.AsyncBaseTransport):
    """The connections to one target. The calls that run bound their number."""

    def __init__(self, network: Network, authorities: str | None = None) -> None:
        """`network` is the same for all targets; `authorities` in PEM are trusted in place of all others."""
        self._network = network
        self._tls = network.ssl_context if authorities is None else _trusting(authorities)
        self._idle: list[tuple[httpx2.URL, Connection]] = []
        self._sweeper: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Write `request` and wait for the head of its reply; an httpx2.HTTPError when it does not come."""
        origin = request.url.copy_with(raw_path=b"/", fragment=None, username=None, password=None)
        proxy = self._network.proxies.proxy_for(origin.scheme, origin.host, _port_of(origin))
        written = _head_of(request, proxy) + await request.aread()
        kept = self._idle_connection(origin)
        reply = (kept or await self._connect(origin, proxy, request)).ask(written)
        try:
            await reply.head
        except BaseException as error:
            await reply.aclose()
            if kept is not None and isinstance(error, httpx2.TransportError):
                self._close_idle()
                raise KeptConnectionLost("a kept connection was closed", request=request) from error
            raise
        if proxy is not None and reply.status == _PROXY_WANTS_CREDENTIALS:
            await reply.aclose()
            raise httpx2.ProxyError(
                "the proxy refused the request with 407: the user and password in its URL are missing or wrong",
                request=request,
            )
        if kept is not None and reply.status in DRAINING:
            self._close_idle()
        extensions = {REPLY: reply, WAS_KEPT: kept is not None}
        return httpx2.Response(reply.status, headers=reply.headers, stream=reply, extensions=extensions)

    async def aclose(self) -> None:
        """Close idle connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._close_idle()

    def _close_idle(self) -> None:
        """Close idle connections; who asks next gets a new one."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    def _idle_connection(self, origin: httpx2.URL) -> Connection | None:
        for place in reversed(range(len(self._idle))):
            if self._idle[place][0] == origin:
                connection = self._idle.pop(place)[1]
                if not connection.is_closed:
                    return connection
        return None

    async def _connect(self, origin: httpx2.URL, proxy: Proxy | None, request: httpx2.Request) -> Connection:
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                return await self._connected(origin, proxy)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("the connection took too long", request=request) from error
        except ProxyRefused as error:  # before OSError, of which it is one
            raise httpx2.ProxyError(str(error), request=request) from error
        except OSError as error:
            raise httpx2.ConnectError("no connection", request=request) from error

    async def _connected(self, origin: httpx2.URL, proxy: Proxy | None) -> Connection:
        loop, network = asyncio.get_running_loop(), self._network
        host = origin.raw_host.decode("ascii")
        is_encrypted = origin.scheme == "https"
        opened = await (_open(host, _port_of(origin)) if proxy is None else _open(proxy.host, proxy.port))

        def release(connection: Connection) -> None:
            self._keep(origin, connection)

        try:
            if proxy is not None and is_encrypted:
                await open_tunnel(opened, proxy, host, _port_of(origin))
            _, connection = await loop.create_connection(
                lambda: Connection(network.buffer, network.metronome, network.fruitless, release),
                sock=opened,
                ssl=self._tls if is_encrypted else None,
                server_hostname=host if is_encrypted else None,
            )
        except BaseException:
            opened.close()
            raise
        return connection

    def _keep(self, origin: httpx2.URL, connection: Connection) -> None:
        if len(self._idle) >= _IDLE_CONNECTIONS:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append((origin, connection))
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        loop = asyncio.get_running_loop()
        kept = []
        for origin, connection in self._idle:
            if connection.is_closed:
                continue
            if loop.time() - connection.idle_since >= _IDLE_SECONDS:
                connection.close()
            else:
                kept.append((origin, connection))
        self._idle = kept
        self._sweeper = loop.call_later(_IDLE_SECONDS / 2, self._sweep) if kept else None


def reply_of(response: httpx2.Response) -> Reply:
    """Return what the body of a response comes in."""
    reply: Reply = response.extensions[REPLY]
    return reply


def _trusting(authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities)
    context.set_alpn_protocols(_ALPN)
    return context


def _port_of(origin: httpx2.URL) -> int:
    return origin.port or _PORTS[origin.scheme]


async def _open(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to one of the addresses of `host`."""
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    opened = await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
    )
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _head_of(request: httpx2.Request, proxy: Proxy | None) -> bytes:
    """Write the head; to a proxy that is asked for what is not encrypted it names the whole address."""
    target, own = request.url.raw_path, list(request.headers.raw)
    if proxy is not None and request.url.scheme == "http":
        target = b"http://%b%b" % (request.url.netloc, target)
        if proxy.authorization:
            own.append((b"Proxy-Authorization", proxy.authorization))
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), target)]
    lines += [b"%b: %b" % header for header in own]
    head = b"\r\n".join([*lines, b"", b""])
    # Nothing that comes from outside may begin a line of its own.
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        raise httpx2.LocalProtocolError("a header has characters that no header may have", request=request)
    if "transfer-encoding" in request.headers:
        raise httpx2.LocalProtocolError("the body of a request has to have a length", request=request)
    return head
