"""gRPC servers and channels with the options that every service uses, and the standard health service.

A channel shares its calls evenly among all addresses of its name, leaves out a server that reports it is stopping, and
resolves the name again whenever a connection ends. A server ends each connection after some minutes, so that every
client resolves the name now and then and finds servers that were added.

gRPC itself sends a call that no server has seen to another one. A call that may have reached a server fails instead:
only the caller knows whether repeating it does harm.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit.rpc_messages import MessageCheckingServer
from servicekit.rpc_token import TokenChannel, TokenGuard, Tokens

# Of any message, unless a server takes longer ones.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# How long a connection that takes no new calls has for its running ones: longer than the longest, an hour.
CONNECTION_GRACE_SECONDS = 3900.0
# Errors travel as metadata. Above this limit gRPC drops the error, and cancels every other call of the connection.
_MAX_METADATA_BYTES = 256 * 1024
# A peer that vanished without closing (a node that lost power) is noticed after the sum of both.
_KEEPALIVE_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 10_000

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    # Pings that measure the bandwidth precede those of the keepalive and have a timeout of their own, a minute.
    ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
)

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    *_OPTIONS,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # What is too long for a server it refuses by itself.
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", _SERVICE_CONFIG),
    # The name is resolved again when a connection ends, at most this often.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    # A server that comes back is found within the longest pause. Meanwhile calls fail at once if it was the only one.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # gRPC's name is misleading: after this time an attempt to connect has failed.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # A proxy in the environment is for outbound traffic, not for calls between our own services.
    ("grpc.enable_http_proxy", 0),
)

# How long clients have to learn that a server is stopping before it refuses calls: gRPC drops calls that arrive in the
# moment of its end, and their callers cannot know that nothing was done.
_NOTICE_SECONDS = 0.5


class RpcServer:
    """A gRPC server with a health service that drains on `stop`."""

    def __init__(
        self,
        address: str,
        services: Sequence[str],
        register: Callable[[Any], None],
        *,
        credentials: grpc.ServerCredentials | None = None,
        guard: TokenGuard | None = None,
        reflects: bool = False,
        max_request_bytes: int = MAX_MESSAGE_BYTES,
        connection_age_seconds: float = 300.0,
        connection_grace_seconds: float = CONNECTION_GRACE_SECONDS,
    ) -> None:
        """Prepare a server at `address` (`host:port`); `register` adds the servicers of the named `services`.

        A longer request than `max_request_bytes` fails with RESOURCE_EXHAUSTED.

        With `credentials` it accepts TLS only, with a `guard` callers with the token. `reflects` lets tools such as
        grpcurl list the contracts, for development. A connection takes no new calls when it is
        `connection_age_seconds` old, give or take a tenth so that not all end at once; its running calls have
        `connection_grace_seconds` to finish, which must be longer than the longest of them.
        """
        self._address = address
        self._services = services
        self._credentials = credentials
        options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # Two servers on one port would each get a share of the calls, unnoticed.
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", int(connection_age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", int(connection_grace_seconds * 1000)),
        )
        self._server = grpc.aio.server(options=options, interceptors=() if guard is None else (guard,))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        register(MessageCheckingServer(self._server))
        if reflects:
            reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> None:
        """Bind and serve, reported as healthy; RuntimeError when the address is in use."""
        if self._credentials is None:
            self._server.add_insecure_port(self._address)
        else:
            self._server.add_secure_port(self._address, self._credentials)
        await self._server.start()
        await self.set_healthy(True)

    async def set_healthy(self, healthy: bool) -> None:
        """Set what the health service reports; every channel of ours watches it and sends calls to healthy servers."""
        serving = health_pb2.HealthCheckResponse.SERVING
        status = serving if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *self._services):
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """Send clients elsewhere, let running calls finish for `grace_seconds`, then cancel the rest.

        No call fails while another server of the same name is there. 0: stop at once.
        """
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(min(_NOTICE_SECONDS, grace_seconds))
        await self._server.stop(grace_seconds)


def create_channel(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    *,
    server_name: str | None = None,
    tokens: Tokens | None = None,
) -> grpc.aio.Channel:
    """Return a channel to `address`, a gRPC name such as `dns:///llm-router:50051`; it connects at the first call.

    With `credentials` it uses TLS only, and the server's certificate must be for the name in `address`, or for
    `server_name` where the address is that of one server among several with a common name. With `tokens` each call
    shows it.

    Behind a headless service the name has an address for each pod, and the calls go to all of them in turn.
    """
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    else:
        named = () if server_name is None else (("grpc.ssl_target_name_override", server_name),)
        channel = grpc.aio.secure_channel(address, credentials, options=(*_CHANNEL_OPTIONS, *named))
    return channel if tokens is None else TokenChannel(channel, tokens)


def host_of(address: str) -> str:
    """Return the name in a gRPC address: `llm-router` of `dns:///llm-router:50051`."""
    return address.rpartition("/")[2].rpartition(":")[0].strip("[]")


async def is_serving(channel: grpc.aio.Channel, service: str, timeout_seconds: float) -> bool:
    """Ask the health service behind `channel`; False when it reports otherwise or does not answer in time."""
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
