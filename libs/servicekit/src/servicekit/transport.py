"""How the services of a deployment talk to each other: in plain text, or over mutual TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import grpc
from prometheus_client import Gauge

from servicekit.reconnecting_channel import ReconnectingChannel, keep_connected
from servicekit.rpc import create_channel
from servicekit.rpc_token import Tokens
from servicekit.tls import TlsTransport
from servicekit.tls_files import Role


class Transport(Protocol):
    """Opens channels and secures servers."""

    def open_channel(self, address: str) -> ReconnectingChannel:
        """Return a channel to `address`, a gRPC name such as `dns:///llm-router:50051`; the caller closes it."""

    def open_brief_channel(self, address: str, server_name: str) -> grpc.aio.Channel:
        """Return a channel, for a few calls, to the server at `address` among those that are called `server_name`."""

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Return what an `RpcServer` needs; None for plain text."""

    async def watch(self) -> None:
        """Keep the channels that were opened before connected, and the certificates current, until cancelled.

        Returns at once when there is neither a channel nor a certificate.
        """


class PlainTransport:
    """A `Transport` in plain text."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        """With `tokens` every call shows the first."""
        self._tokens = tokens
        self._channels: list[ReconnectingChannel] = []

    def open_channel(self, address: str) -> ReconnectingChannel:
        """See Transport."""
        channel = ReconnectingChannel(lambda: create_channel(address, tokens=self._tokens))
        self._channels.append(channel)
        return channel

    def open_brief_channel(self, address: str, server_name: str) -> grpc.aio.Channel:
        """See Transport."""
        return create_channel(address, tokens=self._tokens)

    def server_credentials(self) -> None:
        """See Transport."""

    async def watch(self) -> None:
        """See Transport."""
        await keep_connected(self._channels)


def open_transport(
    tls_directory: Path | None, role: Role, *, expires: Gauge, stale: Gauge, tokens: Tokens | None = None
) -> Transport:
    """Return a transport over TLS with the files in `tls_directory`, or in plain text without one.

    With `tokens` every call shows the first. TlsFilesUnusable when the files cannot serve a process of this `role`; see
    `TlsTransport` for the gauges.
    """
    if tls_directory is None:
        return PlainTransport(tokens)
    return TlsTransport(tls_directory, role, expires=expires, stale=stale, tokens=tokens)
