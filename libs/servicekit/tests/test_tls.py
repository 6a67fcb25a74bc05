"""Calls between services with certificates on both sides, which are replaced while streams run."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from kit.echo.clients import Callers, addresses_at, opened, reach_all
from kit.echo.name_server import NameServer
from kit.echo.server import EchoServer, asking, who
from kit.tls_secret import Authority, SecretFolder
from servicekit import reconnecting_channel
from servicekit.reconnecting_channel import ReconnectingChannel
from servicekit.rpc import create_channel
from servicekit.tls import TlsTransport
from servicekit.tls_files import Role, TlsFilesUnusable, trust_also, try_files

pytestmark = pytest.mark.integration  # they serve on sockets

NAME = "pods.test"


@dataclass
class Side:
    """One side of the calls: its folder, its transport and its metrics."""

    folder: SecretFolder
    tls: TlsTransport
    registry: CollectorRegistry

    async def put(self, certificate_and_key: tuple[bytes, bytes], authorities: bytes) -> None:
        """Replace the files and check them twice, which puts them in force."""
        self.folder.put(certificate_and_key, authorities)
        await self.tls.check()
        await self.tls.check()

    @property
    def is_stale(self) -> bool:
        """Whether the files on disk are not those in force."""
        return self.registry.get_sample_value("stale") == 1

    def ends(self, file: str) -> float:
        """Return when `file` expires, by the metric."""
        return self.registry.get_sample_value("expires_timestamp_seconds", {"file": file}) or 0.0


def read(folder: SecretFolder, role: Role) -> Side:
    """Read the files of a folder."""
    registry = CollectorRegistry()
    expires = Gauge("expires_timestamp_seconds", "Ends.", ["file"], registry=registry)
    stale = Gauge("stale", "Stale.", registry=registry)
    return Side(folder, TlsTransport(folder.path, role, expires=expires, stale=stale), registry)


@pytest.fixture(name="authority", scope="module")
def _authority() -> Authority:
    return Authority()


@pytest.fixture(name="other_authority", scope="module")
def _other_authority() -> Authority:
    return Authority()


@pytest.fixture(name="make_side")
def _make_side(tmp_path: Path, authority: Authority) -> Callable[[Role], Side]:
    def make(role: Role) -> Side:
        folder = SecretFolder(tmp_path / role)
        folder.put(authority.sign(NAME if role == "server" else "edge-1"), authority.certificate)
        return read(folder, role)

    return make


@pytest.fixture(name="server_side")
def _server_side(make_side: Callable[[Role], Side]) -> Side:
    return make_side("server")


@pytest.fixture(name="client_side")
def _client_side(make_side: Callable[[Role], Side]) -> Side:
    return make_side("client")


@pytest.fixture(name="port")
def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))  # noqa: S104 - to see that it is free on every loopback address, no server listens
        return int(probe.getsockname()[1])


@pytest.fixture(name="names")
async def _names() -> AsyncIterator[NameServer]:
    """Yield the DNS of the name; one pod at first."""
    async with NameServer().serving() as names:
        names.addresses = ["127.0.0.1"]
        yield names


def target(names: NameServer, port: int) -> str:
    """Return the address that a client calls; the certificate must have its name."""
    return f"dns://127.0.0.1:{names.port}/{NAME}:{port}"


@asynccontextmanager
async def serving(side: Side, addresses: Sequence[str], **options: Any) -> AsyncIterator[list[EchoServer]]:
    """Run a server with TLS at each address."""
    async with AsyncExitStack() as stack:
        servers = []
        for address in addresses:
            echo = EchoServer(address, credentials=side.tls.server_credentials(), **options)
            await echo.server.start()
            stack.push_async_callback(echo.server.stop, 0)
            servers.append(echo)
        yield servers


@asynccontextmanager
async def connected(
    server_side: Side, client_side: Side, names: NameServer, port: int
) -> AsyncIterator[tuple[EchoServer, ReconnectingChannel]]:
    """Run a server with TLS and a channel to it."""
    async with AsyncExitStack() as stack:
        (echo,) = await stack.enter_async_context(serving(server_side, addresses_at(port, 1)))
        yield echo, await stack.enter_async_context(client_side.tls.open_channel(target(names, port)))


def certificate_shown(port: int, client: SecretFolder, address: str = "127.0.0.1") -> bytes:
    """Connect as anybody may who has a certificate; return that of the server, as DER."""
    context = ssl.create_default_context(cafile=client.path / "ca.crt")
    context.check_hostname = False
    context.load_cert_chain(client.path / "tls.crt", client.path / "tls.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((address, port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


async def test_both_sides_show_a_certificate(
    server_side: Side, client_side: Side, names: NameServer, port: int
) -> None:
    """The server knows the name of its caller, and a stream completes."""
    async with connected(server_side, client_side, names, port) as (echo, channel):
        assert "edge-1" == (await who(channel, "who am I")).value
        running = await opened(channel, echo.address)
        echo.end_streams.set()
        assert "the end" == (await running.read()).value


@pytest.mark.parametrize(
    "client_kind", ["in plain text", "without a certificate", "of another authority", "with an expired certificate"]
)
async def test_a_client_without_a_valid_certificate_is_refused(
    client_kind: str,
    server_side: Side,
    authority: Authority,
    other_authority: Authority,
    names: NameServer,
    port: int,
) -> None:
    """None of its calls reaches the server, which keeps running."""
    key_and_certificate = {
        "in plain text": None,
        "without a certificate": (None, None),
        "of another authority": other_authority.sign("edge-1")[::-1],
        "with an expired certificate": authority.sign("edge-1", days=-1)[::-1],
    }[client_kind]
    credentials = (
        None
        if key_and_certificate is None
        else grpc.ssl_channel_credentials(authority.certificate, *key_and_certificate)
    )
    async with AsyncExitStack() as stack:
        (echo,) = await stack.enter_async_context(serving(server_side, addresses_at(port, 1)))
        channel = await stack.enter_async_context(create_channel(target(names, port), credentials))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await who(channel)

    assert grpc.StatusCode.UNAVAILABLE == refused.value.code()
    assert [] == echo.calls


@pytest.mark.parametrize("impostor", ["of another authority", "with another name", "in plain text", "expired"])
async def test_a_client_refuses_an_impostor(
    impostor: str,
    client_side: Side,
    authority: Authority,
    other_authority: Authority,
    names: NameServer,
    port: int,
) -> None:
    """The server at the address must have a certificate for the name, from a trusted authority."""
    certificate, key = {
        "of another authority": other_authority.sign(NAME),
        "with another name": authority.sign("other.test"),
        "expired": authority.sign(NAME, days=-1),
        "in plain text": (b"", b""),
    }[impostor]
    credentials = grpc.ssl_server_credentials([(key, certificate)]) if key else None
    echo = EchoServer(f"127.0.0.1:{port}", credentials=credentials)
    await echo.server.start()
    async with client_side.tls.open_channel(target(names, port)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await who(channel)
    await echo.server.stop(0)

    assert grpc.StatusCode.UNAVAILABLE == refused.value.code()
    assert [] == echo.calls


@pytest.mark.parametrize(("name", "is_served"), [(NAME, True), ("other.test", False)])
async def test_one_server_of_a_name_is_reached_by_its_address(
    server_side: Side, client_side: Side, port: int, name: str, is_served: bool
) -> None:
    """Its certificate has the name that all of them share instead of its address."""
    (address,) = addresses_at(port, 1)
    async with (
        serving(server_side, [address]) as (echo,),
        client_side.tls.open_brief_channel(address, name) as channel,
    ):
        if is_served:
            assert "edge-1" == (await who(channel, "who am I")).value
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await who(channel)
            assert [] == echo.calls


async def test_calls_are_shared_among_all_pods_of_a_name(
    server_side: Side, client_side: Side, names: NameServer, port: int
) -> None:
    """One certificate with the name of the service is enough for all of them; a new pod is found."""
    addresses = addresses_at(port, 3)
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(server_side, addresses[:2], connection_age_seconds=1.0))
        channel = await stack.enter_async_context(client_side.tls.open_channel(target(names, port)))
        await reach_all(channel, addresses[:2])
        async with Callers(channel) as callers:
            await callers.until(50, addresses[0])
            await callers.until(50, addresses[1])
            await stack.enter_async_context(serving(server_side, addresses[2:]))
            names.addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            await callers.until(50, addresses[2])
            assert [] == callers.failed


async def test_a_server_shows_its_new_certificate_and_cuts_no_stream(
    server_side: Side, client_side: Side, authority: Authority, names: NameServer, port: int
) -> None:
    """An open connection continues; the next one gets the new certificate, without a restart."""
    async with connected(server_side, client_side, names, port) as (echo, channel):
        running = await opened(channel, echo.address)
        renewed = authority.sign(NAME)
        await server_side.put(renewed, authority.certificate)

        shown = await asyncio.to_thread(certificate_shown, port, client_side.folder)
        assert ssl.PEM_cert_to_DER_cert(renewed[0].decode()) == shown
        echo.end_streams.set()
        assert "the end" == (await running.read()).value


async def test_a_client_shows_its_new_certificate_and_cuts_no_stream(
    server_side: Side, client_side: Side, authority: Authority, names: NameServer, port: int
) -> None:
    """Running calls stay on the old connection, new calls use a new one, those of an older stub included."""
    async with connected(server_side, client_side, names, port) as (echo, channel):
        ask = asking(channel)
        assert "edge-1" == (await ask(StringValue(value="who am I"), timeout=60.0)).value
        running = await opened(channel, echo.address)
        for number in (2, 3):
            await client_side.put(authority.sign(f"edge-{number}"), authority.certificate)
            assert f"edge-{number}" == (await ask(StringValue(value="who am I"), timeout=60.0)).value
        assert not running.done()
        echo.end_streams.set()
        assert "the end" == (await running.read()).value
        async with asyncio.timeout(20):
            while channel.retiring:
                await asyncio.sleep(0.02)


async def test_the_authority_is_replaced_without_a_failed_call(
    server_side: Side, client_side: Side, authority: Authority, other_authority: Authority, names: NameServer, port: int
) -> None:
    """First both sides trust both, then they use certificates of the new one, then they drop the old one."""
    both = authority.certificate + other_authority.certificate
    addresses = addresses_at(port, 2)
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(server_side, addresses, connection_age_seconds=1.0))
        channel = await stack.enter_async_context(client_side.tls.open_channel(target(names, port)))
        callers = await stack.enter_async_context(Callers(channel))
        await callers.until(20)
        old, new = authority, other_authority
        for signer, trusted in ((old, both), (new, both), (new, new.certificate)):
            await server_side.put(signer.sign(NAME), trusted)
            await callers.until(50)
            await client_side.put(signer.sign("edge-1"), trusted)
            await callers.until(50)
        assert [] == callers.failed
    assert not client_side.is_stale


async def test_a_client_keeps_its_certificate_until_a_server_accepts_the_new_one(
    server_side: Side,
    client_side: Side,
    authority: Authority,
    other_authority: Authority,
    names: NameServer,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When no server trusts the new one it is logged, and tried again until one does."""
    monkeypatch.setattr(reconnecting_channel, "_CONNECT_TIMEOUT_SECONDS", 0.5)
    both = authority.certificate + other_authority.certificate
    async with connected(server_side, client_side, names, port) as (_, channel):
        with capture_logs() as lines:
            await client_side.put(other_authority.sign("edge-2"), both)
        assert "edge-1" == (await who(channel, "who am I")).value
        assert client_side.is_stale
        assert "tls_channel_not_renewed" in {line["event"] for line in lines}

        monkeypatch.undo()
        checking = asyncio.create_task(client_side.tls.check())
        await asyncio.sleep(0.2)
        checking.cancel()
        await asyncio.wait([checking])
        checking = asyncio.create_task(client_side.tls.check())
        await server_side.put(authority.sign(NAME), both)
        await checking
        assert "edge-2" == (await who(channel, "who am I")).value
        assert not client_side.is_stale


