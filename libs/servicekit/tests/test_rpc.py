"""Servers and channels as every service uses them: typed errors, health, and a stop that lets calls finish."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue

from servicekit.errors import abort_with, detail_of
from servicekit.rpc import MAX_MESSAGE_BYTES, RpcServer, create_channel, is_serving

pytestmark = pytest.mark.integration  # they serve on sockets

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[StringValue, Context], Awaitable[StringValue]]

SERVICE = "test.v1.EchoService"


def server_at(address: str, handler: Handler) -> RpcServer:
    """Make a server with one method."""
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(
            cast("Any", handler),
            request_deserializer=StringValue.FromString,
            response_serializer=StringValue.SerializeToString,
        )
    }
    generic = grpc.method_handlers_generic_handler(SERVICE, methods)
    return RpcServer(address, [SERVICE], lambda server: server.add_generic_rpc_handlers((generic,)))


@asynccontextmanager
async def running(address: str, handler: Handler) -> AsyncIterator[tuple[RpcServer, grpc.aio.Channel]]:
    """Run a server, and a channel to it."""
    server, channel = server_at(address, handler), create_channel(address)
    await server.start()
    try:
        yield server, channel
    finally:
        await channel.close()
        await server.stop(0)


async def echo(request: StringValue, _context: Context) -> StringValue:
    """Answer with what was asked."""
    return request


def call(channel: grpc.aio.Channel, text: str = "hi") -> Any:
    """Call the one method."""
    method = channel.unary_unary(
        f"/{SERVICE}/Echo",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    return method(StringValue(value=text), timeout=20.0)


async def failure(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    """Return how the call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel)
    return caught.value


@pytest.fixture(name="address")
def _address() -> str:
    """Return a free address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def failing(code: grpc.StatusCode, message: str, detail: Message) -> Handler:
    """Make a handler that aborts."""

    async def handler(_request: StringValue, context: Context) -> StringValue:
        await abort_with(context, code, message, detail)

    return handler


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ("gone", StringValue(value="all of it")),
        ("größe 😀\n100%", StringValue(value="größe 😀\n\x00")),
        ("", StringValue()),
        ("😀" * 500, StringValue(value="😀" * 500)),
        ("x" * 10_000, StringValue(value="x" * 10_000)),
    ],
    ids=["plain", "odd characters", "empty", "long", "very long"],
)
async def test_an_error_crosses_the_wire_with_its_detail(address: str, message: str, detail: StringValue) -> None:
    """Code, message and the typed detail, of any length and in any script."""
    async with running(address, failing(grpc.StatusCode.ABORTED, message, detail)) as (_, channel):
        error = await failure(channel)

    assert grpc.StatusCode.ABORTED == error.code()
    assert detail == detail_of(error, StringValue)


async def test_a_detail_of_another_type_is_none(address: str) -> None:
    """So are an absent detail and a truncated one."""
    detail = Duration(seconds=5)

    async def without(_request: StringValue, context: Context) -> StringValue:
        await context.abort(grpc.StatusCode.ABORTED, "plain")

    async def damaged(_request: StringValue, context: Context) -> StringValue:
        await context.abort(grpc.StatusCode.ABORTED, "damaged", (("grpc-status-details-bin", b"\xff\xff"),))

    async with running(address, failing(grpc.StatusCode.ABORTED, "typed", detail)) as (_, channel):
        error = await failure(channel)
        assert detail_of(error, Timestamp) is None
        assert detail == detail_of(error, Duration)
    for handler in (without, damaged):
        async with running(address, handler) as (_, channel):
            assert detail_of(await failure(channel), Duration) is None


async def test_an_error_without_a_server_has_no_detail(address: str) -> None:
    """When no server listens, the error has no detail and reading it does not raise."""
    channel = create_channel(address)
    error = await failure(channel)
    await channel.close()

    assert (grpc.StatusCode.UNAVAILABLE, None) == (error.code(), detail_of(error, Duration))


async def test_a_running_server_is_healthy(address: str) -> None:
    """For its own service name and for the empty one; not for a service that it does not have."""
    async with running(address, echo) as (server, channel):
        assert [True, True, False] == [await is_serving(channel, name, 20.0) for name in (SERVICE, "", "other")]

        await server.set_healthy(False)
        async with asyncio.timeout(20):
            while await is_serving(channel, SERVICE, 20.0):
                await asyncio.sleep(0.005)

        await server.set_healthy(True)
        async with asyncio.timeout(20):
            while not await is_serving(channel, SERVICE, 20.0):
                await asyncio.sleep(0.005)
        assert "hi" == (await call(channel)).value


async def test_a_server_that_does_not_answer_is_not_healthy(address: str) -> None:
    """No answer, or a late one, returns False and does not raise."""
    channel = create_channel(address)
    assert not await is_serving(channel, SERVICE, 20.0)
    await channel.close()

    silent = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []
    channel = create_channel(f"127.0.0.1:{silent.sockets[0].getsockname()[1]}")
    assert not await is_serving(channel, SERVICE, 0.1)
    await channel.close()
    silent.close()
    for writer in writers:
        writer.close()


async def test_stop_lets_running_calls_finish(address: str) -> None:
    """New calls are refused, the health service reports it, and running calls are answered."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: StringValue, _context: Context) -> StringValue:
        begun.set()
        await go_on.wait()
        return request

    async with running(address, slow) as (server, channel):
        answering = asyncio.ensure_future(call(channel))
        await asyncio.wait_for(begun.wait(), 20)
        stopping = asyncio.create_task(server.stop(20.0))
        async with asyncio.timeout(20):
            while await is_serving(channel, SERVICE, 1.0):
                await asyncio.sleep(0.005)
        go_on.set()
        assert "hi" == (await answering).value
        await asyncio.wait_for(stopping, 20)


async def test_an_address_in_use_is_an_error_at_the_start(address: str) -> None:
    """Two servers on one port would each get a share of the calls."""
    async with running(address, echo):
        second = server_at(address, echo)
        with pytest.raises(RuntimeError):
            await second.start()
        await second.stop(0)


async def test_the_largest_body_that_the_edge_accepts_passes(address: str) -> None:
    """A larger one is refused with a status."""
    async with running(address, echo) as (_, channel):
        text = "x" * (MAX_MESSAGE_BYTES - 100)
        assert len(text) == len((await call(channel, text)).value)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, text + "x" * 200)

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
