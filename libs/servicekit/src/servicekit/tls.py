"""Mutual TLS between services: each side shows a certificate and trusts the authorities in its folder.

The files are read again every second, since certificates expire: cert-manager replaces them in good time, and the
kubelet puts the new ones into the folder. Files that cannot be used are refused, and the old ones stay in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from prometheus_client import Gauge

from servicekit.lifecycle import repeat
from servicekit.reconnecting_channel import ReconnectingChannel, keep_connected
from servicekit.rpc import create_channel
from servicekit.rpc_token import Tokens
from servicekit.tls_files import CERTIFICATE, Role, TlsFiles, TlsFilesUnusable, read_files, try_files

log = structlog.get_logger()

_CHECK_INTERVAL_SECONDS = 1.0


class TlsTransport:
    """A `Transport` that uses the files of one folder, and takes up new ones while calls are running."""

    def __init__(self, folder: Path, role: Role, *, expires: Gauge, stale: Gauge, tokens: Tokens | None = None) -> None:
        """Read the files; TlsFilesUnusable, which names the file, when they cannot serve a process of this `role`.

        `expires` has the label `file` and is set to the Unix time at which each expires; `stale` is 1 while the files
        on disk are not the ones in force. With `tokens` every call shows the first.
        """
        self._folder = folder
        self._role = role
        self._tokens = tokens
        self._expires = expires
        self._stale = stale
        self._clients: list[_Client] = []
        self._seen: TlsFiles | str | None = None
        self._reported: str | None = None
        self.files = read_files(folder)
        """The files in force."""
        self._take_up(self.files, try_files(folder, role))

    def open_channel(self, address: str) -> ReconnectingChannel:
        """Return a channel to `address` that is renewed when the files change; see `create_channel`.

        A gRPC channel keeps the certificate it was made with.
        """
        client = _Client(address, self.files, self._tokens)
        self._clients.append(client)
        return client.channel

    def open_brief_channel(self, address: str, server_name: str) -> grpc.aio.Channel:
        """Return a channel, for a few calls, to the server at `address` among those that are called `server_name`.

        It keeps the certificate that is in force now.
        """
        return create_channel(address, self.files.channel_credentials(), server_name=server_name, tokens=self._tokens)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a server: each new connection gets the certificate that is then in force.

        A client without a certificate of the authority, or without TLS, is refused.
        """
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.files), lambda: _configuration(self.files), require_client_authentication=True
        )

    async def watch(self) -> None:
        """Take up changed files, and keep the channels connected, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat("watch_tls", _CHECK_INTERVAL_SECONDS, self.check))
            group.create_task(keep_connected([client.channel for client in self._clients]))

    async def check(self) -> None:
        """Put changed files in force if they are usable; if not, log it once and keep those in force.

        They must be the same at two checks: files may be replaced one by one. A check that is cancelled or fails is
        made up for by the next one.
        """
        found = await asyncio.to_thread(self._read)
        has_settled, self._seen = found == self._seen, found
        if found == self.files:
            self._refuse(None)
        elif has_settled:
            await self._judge(found)
        renewed = [await client.renew(self.files) for client in self._clients]
        self._stale.set(not all(renewed) or self._reported is not None)

    def _read(self) -> TlsFiles | str:
        try:
            return read_files(self._folder)
        except TlsFilesUnusable as error:
            return str(error)

    async def _judge(self, found: TlsFiles | str) -> None:
        if isinstance(found, str):
            self._refuse(found)
            return
        try:
            ends = await asyncio.to_thread(try_files, self._folder, self._role)
        except TlsFilesUnusable as error:
            self._refuse(str(error))
            return
        if await asyncio.to_thread(self._read) != found:
            return  # they changed meanwhile: it is not known which were tried
        self._refuse(None)
        self._take_up(found, ends)
        log.info("tls_files_reloaded", certificate_ends=datetime.fromtimestamp(ends[CERTIFICATE], UTC).isoformat())

    def _take_up(self, files: TlsFiles, ends: Mapping[str, float]) -> None:
        self.files = files
        for file, end in ends.items():
            self._expires.labels(file).set(end)

    def _refuse(self, reason: str | None) -> None:
        if reason is not None and reason != self._reported:
            log.error("tls_files_refused", reason=reason)
        self._reported = reason


class _Client:
    """A channel and the files that it uses."""

    def __init__(self, address: str, files: TlsFiles, tokens: Tokens | None) -> None:
        self._address = address
        self._tokens = tokens
        self._files = files
        self.channel = ReconnectingChannel(self._opener(files))

    async def renew(self, files: TlsFiles) -> bool:
        """Use the certificate in `files` once a peer has accepted it; False when none did."""
        if files == self._files:
            return True
        if not await self.channel.renew(self._opener(files)):
            log.error("tls_channel_not_renewed", address=self._address, reason="no peer accepts the new files")
            return False
        self._files = files
        return True

    def _opener(self, files: TlsFiles) -> Callable[[], grpc.aio.Channel]:
        return lambda: create_channel(self._address, files.channel_credentials(), tokens=self._tokens)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority)