async def test_closing_a_channel_ends_its_calls(
    server_side: Side, client_side: Side, authority: Authority, names: NameServer, port: int
) -> None:
    """Those on replaced channels included."""
    async with connected(server_side, client_side, names, port) as (echo, channel):
        old = await opened(channel, echo.address)
        await client_side.put(authority.sign("edge-2"), authority.certificate)
        new = await opened(channel, echo.address)
        assert not old.done()
    for call in (old, new):
        with pytest.raises(asyncio.CancelledError):
            await call.read()


def broken(
    name: str, folder: Path, authority: Authority, other: Authority
) -> tuple[str, list[tuple[str, bytes | None]]]:
    """Return a part of the message for a fault, and the files that cause it; None: the file is missing."""
    crt, key, ca = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
    refused, another_key = f"{crt}: a peer that trusts {ca} refuses it: ", authority.sign(NAME)[1]
    expired, expired_key = authority.sign(NAME, days=-1)
    no_key, no_certificate = f"{key}: not the key of {crt}, or no key in PEM", "no certificate in PEM"
    faults: dict[str, tuple[str, list[tuple[str, bytes | None]]]] = {
        "no certificate": (f"{crt}: No such file or directory", [("tls.crt", None)]),
        "no key": (f"{key}: No such file or directory", [("tls.key", None)]),
        "no authority": (f"{ca}: No such file or directory", [("ca.crt", None)]),
        "empty": (f"{crt}: the file is empty", [("tls.crt", b"\n")]),
        "another key": (no_key, [("tls.key", another_key)]),
        "garbage as key": (no_key, [("tls.key", b"\xff\0 what")]),
        "garbage": (f"{crt}: {no_certificate}", [("tls.crt", b"\xff what")]),
        "half": (f"{crt}: {no_certificate}", [("tls.crt", crt.read_bytes()[:200])]),
        "garbage as authority": (f"{ca}: {no_certificate}", [("ca.crt", b"what")]),
        "no authority's": (f"{ca}: none of its certificates is an authority's", [("ca.crt", crt.read_bytes())]),
        "of another authority": (refused + "unable to get local issuer", [("ca.crt", other.certificate)]),
        "expired": (refused + "certificate has expired", [("tls.crt", expired), ("tls.key", expired_key)]),
    }
    return faults[name]


