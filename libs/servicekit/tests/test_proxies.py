"""Which calls go through a proxy, and how a tunnel through it is opened."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from servicekit.proxies import Proxies, Proxy, ProxyRefused, ProxyUnusable, connect, open_tunnel

PASSWORD = "s3cr3t/p@ss"
URL = "http://ada:s3cr3t%2Fp%40ss@proxy.example.com:3128"


def proxy_of(environment: dict[str, str], scheme: str = "https", host: str = "api.example.com") -> Proxy | None:
    """Return the proxy for a host under an environment."""
    return Proxies.of_environment(environment).proxy_for(scheme, host, 443)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://proxy.example.com:3128", ("proxy.example.com", 3128)),
        ("http://proxy.example.com", ("proxy.example.com", 80)),
        ("proxy.example.com:3128", ("proxy.example.com", 3128)),
        ("http://[fd00::1]:3128/", ("fd00::1", 3128)),
        (URL, ("proxy.example.com", 3128)),
    ],
)
def test_a_proxy_is_read_as_it_is_usually_written(value: str, expected: tuple[str, int]) -> None:
    """With and without scheme, port and credentials."""
    found = proxy_of({"HTTPS_PROXY": value})
    assert found is not None
    assert expected == (found.host, found.port)


def test_credentials_are_those_of_the_url_and_not_shown() -> None:
    """A password is in no log, however the proxy gets into one."""
    found = proxy_of({"https_proxy": URL})
    assert found is not None
    assert b"Basic " + b64encode(f"ada:{PASSWORD}".encode()) == found.authorization
    assert "Basic" not in repr(found)
    assert "Basic" not in repr(Proxies.of_environment({"https_proxy": URL}))


def test_each_scheme_has_its_own_and_small_letters_come_first() -> None:
    """As with curl; an empty variable is none."""
    environment = {"HTTPS_PROXY": "http://large:1", "https_proxy": "http://small:1", "HTTP_PROXY": "http://plain:1"}
    found = [proxy_of(environment, scheme) for scheme in ("https", "http")]

    assert ["small", "plain"] == [each and each.host for each in found]
    assert proxy_of({"HTTPS_PROXY": " "}) is None
    assert proxy_of({"HTTP_PROXY": "http://plain:1"}) is None
    assert proxy_of({}) is None


@pytest.mark.parametrize(
    "value", ["https://secret@proxy:3128", "socks5://secret@proxy", "http://secret@", "http://secret@h:x"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_at_the_start(value: str) -> None:
    """It names the variable and what is wrong, and quotes nothing of it."""
    with pytest.raises(ProxyUnusable, match="HTTPS_PROXY: ") as caught:
        proxy_of({"https_proxy": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "direct", "proxied"),
    [
        ("example.com", ["example.com", "api.example.com", "API.Example.COM."], ["badexample.com", "example.com.evil"]),
        (".example.com", ["api.example.com", "example.com"], ["badexample.com"]),
        ("*.example.com", ["api.example.com"], ["badexample.com"]),
        ("EXAMPLE.com.", ["api.example.com"], ["example.org"]),
        ("a.org, b.org  c.org", ["a.org", "b.org", "c.org"], ["d.org"]),
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1", "ten.example.com"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.4"]),
        ("fd00::/8", ["fd00::1", "[fd12::1]"], ["fe00::1"]),
        ("::1:5", ["::1:5"], ["::2:5"]),
        ("api.example.com:443", ["api.example.com"], ["example.com"]),
        ("api.example.com:8443", [], ["api.example.com"]),
        ("10.1.2.3:443", ["10.1.2.3"], ["10.1.2.4"]),
        ("[fd00::1]:443", ["fd00::1"], ["fd00::2"]),
        ("*", ["anything.example.com", "10.1.2.3"], []),
        ("", ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]", "x.localhost"], ["local.host"]),
        (",, ,", [], ["example.com"]),
    ],
)
def test_exceptions_are_understood(entry: str, direct: list[str], proxied: list[str]) -> None:
    """Names with all below them, addresses, networks, ports, everything; loopback needs none."""
    proxies = Proxies.of_environment({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": entry})

    assert [] == [host for host in direct if proxies.proxy_for("https", host, 443) is not None]
    assert [] == [host for host in proxied if proxies.proxy_for("https", host, 443) is None]


@asynccontextmanager
async def answering(*replies: bytes, asked: list[bytes] | None = None) -> AsyncIterator[Proxy]:
    """Play a proxy that answers a request with these bytes; without any it is silent."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
        for reply in replies:
            writer.write(reply)
            await writer.drain()
            await asyncio.sleep(0.01)
        if not replies:
            await reader.read()
        elif b"200" in b"".join(replies):
            writer.write(b"from behind: " + await reader.read(4))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Proxy("127.0.0.1", server.sockets[0].getsockname()[1], b"Basic YTpi")
    finally:
        server.close()
        for task in serving:  # what is left of them must not end in somebody else's test
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def tunnel(proxy: Proxy, host: str = "api.example.com") -> socket.socket:
    """Open one; closed when that fails."""
    opened = await connect(proxy.host, proxy.port)
    try:
        await open_tunnel(opened, proxy, host, 443)
    except BaseException:
        opened.close()
        raise
    return opened


@pytest.mark.integration
@pytest.mark.parametrize(
    ("host", "where"), [("api.example.com", b"api.example.com:443"), ("fd00::1", b"[fd00::1]:443")]
)
async def test_behind_a_tunnel_is_the_server(host: str, where: bytes) -> None:
    """Asked for by name, with the credentials, and whatever the proxy's head looks like."""
    asked: list[bytes] = []
    async with answering(b"HTTP/1.1 200 Connection est", b"ablished\r\nx: y\r\n\r\n", asked=asked) as proxy:
        opened = await tunnel(proxy, host)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(opened, b"ping")
        assert b"from behind: ping" == await loop.sock_recv(opened, 100)
        opened.close()

    lines = asked[0].split(b"\r\n")
    assert [b"CONNECT %b HTTP/1.1" % where, b"Host: " + where, b"Proxy-Authorization: Basic YTpi"] == lines[:3]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"], "407: the user and password"),
        ([b"HTTP/1.1 403 Forbidden\r\n\r\n<html>no</html>"], "refused a tunnel with 403"),
        ([b"HTTP/1.0 502 Bad\r\n\r\n"], "refused a tunnel with 502"),
        ([b"HTTP/1.1 20"], "closed the connection"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "does not speak HTTP"),
        ([b"HTTP/1.1 200 OK\r\n\r\nmore"], "sent more than its reply"),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000], "has no end"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_says_why(replies: list[bytes], said: str) -> None:
    """In words that hold no secret."""
    async with answering(*replies) as proxy:
        with pytest.raises(ProxyRefused, match=said) as caught:
            await asyncio.wait_for(tunnel(proxy), 10)
    assert "YTpi" not in str(caught.value)


@pytest.mark.integration
async def test_a_proxy_that_hangs_is_left_when_the_time_is_over() -> None:
    """The caller's timeout holds, and the connection closes."""
    async with answering() as proxy:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tunnel(proxy), 0.2)


@pytest.mark.integration
async def test_a_proxy_that_is_away_is_an_error_of_the_connection() -> None:
    """As a server that is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await connect("127.0.0.1", port)
