"""One transport for a process: plain text without a folder of TLS files, TLS with one; channels stay connected."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry, Gauge

from kit.echo.server import EchoServer, who
from kit.tls_secret import Authority, SecretFolder
from servicekit.tls_files import Role, TlsFilesUnusable
from servicekit.transport import Transport, open_transport

NAME = "localhost"


def transport(folder: Path | None, role: Role = "client") -> Transport:
    """Return a transport with gauges of its own."""
    registry = CollectorRegistry()
    expires = Gauge("expires_timestamp_seconds", "Expires.", ["file"], registry=registry)
    return open_transport(folder, role, expires=expires, stale=Gauge("stale", "Stale.", registry=registry))


@pytest.fixture(name="stack")
async def _stack() -> AsyncIterator[AsyncExitStack]:
    """Yield what closes channels and servers, the last one first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(name="address")
def _address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def start_server(stack: AsyncExitStack, address: str, credentials: grpc.ServerCredentials | None) -> EchoServer:
    """Run a server until the stack ends."""
    echo = EchoServer(address, credentials=credentials)
    await echo.server.start()
    stack.push_async_callback(echo.server.stop, 0)
    return echo


async def test_without_a_folder_calls_go_in_plain_text(stack: AsyncExitStack, address: str) -> None:
    """Servers need no credentials, channels reach them, and a brief channel needs no name."""
    plain = transport(None)
    await start_server(stack, address, plain.server_credentials())

    channel = await stack.enter_async_context(plain.open_channel(address))
    brief = await stack.enter_async_context(plain.open_brief_channel(address, "any name"))

    assert plain.server_credentials() is None
    assert address == (await who(channel)).value
    assert address == (await who(brief)).value


async def test_with_a_folder_both_sides_show_certificates(stack: AsyncExitStack, address: str, tmp_path: Path) -> None:
    """A caller in plain text is refused by the same server."""
    authority = Authority()
    folders = [SecretFolder(tmp_path / side) for side in ("server", "client")]
    for folder, name in zip(folders, (NAME, "edge-1"), strict=True):
        folder.put(authority.sign(name), authority.certificate)
    server, client = transport(folders[0].path, "server"), transport(folders[1].path)
    await start_server(stack, address, server.server_credentials())

    channel = await stack.enter_async_context(client.open_channel(address.replace("127.0.0.1", NAME)))
    brief = await stack.enter_async_context(client.open_brief_channel(address, NAME))
    plain = await stack.enter_async_context(transport(None).open_channel(address))

    assert "edge-1" == (await who(channel, "who am I")).value
    assert "edge-1" == (await who(brief, "who am I")).value
    with pytest.raises(grpc.aio.AioRpcError):
        await who(plain)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    """Plain text is chosen by having no folder, never by a folder that is empty."""
    with pytest.raises(TlsFilesUnusable, match=r"tls\.crt: No such file"):
        transport(tmp_path)


async def test_watch_finds_lost_servers_again(
    stack: AsyncExitStack, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that gave up on its server, as after minutes without one, is replaced while `watch` runs."""
    monkeypatch.setattr("servicekit.reconnecting_channel._CHECK_INTERVAL_SECONDS", 0.05)
    plain = transport(None)
    channel = await stack.enter_async_context(plain.open_channel(address))
    with pytest.raises(grpc.aio.AioRpcError):
        await who(channel)
    lost = channel.current

    watching = asyncio.create_task(plain.watch())
    await start_server(stack, address, None)
    async with asyncio.timeout(20):
        while channel.current is lost:
            await asyncio.sleep(0.02)
    watching.cancel()
    await asyncio.wait([watching])

    assert watching.cancelled()
    assert address == (await who(channel)).value