def write_files(folder: Path, files: list[tuple[str, bytes | None]]) -> None:
    """Write files; delete those that are None."""
    for name, content in files:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)


FAULTS = (
    "no certificate",
    "no key",
    "no authority",
    "empty",
    "another key",
    "garbage as key",
    "garbage",
    "half",
    "garbage as authority",
    "no authority's",
    "of another authority",
    "expired",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_cannot_be_used_are_refused_at_the_start(
    fault: str, make_side: Callable[[Role], Side], authority: Authority, other_authority: Authority
) -> None:
    """With the file and the reason, in both roles."""
    roles: tuple[Role, Role] = ("server", "client")
    for role in roles:
        folder = make_side(role).folder
        message, files = broken(fault, folder.path, authority, other_authority)
        write_files(folder.path, files)
        with pytest.raises(TlsFilesUnusable) as refused:
            read(folder, role)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)


async def test_a_certificate_may_be_good_for_one_side_only(
    server_side: Side, client_side: Side, authority: Authority, names: NameServer, port: int
) -> None:
    """A client's need not be valid for a server, nor a server's for a client; in the wrong role it is refused."""
    sides: tuple[tuple[Side, Role, x509.ObjectIdentifier, Role], ...] = (
        (server_side, "server", ExtendedKeyUsageOID.SERVER_AUTH, "client"),
        (client_side, "client", ExtendedKeyUsageOID.CLIENT_AUTH, "server"),
    )
    for side, role, usage, other in sides:
        side.folder.put(authority.sign_for(usage, NAME if role == "server" else "edge-1"), authority.certificate)
        with pytest.raises(TlsFilesUnusable, match="certificate purpose"):
            try_files(side.folder.path, other)
    fresh_server, fresh_client = read(server_side.folder, "server"), read(client_side.folder, "client")
    async with connected(fresh_server, fresh_client, names, port) as (_, channel):
        assert "edge-1" == (await who(channel, "who am I")).value


