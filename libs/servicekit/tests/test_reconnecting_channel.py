"""A channel that has lost its servers is replaced by one that finds them, unseen by its callers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

from kit.echo.clients import opened
from kit.echo.server import EchoServer, who
from servicekit import reconnecting_channel
from servicekit.reconnecting_channel import ReconnectingChannel
from servicekit.rpc import create_channel

pytestmark = pytest.mark.integration  # they serve on sockets

# No server listens there. A channel to it resembles one whose name had no address and which now pauses for two minutes.
NOWHERE = "127.0.0.1:1"


@asynccontextmanager
async def serving(host: str) -> AsyncIterator[EchoServer]:
    """Run a server."""
    with socket.create_server((host, 0)) as probe:
        port = probe.getsockname()[1]
    echo = EchoServer(f"{host}:{port}")
    await echo.server.start()
    try:
        yield echo
    finally:
        await echo.server.stop(0)


@pytest.fixture(name="stack")
async def _stack() -> AsyncIterator[AsyncExitStack]:
    """Yield what closes channels and servers, the last one first."""
    async with AsyncExitStack() as stack:
        yield stack


async def channel_to(stack: AsyncExitStack, *addresses: str) -> ReconnectingChannel:
    """Return a channel that goes to the first address, and to the next one with each gRPC channel that it opens."""
    following: Iterator[str] = iter(addresses)
    return await stack.enter_async_context(ReconnectingChannel(lambda: create_channel(next(following))))


async def assert_fails_at_once(channel: ReconnectingChannel) -> None:
    """Assert that a call over it is refused without waiting."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asyncio.wait_for(who(channel), 5)
    assert grpc.StatusCode.UNAVAILABLE == error.value.code()


async def test_a_channel_that_reaches_no_server_is_replaced(stack: AsyncExitStack) -> None:
    """By one that does; methods made before the replacement use it, too."""
    echo = await stack.enter_async_context(serving("127.0.0.1"))
    channel = await channel_to(stack, NOWHERE, echo.address)
    await assert_fails_at_once(channel)

    await channel.check()

    assert echo.address == (await who(channel)).value


async def test_a_channel_that_works_or_was_never_used_is_left_alone(stack: AsyncExitStack) -> None:
    """Checking it opens no other channel."""
    echo = await stack.enter_async_context(serving("127.0.0.1"))
    channel = await channel_to(stack, echo.address)
    before = channel.current

    await channel.check()
    assert echo.address == (await who(channel)).value
    await channel.check()

    assert before is channel.current


async def test_pods_that_follow_the_first_are_found_soon(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel keeps the addresses that its name had at first; so it is replaced once more, and not again."""
    monkeypatch.setattr(reconnecting_channel, "_SETTLE_SECONDS", 0.2)
    first, second = [await stack.enter_async_context(serving(host)) for host in ("127.0.0.1", "127.0.0.2")]
    channel = await channel_to(stack, NOWHERE, first.address, second.address)
    await assert_fails_at_once(channel)

    await channel.check()
    await channel.check()
    assert first.address == (await who(channel)).value
    for _ in range(2):
        await asyncio.sleep(0.3)
        await channel.check()

    assert second.address == (await who(channel)).value


async def test_while_no_server_is_found_calls_fail_at_once(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not wait for a check, and a later check may succeed."""
    monkeypatch.setattr(reconnecting_channel, "_CONNECT_TIMEOUT_SECONDS", 0.3)
    echo = await stack.enter_async_context(serving("127.0.0.1"))
    channel = await channel_to(stack, NOWHERE, NOWHERE, echo.address)
    await assert_fails_at_once(channel)

    checking = asyncio.create_task(channel.check())
    await asyncio.sleep(0.1)
    assert not checking.done()
    await assert_fails_at_once(channel)
    await checking
    await assert_fails_at_once(channel)
    await channel.check()

    assert echo.address == (await who(channel)).value


async def test_a_stream_on_the_replaced_channel_completes(stack: AsyncExitStack) -> None:
    """Its server refuses new calls; those use the new channel."""
    going, coming = [await stack.enter_async_context(serving(host)) for host in ("127.0.0.1", "127.0.0.2")]
    channel = await channel_to(stack, going.address, coming.address)
    running = await opened(channel, going.address)
    ending = asyncio.create_task(going.server.stop(20))
    async with asyncio.timeout(20):
        while channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            await asyncio.sleep(0.02)

    await channel.check()

    assert coming.address == (await who(channel)).value
    going.end_streams.set()
    assert "the end" == (await running.read()).value
    await ending
    async with asyncio.timeout(20):
        while channel.retiring:
            await asyncio.sleep(0.02)


async def test_a_cancelled_check_changes_nothing(stack: AsyncExitStack) -> None:
    """The channel stays as it was and can be checked again."""
    echo = await stack.enter_async_context(serving("127.0.0.1"))
    channel = await channel_to(stack, NOWHERE, NOWHERE, echo.address)
    await assert_fails_at_once(channel)
    before = channel.current

    checking = asyncio.create_task(channel.check())
    await asyncio.sleep(0.1)
    checking.cancel()
    await asyncio.wait([checking])
    assert before is channel.current
    await channel.check()

    assert echo.address == (await who(channel)).value
