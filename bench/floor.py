"""`python -m bench.floor`: what one message of a gRPC stream costs each side, when nothing else is done with it.

The router sends each answer to the edge as such a stream: less than this it cannot cost, whatever is around it.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import socket
import sys
from collections.abc import AsyncIterator

import grpc
import uvloop

from bench.usage import own_usage_of
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

STREAMS = (1, 5, 20, 100)
_MESSAGES = 100  # of each stream
_MAX_SECONDS = 60.0


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="bench.floor", description=__doc__)
    parser.add_argument("--frame-ms", type=float, default=30.0, help="between two messages (default: %(default)g)")
    frame_seconds = parser.parse_args().frame_ms / 1000
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(address, frame_seconds), daemon=True)
    server.start()
    try:
        print("| streams | sender, us a message | receiver, us a message |\n|---:|---:|---:|")  # noqa: T201
        assert server.pid is not None  # noqa: S101 - it was started
        for streams in STREAMS:
            sent, received = uvloop.run(_measure(address, streams, server.pid))
            print(f"| {streams} | {sent:.0f} | {received:.0f} |", flush=True)  # noqa: T201
    finally:
        server.kill()
        server.join()
    return 0


def _sender(frame_seconds: float) -> grpc.GenericRpcHandler:
    """Return a service that sends messages to all streams in the same turns of the loop, as the metronome does."""

    async def send(request: bytes, context: object) -> AsyncIterator[routerpb.StreamCompletionResponse]:
        loop = asyncio.get_running_loop()
        for _ in range(_MESSAGES):
            now = loop.time()
            await asyncio.sleep((math.floor(now / frame_seconds) + 1) * frame_seconds - now)
            yield routerpb.StreamCompletionResponse(delta=routerpb.Delta(texts=[" word", " word"]))

    method: grpc.RpcMethodHandler[bytes, routerpb.StreamCompletionResponse] = grpc.unary_stream_rpc_method_handler(
        send, response_serializer=routerpb.StreamCompletionResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("spillway.router.v1.RouterService", {"StreamCompletion": method})


def _serve(address: str, frame_seconds: float) -> None:
    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_sender(frame_seconds),))
        server.add_insecure_port(address)
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


async def _measure(address: str, streams: int, server_pid: int) -> tuple[float, float]:
    """Return the CPU microseconds of a message at the sender and at the receiver."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)

        async def read() -> None:
            call = stub.StreamCompletion(routerpb.StreamCompletionRequest(), timeout=_MAX_SECONDS, wait_for_ready=True)
            async for _ in call:
                pass

        await read()  # the connection is open
        before = own_usage_of(server_pid), own_usage_of(multiprocessing.current_process().pid or 0)
        await asyncio.gather(*(read() for _ in range(streams)))
        after = own_usage_of(server_pid), own_usage_of(multiprocessing.current_process().pid or 0)
    sent, received = (
        1e6 * (late - early).cpu_seconds / streams / _MESSAGES for early, late in zip(before, after, strict=True)
    )
    return sent, received


if __name__ == "__main__":
    sys.exit(main())