@pytest.mark.parametrize("fault", FAULTS)
async def test_files_that_become_unusable_are_reported_and_not_used(
    fault: str, server_side: Side, client_side: Side, authority: Authority, other_authority: Authority, port: int
) -> None:
    """New connections get the old certificate; one log line and a metric, until the files are repaired."""
    folder, files, ends = server_side.folder, server_side.tls.files, server_side.ends("tls.crt")
    message, faulty = broken(fault, folder.path, authority, other_authority)
    before = ssl.PEM_cert_to_DER_cert(files.certificate.decode())
    async with serving(server_side, addresses_at(port, 1)):
        with capture_logs() as lines:
            write_files(folder.path, faulty)
            for _ in range(4):
                await server_side.tls.check()
        assert before == await asyncio.to_thread(certificate_shown, port, client_side.folder)
    assert [("tls_files_refused", "error")] == [(line["event"], line["log_level"]) for line in lines]
    assert message in lines[0]["reason"]
    assert server_side.is_stale
    assert (files, ends) == (server_side.tls.files, server_side.ends("tls.crt"))

    mended = SecretFolder(folder.path.with_name("mended"))
    mended.put(authority.sign(NAME, days=30), authority.certificate)
    folder.path.rename(folder.path.with_name("broken"))
    folder.path.symlink_to(mended.path)
    for _ in range(2):
        await server_side.tls.check()
    assert not server_side.is_stale
    assert files != server_side.tls.files


