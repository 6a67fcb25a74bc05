"""A server that says which one it is, in this process or, run as a program with an address, in one of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, cast

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from servicekit.lifecycle import run, stop_requested
from servicekit.rpc import RpcServer

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "test.v1.EchoService"


class EchoServer:
    """Counts the calls of its two methods; `Who` says its address, `Stream` goes on until told to end."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        self.calls: list[str] = []
        """What was said to it, call by call."""
        self.end_streams = asyncio.Event()
        methods = {
            "Who": grpc.unary_unary_rpc_method_handler(
                cast("Any", self._who),
                request_deserializer=StringValue.FromString,
                response_serializer=StringValue.SerializeToString,
            ),
            "Stream": grpc.unary_stream_rpc_method_handler(
                cast("Any", self._stream),
                request_deserializer=StringValue.FromString,
                response_serializer=StringValue.SerializeToString,
            ),
        }
        handlers = (grpc.method_handlers_generic_handler(SERVICE, methods),)
        self.server = RpcServer(address, [SERVICE], lambda server: server.add_generic_rpc_handlers(handlers), **options)

    async def _who(self, request: StringValue, context: Context) -> StringValue:
        self.calls.append(request.value)
        if request.value == "who am I":
            return StringValue(value=b" ".join(context.peer_identities() or []).decode())
        if request.value == "die":
            os._exit(1)
        if request.value.startswith("answer with "):
            return StringValue(value="x" * int(request.value.removeprefix("answer with ")))
        return StringValue(value=self.address)

    async def _stream(self, request: StringValue, context: Context) -> None:
        self.calls.append(request.value)
        await context.write(StringValue(value=self.address))
        await self.end_streams.wait()
        await context.write(StringValue(value="the end"))


def asking(channel: grpc.aio.Channel) -> Any:
    """Return the method `Who` of a stub that is kept, as services keep theirs."""
    return channel.unary_unary(
        f"/{SERVICE}/Who",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )


def who(channel: grpc.aio.Channel, text: str = "") -> Any:
    """Ask a server which one it is."""
    return asking(channel)(StringValue(value=text), timeout=60.0)


def stream(channel: grpc.aio.Channel, text: str = "stream") -> Any:
    """Open a stream: its first message says who answers, its second that it ends well."""
    method = channel.unary_stream(
        f"/{SERVICE}/Stream",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    return method(StringValue(value=text), timeout=120.0)


async def _main(address: str) -> None:
    stop = stop_requested()
    echo = EchoServer(address)
    await echo.server.start()
    print("serving", flush=True)  # noqa: T201 - whoever started this waits for it
    await stop.wait()
    stopping = asyncio.create_task(echo.server.stop(60.0))
    await asyncio.sleep(1.0)  # its streams are longer than the notice that it gives
    echo.end_streams.set()
    await stopping


if __name__ == "__main__":
    run(lambda: _main(sys.argv[1]))
