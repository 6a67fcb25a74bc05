"""gRPC servers and channels with the options that every service uses, and the standard health service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

# A body may be as large as the edge lets in, plus its envelope.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# Errors travel as metadata. Above this limit gRPC drops the error, and cancels every other call of the connection.
_MAX_METADATA_BYTES = 256 * 1024

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
)


class RpcServer:
    """A gRPC server with health checking that drains on `stop`."""

    def __init__(self, address: str, services: Sequence[str], register: Callable[[grpc.aio.Server], None]) -> None:
        """Prepare a server at `address` (`host:port`); `register` adds the servicers of the named `services`."""
        self._address = address
        self._services = services
        # Two servers on one port would each get a share of the calls and nobody would notice.
        self._server = grpc.aio.server(options=(*_OPTIONS, ("grpc.so_reuseport", 0)))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        register(self._server)

    async def start(self) -> None:
        """Bind and serve, healthy from now on; RuntimeError when the address is taken."""
        self._server.add_insecure_port(self._address)
        await self._server.start()
        await self.set_healthy(True)

    async def set_healthy(self, healthy: bool) -> None:
        """Tell health checkers whether to send calls here."""
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, let the running ones finish for `grace_seconds`, then cancel what is left."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)


def create_channel(address: str) -> grpc.aio.Channel:
    """Return a channel to `address`, a gRPC name such as `dns:///llm-router:50051`; it connects at the first call."""
    return grpc.aio.insecure_channel(address, options=(*_OPTIONS, ("grpc.max_reconnect_backoff_ms", 2_000)))


async def is_serving(channel: grpc.aio.Channel, service: str, timeout_seconds: float) -> bool:
    """Ask the health service behind `channel`; False when it says no, or does not answer in time."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_seconds)
    except grpc.aio.AioRpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