async def test_files_that_are_broken_and_restored_are_no_change(server_side: Side) -> None:
    """The files in force are on disk again: nothing is stale any more."""
    key = server_side.folder.path / "tls.key"
    good, files = key.read_bytes(), server_side.tls.files
    key.write_bytes(b"what")
    for _ in range(2):
        await server_side.tls.check()
    assert server_side.is_stale

    key.write_bytes(good)
    await server_side.tls.check()
    assert not server_side.is_stale
    assert files is server_side.tls.files


async def test_files_replaced_one_by_one_are_taken_up_together(server_side: Side, authority: Authority) -> None:
    """Between two checks the key does not match the certificate; that is not reported."""
    certificate, key = authority.sign(NAME)
    with capture_logs() as lines:
        (server_side.folder.path / "tls.crt").write_bytes(certificate)
        await server_side.tls.check()
        (server_side.folder.path / "tls.key").write_bytes(key)
        await server_side.tls.check()
        assert not server_side.is_stale
        await server_side.tls.check()

    assert (certificate, key) == (server_side.tls.files.certificate, server_side.tls.files.key)
    assert ["tls_files_reloaded"] == [line["event"] for line in lines]


async def test_the_expiry_of_certificate_and_authority_is_exported(server_side: Side, authority: Authority) -> None:
    """From the start, and after every renewal."""
    before, authority_ends = server_side.ends("tls.crt"), server_side.ends("ca.crt")
    await server_side.put(authority.sign(NAME, days=100), authority.certificate)

    assert 10 * 86_400 == pytest.approx(server_side.ends("tls.crt") - before, abs=600)
    assert authority_ends == server_side.ends("ca.crt")
    assert authority_ends > server_side.ends("tls.crt")


def test_no_key_is_in_a_repr(server_side: Side) -> None:
    """Neither of the files nor of the transport."""
    key = server_side.tls.files.key.decode().splitlines()[1]
    assert key not in repr(server_side.tls.files) + repr(server_side.tls.__dict__)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Connect the two in memory; ssl.SSLError when one does not want the other."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=NAME),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def test_an_authority_of_a_company_need_not_be_to_the_letter(tmp_path: Path, authority: Authority) -> None:
    """Its certificates lack extensions that Python 3.13 insists on; without the file they are strangers'."""
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    certificate, key = authority.sign_for(ExtendedKeyUsageOID.SERVER_AUTH, NAME)
    (tmp_path / "pair").write_bytes(certificate + key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "pair")
    client = ssl.create_default_context()
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server)

    trust_also(client, tmp_path / "ca.crt")
    handshake(client, server)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_an_authority_is_named(tmp_path: Path, content: bytes | None) -> None:
    """With what is wrong with it."""
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(TlsFilesUnusable, match=r"ca\.crt: (No such file|it has no certificate in PEM)"):
        trust_also(ssl.create_default_context(), tmp_path / "ca.crt")
