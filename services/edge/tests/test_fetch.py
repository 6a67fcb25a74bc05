"""Documents of servers that others run: through the proxies of the environment, trusting a company's authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from edge.fetch import Fetcher, FetchFailed
from kit.forward_proxy import running_proxy
from servicekit.proxies import Proxies
from servicekit.tls_files import TlsFilesUnusable

pytestmark = pytest.mark.integration

USER = "ada:s3cr3t-p4ssw0rd"
DOCUMENT = b'{"keys":[]}'


@asynccontextmanager
async def serving(heads: list[bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve the document; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(DOCUMENT), DOCUMENT))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return authority


def tls_of(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server at `issuer.test` shows."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("issuer.test").configure_cert(tls)
    return tls


async def test_an_encrypted_document_comes_through_a_tunnel(tmp_path: Path, authority: trustme.CA) -> None:
    """The server sees nothing of the proxy and its password."""
    heads: list[bytes] = []
    async with serving(heads, tls_of(authority)) as port:
        with running_proxy(tmp_path / "proxy.log", port, "--user", USER) as proxy:
            proxies = Proxies.of_environment({"HTTPS_PROXY": proxy.url(USER)})
            fetcher = Fetcher(proxies, tmp_path / "ca.crt")
            assert DOCUMENT == await fetcher.fetch("https://issuer.test/keys?a=b", 5.0)
            assert ["CONNECT issuer.test:443 known"] == proxy.asked

    assert heads[0].startswith(b"GET /keys?a=b HTTP/1.1\r\nhost: issuer.test\r\n")
    assert b"proxy" not in heads[0].lower()


async def test_a_document_in_plain_text_is_asked_of_the_proxy(tmp_path: Path) -> None:
    """With its whole address."""
    heads: list[bytes] = []
    async with serving(heads) as port:
        with running_proxy(tmp_path / "proxy.log", port, "--user", USER) as proxy:
            fetcher = Fetcher(Proxies.of_environment({"http_proxy": proxy.url(USER)}))
            assert DOCUMENT == await fetcher.fetch("http://issuer.test:8080/keys", 5.0)
            assert ["GET http://issuer.test:8080/keys known"] == proxy.asked


async def test_a_proxy_that_refuses_is_told_from_the_server(tmp_path: Path, authority: trustme.CA) -> None:
    """In a word that holds no password."""
    async with serving([], tls_of(authority)) as port:
        with running_proxy(tmp_path / "proxy.log", port, "--user", "ada:other") as proxy:
            fetcher = Fetcher(Proxies.of_environment({"HTTPS_PROXY": proxy.url(USER)}), tmp_path / "ca.crt")
            with pytest.raises(FetchFailed, match=r"^proxy$"):
                await fetcher.fetch("https://issuer.test/keys", 5.0)


async def test_a_request_that_the_proxy_refuses_is_told_from_the_servers_answer(tmp_path: Path) -> None:
    """407 is the proxy's word."""
    async with serving([]) as port:
        with running_proxy(tmp_path / "proxy.log", port, "--user", "ada:other") as proxy:
            fetcher = Fetcher(Proxies.of_environment({"HTTP_PROXY": proxy.url(USER)}))
            with pytest.raises(FetchFailed, match=r"^proxy$"):
                await fetcher.fetch("http://issuer.test/keys", 5.0)


async def test_an_authority_that_is_not_named_is_not_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    """Whatever is between."""
    async with serving([], tls_of(authority)) as port:
        with running_proxy(tmp_path / "proxy.log", port) as proxy:
            fetcher = Fetcher(Proxies.of_environment({"HTTPS_PROXY": proxy.url()}))
            with pytest.raises(FetchFailed, match=r"^tls$"):
                await fetcher.fetch("https://issuer.test/keys", 5.0)


def test_a_file_without_an_authority_is_told_at_the_start(tmp_path: Path) -> None:
    """Not when the first token comes."""
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(TlsFilesUnusable, match=r"ca\.crt: it has no certificate"):
        Fetcher(ca_file=tmp_path / "ca.crt")
