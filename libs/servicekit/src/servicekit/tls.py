"""Mutual TLS between services: each side shows a certificate, and trusts any of the authorities in its folder.

The files are looked at again and again, since certificates end: cert-manager replaces them in good time, and the
kubelet puts the new ones into the folder. What is wrong with them stays out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from prometheus_client import Gauge

from servicekit.lasting_channel import LastingChannel
from servicekit.lifecycle import repeat
from servicekit.rpc import create_channel
from servicekit.tls_files import CERTIFICATE, Role, TlsFiles, TlsFilesUnusable, read_files, try_files

log = structlog.get_logger()

_WATCH_INTERVAL_SECONDS = 1.0


class Tls:
    """The files of one folder that are in force, and those who use them."""

    def __init__(self, folder: Path, role: Role, *, expires: Gauge, stale: Gauge) -> None:
        """Read the files; TlsFilesUnusable, which names the file, when they cannot serve a process of this `role`.

        `expires` has the label `file` and is told when each ends, in Unix time; `stale` is 1 while what is on disk is
        not what is used.
        """
        self._folder = folder
        self._role = role
        self._expires = expires
        self._stale = stale
        self._clients: list[_Client] = []
        self._seen: TlsFiles | str | None = None
        self._told: str | None = None
        self.files = read_files(folder)
        """What is in force."""
        self._take_up(self.files, try_files(folder, role))

    def open_channel(self, address: str) -> LastingChannel:
        """Return a channel to `address` that is renewed when the files change; see `create_channel`.

        A gRPC channel keeps the certificate it was made with.
        """
        client = _Client(address, self.files)
        self._clients.append(client)
        return client.channel

    def open_brief_channel(self, address: str, server_name: str) -> grpc.aio.Channel:
        """Return a channel to one server, at `address`, of those that are called `server_name`.

        It shows the certificate of now to its end, so it is for a few calls.
        """
        return create_channel(address, self.files.channel_credentials(), server_name=server_name)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a server: each new connection gets the certificate that is in force then.

        A client that shows no certificate of the authority, or speaks no TLS, is turned away.
        """
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.files), lambda: _configuration(self.files), require_client_authentication=True
        )

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        await repeat("watch_tls", _WATCH_INTERVAL_SECONDS, self.look)

    async def look(self) -> None:
        """Put changed files in force if they are good; if not, say so once and keep what is in force.

        They must be the same as at the last look: files may be replaced one by one. When this is cancelled or fails,
        the next look does it again.
        """
        found = await asyncio.to_thread(self._read)
        has_settled, self._seen = found == self._seen, found
        if found == self.files:
            self._refuse(None)
        elif has_settled:
            await self._judge(found)
        renewed = [await client.show(self.files) for client in self._clients]
        self._stale.set(not all(renewed) or self._told is not None)

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
            return  # they changed meanwhile: who knows which were tried
        self._refuse(None)
        self._take_up(found, ends)
        log.info("tls_files_reloaded", certificate_ends=datetime.fromtimestamp(ends[CERTIFICATE], UTC).isoformat())

    def _take_up(self, files: TlsFiles, ends: Mapping[str, float]) -> None:
        self.files = files
        for file, end in ends.items():
            self._expires.labels(file).set(end)

    def _refuse(self, reason: str | None) -> None:
        if reason is not None and reason != self._told:
            log.error("tls_files_refused", reason=reason)
        self._told = reason


class _Client:
    """A channel, and the files that it shows."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        self._address = address
        self._files = files
        self.channel = LastingChannel(self._opener(files))

    async def show(self, files: TlsFiles) -> bool:
        """Show the certificate in `files` from now on, as soon as a peer has accepted it; False when none did."""
        if files == self._files:
            return True
        if not await self.channel.renew(self._opener(files)):
            log.error("tls_channel_not_renewed", address=self._address, reason="no peer accepts the new files")
            return False
        self._files = files
        return True

    def _opener(self, files: TlsFiles) -> Callable[[], grpc.aio.Channel]:
        return lambda: create_channel(self._address, files.channel_credentials())


def read_tls(folder: Path | None, role: Role, *, expires: Gauge, stale: Gauge) -> Tls | None:
    """Return `Tls` for the files in `folder`; None, and with it plain text, when there is no folder."""
    return None if folder is None else Tls(folder, role, expires=expires, stale=stale)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority)
