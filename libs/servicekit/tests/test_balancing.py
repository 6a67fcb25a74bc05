"""Several servers behind one name: each gets its share, one that stops fails no call, a new one is found.

The servers listen on 127.0.0.1, 127.0.0.2 and so on, at one port, as the pods of a headless service do.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from kit.echo.clients import Callers, addresses_at, opened, reach_all
from kit.echo.name_server import NameServer
from kit.echo.server import SERVICE, EchoServer, who
from servicekit.rpc import MAX_MESSAGE_BYTES, create_channel

pytestmark = pytest.mark.integration


@pytest.fixture(name="port")
def _port() -> int:
    """Return a port that is free on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))  # noqa: S104 - to see that it is free, no server listens
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(addresses: Sequence[str], **options: Any) -> AsyncIterator[list[EchoServer]]:
    """Run a server at each address."""
    async with AsyncExitStack() as stack:
        servers = []
        for address in addresses:
            echo = EchoServer(address, **options)
            await echo.server.start()
            stack.push_async_callback(echo.server.stop, 0)
            servers.append(echo)
        yield servers


@asynccontextmanager
async def channel_to(*addresses: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to a list of addresses."""
    channel = create_channel("ipv4:" + ",".join(addresses))
    try:
        yield channel
    finally:
        await channel.close()


@contextmanager
def process_at(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process of its own."""
    command = [sys.executable, "-m", "kit.echo.server", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        try:
            yield process
        finally:
            process.kill()


async def test_calls_are_shared_evenly(port: int) -> None:
    """One call each, in turn."""
    addresses = addresses_at(port, 3)
    async with serving(addresses), channel_to(*addresses) as channel:
        await reach_all(channel, addresses)
        answered = Counter([(await who(channel)).value for _ in range(60)])

    assert dict.fromkeys(addresses, 20) == answered


async def test_a_stopping_server_finishes_its_streams_and_fails_no_call(port: int) -> None:
    """Clients that call without pause move elsewhere before it refuses calls; three rounds."""
    going, staying = addresses_at(port, 2)
    async with serving([staying]), channel_to(going, staying) as channel:
        for _ in range(3):
            with process_at(going) as process:
                await reach_all(channel, [going, staying])
                running = await opened(channel, going)
                async with Callers(channel) as callers:
                    await callers.until(100)
                    process.send_signal(signal.SIGTERM)
                    assert "the end" == (await running.read()).value
                    assert 0 == await asyncio.to_thread(process.wait, 60)
                    await callers.until(100)
                    assert [] == callers.failed


async def test_a_server_stops_under_load_without_failing_a_call(port: int) -> None:
    """Calls that arrive while it stops are answered by it or by the other server; eight rounds."""
    going, staying = addresses_at(port, 2)
    async with serving([staying]), channel_to(going, staying) as channel:
        for _ in range(8):
            async with serving([going]) as (echo,), Callers(channel) as callers:
                await callers.until(100, going)
                await echo.server.stop(60.0)
                await callers.until(50)
                assert [] == callers.failed


async def test_a_killed_server_fails_its_own_calls_only(port: int) -> None:
    """Its stream fails, the next calls go elsewhere, and after a restart it gets its share again."""
    killed, staying = addresses_at(port, 2)
    async with serving([staying]), channel_to(killed, staying) as channel:
        with process_at(killed) as process:
            await reach_all(channel, [killed, staying])
            running = await opened(channel, killed)
            process.kill()
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await running.read()
            assert grpc.StatusCode.UNAVAILABLE == broken.value.code()
            assert [staying] * 50 == [(await who(channel)).value for _ in range(50)]
        with process_at(killed):
            await reach_all(channel, [killed])


async def test_a_call_that_may_have_reached_a_server_is_not_made_again(port: int) -> None:
    """The call kills its server: the caller gets an error, and no other server receives the call."""
    dying, staying = addresses_at(port, 2)
    async with serving([staying]) as (echo,), channel_to(dying, staying) as channel:
        for _ in range(3):
            with process_at(dying) as process:
                await reach_all(channel, [dying, staying])
                while (await who(channel)).value == dying:
                    pass
                with pytest.raises(grpc.aio.AioRpcError) as broken:  # now it is the other one's turn
                    await who(channel, "die")
                assert grpc.StatusCode.UNAVAILABLE == broken.value.code()
                assert 1 == await asyncio.to_thread(process.wait, 60)

    assert "die" not in echo.calls


async def test_a_silent_server_is_noticed(port: int) -> None:
    """Like a hung host it accepts bytes and answers no ping: a stream that waits for it ends with an error."""
    (address,) = addresses_at(port, 1)
    with process_at(address) as process:
        async with channel_to(address) as channel:
            running = await opened(channel, address)
            process.send_signal(signal.SIGSTOP)
            begun = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await running.read()

    assert grpc.StatusCode.UNAVAILABLE == broken.value.code()
    assert time.monotonic() - begun < 45  # 20 s; gRPC left alone needs 60


async def test_a_new_server_gets_calls_once_a_connection_reaches_its_maximum_age(port: int) -> None:
    """The name is resolved again whenever a connection ends; no call fails, and a long stream continues."""
    addresses = addresses_at(port, 3)
    async with NameServer().serving() as names, AsyncExitStack() as stack:
        old = await stack.enter_async_context(serving(addresses[:2], connection_age_seconds=1.0))
        names.addresses = ["127.0.0.1", "127.0.0.2"]
        channel = create_channel(f"dns://127.0.0.1:{names.port}/pods.test:{port}")
        stack.push_async_callback(channel.close)
        await reach_all(channel, addresses[:2])
        running = await opened(channel, addresses[0])
        async with Callers(channel) as callers:
            await callers.until(50, addresses[0])
            await callers.until(50, addresses[1])
            await stack.enter_async_context(serving(addresses[2:]))
            names.addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            begun = time.monotonic()
            await callers.until(50, addresses[2])
            assert time.monotonic() - begun < 20  # about 3 s; gRPC left alone asks again after 30
            assert [] == callers.failed
        old[0].end_streams.set()
        assert "the end" == (await running.read()).value

    assert {"1 pods.test", "28 pods.test"} == set(names.questions)


async def test_a_server_that_left_the_name_gets_no_more_calls(port: int) -> None:
    """When its connection ends, calls go to the servers that the name still has."""
    addresses = addresses_at(port, 2)
    async with NameServer().serving() as names, serving(addresses, connection_age_seconds=1.0):
        names.addresses = ["127.0.0.1", "127.0.0.2"]
        channel = create_channel(f"dns://127.0.0.1:{names.port}/pods.test:{port}")
        await reach_all(channel, addresses)
        names.addresses = ["127.0.0.2"]
        async with asyncio.timeout(60):
            while {addresses[1]} != {(await who(channel)).value for _ in range(20)}:
                await asyncio.sleep(0.05)
        await channel.close()


async def test_a_stream_longer_than_the_grace_ends_with_an_error(port: int) -> None:
    """A connection past its age and grace is closed, and its streams fail instead of seeming complete."""
    (address,) = addresses_at(port, 1)
    limits = {"connection_age_seconds": 0.3, "connection_grace_seconds": 0.3}
    async with serving([address], **limits), channel_to(address) as channel:
        running = await opened(channel, address)
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await running.read()

    assert grpc.StatusCode.UNAVAILABLE == broken.value.code()


async def test_a_server_that_is_back_is_found_at_once(port: int) -> None:
    """Calls fail at once while there is none; half a second after its start they are answered."""
    (address,) = addresses_at(port, 1)
    async with channel_to(address) as channel:
        async with serving([address]):
            await who(channel)
        for _ in range(10):
            with pytest.raises(grpc.aio.AioRpcError) as gone:
                await who(channel)
            assert grpc.StatusCode.UNAVAILABLE == gone.value.code()
            await asyncio.sleep(0.3)
        async with serving([address]), Callers(channel) as callers:
            begun = time.monotonic()
            await callers.until(1)
            assert time.monotonic() - begun < 5


@pytest.mark.parametrize("direction", ["request", "response"])
async def test_a_message_that_is_too_large_fails_alone(port: int, direction: str) -> None:
    """With a status; another stream on the same connection completes."""
    (address,) = addresses_at(port, 1)
    async with serving([address]) as (echo,), channel_to(address) as channel:
        running = await opened(channel, address)
        size = MAX_MESSAGE_BYTES + 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await who(channel, "x" * size if direction == "request" else f"answer with {size}")
        assert address == (await who(channel)).value
        echo.end_streams.set()
        assert "the end" == (await running.read()).value

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == refused.value.code()


async def test_a_server_refuses_too_large_messages_of_any_client(port: int) -> None:
    """Also of one without a limit of its own."""
    (address,) = addresses_at(port, 1)
    async with serving([address]) as (echo,):
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            running = await opened(channel, address)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await who(channel, "x" * (MAX_MESSAGE_BYTES + 1))
            echo.end_streams.set()
            assert "the end" == (await running.read()).value

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == refused.value.code()


async def test_a_proxy_of_the_environment_is_not_used_between_services(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for calls to providers."""
    (address,) = addresses_at(port, 1)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving([address]), channel_to(address) as channel:
        assert address == (await who(channel)).value


@pytest.mark.parametrize("reflects", [True, False])
async def test_contracts_are_listed_in_development_only(port: int, reflects: bool) -> None:
    """grpcurl lists the services where reflection is on, and is refused where it is off."""
    (address,) = addresses_at(port, 1)
    async with serving([address], reflects=reflects), channel_to(address) as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call: Any = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        try:
            answer = await call.read()
            answered = {service.name for service in answer.list_services_response.service}
        except grpc.aio.AioRpcError as error:
            answered = {error.code().name}

    services = {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert (services if reflects else {"UNIMPLEMENTED"}) == answered
