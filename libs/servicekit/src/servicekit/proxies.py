"""Which calls to servers of others go through a proxy, by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; the way through.

The names count in small letters first, as in curl. What is called over https goes through a tunnel (CONNECT) in the
first of them; what is called over http is asked of the second. Loopback never goes through either, as in Go.
"""

from __future__ import annotations

import asyncio
import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_to_bytes, urlsplit

from servicekit.addresses import join_address

_DEFAULT_PORT = 80
# Of a reply to CONNECT: proxies explain a refusal in some kilobytes, of which the first line is read.
_MAX_REPLY_BYTES = 16 * 1024
_READ_BYTES = 4096
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_WANTS_CREDENTIALS = 407

_Address = IPv4Address | IPv6Address


class ProxyUnusable(Exception):
    """A variable names no usable proxy; the message names the variable, not the value, which may hold a password."""


class ProxyRefused(ConnectionError):
    """The proxy opened no way; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)
    """The value of the header Proxy-Authorization; empty: it asks for none."""


@dataclass(frozen=True, slots=True)
class _Exception:
    """What is reached directly: a name with all below it, or addresses; at one port or at all."""

    name: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    def covers(self, host: str, address: _Address | None, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return host == self.name or host.endswith(f".{self.name}")


@dataclass(frozen=True, slots=True)
class Proxies:
    """Those of this process."""

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    """The proxy for `https`, and that for `http`."""
    reaches_all_directly: bool = False
    _exceptions: tuple[_Exception, ...] = ()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Proxies:
        """Read the variables; ProxyUnusable when one makes no sense."""
        found = {scheme: _read_proxy(environment, f"{scheme}_proxy") for scheme in ("https", "http")}
        entries = [entry for entry in re.split(r"[,\s]+", _value(environment, "no_proxy")) if entry]
        return cls(
            {scheme: proxy for scheme, proxy in found.items() if proxy is not None},
            "*" in entries,
            tuple(_read_exception(entry) for entry in entries if entry != "*"),
        )

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy on the way to a server; None: it is reached directly."""
        proxy = self.by_scheme.get(scheme)
        if proxy is None or self.reaches_all_directly:
            return None
        host = host.strip("[]").rstrip(".").lower()
        address = _address(host)
        if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
            return None
        return None if any(each.covers(host, address, port) for each in self._exceptions) else proxy


async def connect(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of `host` that answers; OSError when none does."""
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        try:
            await loop.sock_connect(opened, address)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


async def open_tunnel(opened: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have `proxy`, to which `opened` is connected, connect it on to a server. ProxyRefused when it does not.

    Takes as long as the proxy does: the caller has the timeout.
    """
    where = join_address(host, port).encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % where, b"Host: %b" % where]
    if proxy.authorization:
        lines.append(b"Proxy-Authorization: %b" % proxy.authorization)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(opened, b"\r\n".join([*lines, b"", b""]))
    reply = b""
    while b"\r\n\r\n" not in reply:
        data = await loop.sock_recv(opened, _READ_BYTES)
        if not data:
            raise ProxyRefused("the proxy closed the connection when asked for a tunnel")
        reply += data
        if len(reply) > _MAX_REPLY_BYTES:
            raise ProxyRefused("the proxy's reply to CONNECT has no end")
    found = _STATUS.match(reply)
    if found is None:
        raise ProxyRefused("the proxy does not speak HTTP")
    status = int(found[1])
    if status == _WANTS_CREDENTIALS:
        raise ProxyRefused("the proxy refused a tunnel with 407: the user and password in its URL are missing or wrong")
    if not 200 <= status < 300:
        raise ProxyRefused(f"the proxy refused a tunnel with {status}")
    if not reply.endswith(b"\r\n\r\n"):  # of the server nothing may come before it is spoken to
        raise ProxyRefused("the proxy sent more than its reply to CONNECT")


def _value(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _read_proxy(environment: Mapping[str, str], name: str) -> Proxy | None:
    value = _value(environment, name)
    if not value:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        raise ProxyUnusable(f"{name.upper()}: not the URL of a proxy, as http://proxy.example.com:3128 is") from None
    if parts.scheme != "http":
        raise ProxyUnusable(f"{name.upper()}: only proxies with an http:// URL are supported, also for https calls")
    if not host or not host.isascii():
        raise ProxyUnusable(f"{name.upper()}: the URL names no host")
    if parts.username is None:
        return Proxy(host, port)
    user, password = unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")
    return Proxy(host, port, b"Basic " + b64encode(user + b":" + password))


def _read_exception(entry: str) -> _Exception:
    """Read an entry of `NO_PROXY`: `example.com`, `.example.com`, `*.example.com`, `10.0.0.0/8`, `::1`, `host:8080`."""
    try:
        return _Exception(network=ip_network(entry.strip("[]"), strict=False))
    except ValueError:
        pass
    host, _, port = entry.rpartition(":")
    if host and port.isascii() and port.isdigit():
        address = _address(host.strip("[]"))
        if address is not None:
            return _Exception(network=ip_network(address), port=int(port))
        return _Exception(_name(host), port=int(port))
    return _Exception(_name(entry))


def _name(entry: str) -> str:
    return entry.removeprefix("*").lstrip(".").rstrip(".").lower()


def _address(host: str) -> _Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
