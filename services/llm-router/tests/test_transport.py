"""The HTTP transport to providers, over real sockets and on the event loop of production."""

from __future__ import annotations

import asyncio
import inspect
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import trustme
import uvloop

from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import RequestForm
from llm_router.providers.http.metronome import Metronome
from llm_router.providers.http.reply import Reply
from llm_router.providers.http.transport import WAS_KEPT, KeptConnectionLost, Network, reply_of

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
FRAME_SECONDS = 0.02
CONNECT_SECONDS = 5.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the event loop of the service; give it the `client` and the `network` that it asks for."""
    signature = inspect.signature(test)
    own = {"client", "network"} & set(signature.parameters)

    async def run(given: dict[str, Any]) -> None:
        network = Network(FRAME_SECONDS)
        client = ProviderHttpClient(network, CONNECT_SECONDS)
        made = {"client": client, "network": network}
        try:
            await test(**given, **{name: made[name] for name in own})
        finally:
            await client.aclose()

    def test_on_uvloop(**given: Any) -> None:
        uvloop.run(run(given))

    test_on_uvloop.__doc__ = test.__doc__
    others = [parameter for name, parameter in signature.parameters.items() if name not in own]
    test_on_uvloop.__signature__ = signature.replace(parameters=others, return_annotation=None)  # type: ignore[attr-defined]
    return test_on_uvloop


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port; yield the address."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    finally:
        server.close()


def script(*pieces: bytes, resets: bool = False) -> Serve:
    """Read a request and write these pieces, each by itself; then close or reset the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)
        if resets:
            reset(writer)

    return serve


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off as a process does that was killed."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def asked(reader: asyncio.StreamReader) -> bytes:
    """Read the head of a request and its body; return the body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)


async def ask(client: ProviderHttpClient, url: str, content: bytes = b"{}") -> httpx2.Response:
    """Send a request; the body of its response is still to come."""
    return await client.post(RequestForm(httpx2.URL(url), ()), content)


async def read_whole(client: ProviderHttpClient, url: str) -> bytes:
    """Ask and read to the end."""
    body, error = await body_of(await ask(client, url))
    if error is not None:
        raise error
    return body


async def body_of(response: httpx2.Response) -> tuple[bytes, httpx2.HTTPError | None]:
    """Read a body to its end; return what came, and why it broke off if it did."""
    body = b""
    try:
        async with asyncio.timeout(20):
            while (data := await reply_of(response).take()) is not None:
                body += data
    except httpx2.HTTPError as error:
        return body, error
    finally:
        await response.aclose()
    return body, None


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([WHOLE], b"hello"),
        ([WHOLE[i : i + 1] for i in range(len(WHOLE))], b"hello"),
        ([CHUNKED, b"5\r\nhel", b"lo\r\n", b"0\r\n\r\n"], b"hello"),
        ([CHUNKED + b"5;ext=1\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"], b"hello"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + WHOLE], b"hello"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"hel", b"lo"], b"hello"),  # it ends with the connection
        ([b"HTTP/1.0 200 OK\r\n\r\nhello"], b"hello"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], b""),
    ],
)
@on_uvloop
async def test_replies_are_read_however_they_are_framed(
    client: ProviderHttpClient, pieces: list[bytes], body: bytes
) -> None:
    """Lengths, chunks, trailers, provisional heads, and bodies that end with their connection."""
    async with serving(script(*pieces)) as url:
        response = await ask(client, url)

        assert (200, (body, None)) == (response.status_code, await body_of(response))
        assert "link" not in response.headers


_CUT_OFF = [
    [CHUNKED, b"5\r\nhello\r\n"],
    [CHUNKED, b"5\r\nhello\r\nno number\r\n"],
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"hello"],
]
_COMPLETE_WHEN_CLOSED = [b"HTTP/1.1 200 OK\r\n\r\n", b"hello"]


@pytest.mark.parametrize(
    ("pieces", "resets"),
    [*((pieces, resets) for pieces in _CUT_OFF for resets in (False, True)), (_COMPLETE_WHEN_CLOSED, True)],
)
@pytest.mark.parametrize("paced", [False, True])
@on_uvloop
async def test_words_before_a_break_are_given_first(
    client: ProviderHttpClient, pieces: list[bytes], *, resets: bool, paced: bool
) -> None:
    """The end is no end, whatever broke the connection off."""
    async with serving(script(*pieces, resets=resets)) as url:
        response = await ask(client, url)
        if paced:
            reply_of(response).gather()
        body, error = await body_of(response)

    assert b"hello" == body
    assert isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n"],
        [],
    ],
)
@on_uvloop
async def test_what_is_no_reply_is_an_error(client: ProviderHttpClient, pieces: list[bytes]) -> None:
    """Also where nothing is answered at all."""
    async with serving(script(*pieces)) as url:
        with pytest.raises(httpx2.HTTPError):
            await ask(client, url)


@on_uvloop
async def test_a_connection_serves_again(client: ProviderHttpClient) -> None:
    """When the body was read to its end, and as soon as it has come."""
    ports = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asked(reader)
            ports.append(writer.get_extra_info("peername")[1])
            writer.write(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")

    async with serving(serve) as url:
        for _ in range(3):
            assert (b"hello", None) == await body_of(await ask(client, url))
        first = await ask(client, url)
        await asyncio.sleep(0.05)
        second = await ask(client, url)  # the first body has come, and waits

        assert [(b"hello", None)] * 2 == [await body_of(first), await body_of(second)]
    assert [ports[0]] * 5 == ports


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", b""),
        (WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
        (WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b""),
    ],
)
@on_uvloop
async def test_a_connection_that_says_more_than_it_was_asked_does_not(
    client: ProviderHttpClient, first: bytes, later: bytes
) -> None:
    """Or one that wants to be closed: the next request would get somebody else's answer."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await asked(reader)
        writer.write(first)
        if later:
            await asyncio.sleep(0.02)
            writer.write(later)
        await reader.read()

    async with serving(serve) as url:
        assert (b"hello", None) == await body_of(await ask(client, url))
        await asyncio.sleep(0.1)
        assert (b"hello", None) == await body_of(await ask(client, url))
    assert 2 == connections


@on_uvloop
async def test_an_idle_connection_that_was_closed_is_not_asked(client: ProviderHttpClient) -> None:
    """The next request has a new one."""
    async with serving(script(WHOLE)) as url:
        for _ in range(3):
            assert (b"hello", None) == await body_of(await ask(client, url))
            await asyncio.sleep(0.05)


FAILING = b"HTTP/1.1 %d No\r\nContent-Length: 5\r\n\r\nsorry"


def one_good_answer(connections: list[int], then: bytes) -> Serve:
    """Answer the first request of each connection well and others with `then`, or break it off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        while True:
            await asked(reader)
            connections[number] += 1
            if connections[number] == 1:
                writer.write(WHOLE)
            elif then:
                writer.write(then)
            else:
                reset(writer)

    return serve


@pytest.mark.parametrize("status", [500, 502, 503])
@on_uvloop
async def test_a_failure_on_a_kept_connection_is_marked(client: ProviderHttpClient, status: int) -> None:
    """Its server may be shutting down: neither it nor any other idle connection is used again."""
    connections: list[int] = []
    async with serving(one_good_answer(connections, FAILING % status)) as url:
        both = await asyncio.gather(ask(client, url), ask(client, url))
        assert [(b"hello", None)] * 2 == [await body_of(each) for each in both]
        failed = await ask(client, url)
        again = await ask(client, url)
        assert (b"hello", None) == await body_of(again)

    assert (status, True) == (failed.status_code, failed.extensions[WAS_KEPT])
    assert (200, False) == (again.status_code, again.extensions[WAS_KEPT])
    assert [1, 1, 2] == sorted(connections)


@on_uvloop
async def test_a_connection_on_which_a_server_failed_is_not_kept(client: ProviderHttpClient) -> None:
    """Whoever tries again gets another one, and maybe another server."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await asked(reader)
            writer.write(FAILING % 529)

    async with serving(serve) as url:
        assert [529] * 3 == [(await ask(client, url)).status_code for _ in range(3)]
    assert 3 == connections


@on_uvloop
async def test_a_kept_connection_that_breaks_is_told_from_a_new_one(client: ProviderHttpClient) -> None:
    """Whoever asks again gets another."""
    connections: list[int] = []
    async with serving(one_good_answer(connections, b"")) as url:
        assert (b"hello", None) == await body_of(await ask(client, url))
        with pytest.raises(KeptConnectionLost):
            await ask(client, url)
        assert (b"hello", None) == await body_of(await ask(client, url))
    assert [2, 1] == connections


@on_uvloop
async def test_other_refusals_leave_a_connection_in_use(client: ProviderHttpClient) -> None:
    """They are about the request or the account: another server would say the same."""
    connections: list[int] = []
    async with serving(one_good_answer(connections, FAILING % 429)) as url:
        assert (b"hello", None) == await body_of(await ask(client, url))
        assert [429, 429] == [(await ask(client, url)).status_code for _ in range(2)]
    assert [3] == connections


@on_uvloop
async def test_idle_connections_are_closed(client: ProviderHttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seconds later."""
    monkeypatch.setattr("llm_router.providers.http.transport._IDLE_SECONDS", 0.1)
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(WHOLE)
        await reader.read()
        closed.set()

    async with serving(serve) as url:
        assert (b"hello", None) == await body_of(await ask(client, url))
        async with asyncio.timeout(10):
            await closed.wait()


@on_uvloop
async def test_a_refusal_that_comes_before_the_body_was_sent_is_read(client: ProviderHttpClient) -> None:
    """Its sender reads no further and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long")
        await writer.drain()

    async with serving(serve) as url:
        response = await ask(client, url, content=b"x" * 8 * MEGABYTE)

    assert (413, "too long") == (response.status_code, response.text)


@on_uvloop
async def test_a_long_body_arrives_whole(client: ProviderHttpClient) -> None:
    """Though its reader is slow."""
    bodies = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        bodies.append(await asked(reader))
        writer.write(WHOLE)

    sent = random.Random(1).randbytes(8 * MEGABYTE)
    async with serving(serve) as url:
        assert (b"hello", None) == await body_of(await ask(client, url, content=sent))
    assert [sent] == bodies


@on_uvloop
async def test_a_reader_that_does_not_come_stops_the_sender(client: ProviderHttpClient) -> None:
    """And a reset while nothing is read is seen once reading goes on."""
    sent = 0
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await asked(reader)
        writer.write(CHUNKED)
        try:
            async with asyncio.timeout(1):
                while True:
                    writer.write(piece)
                    await writer.drain()
                    sent += 0x10000
        except TimeoutError:
            reset(writer)

    async with serving(serve) as url:
        response = await ask(client, url)
        await asyncio.sleep(1.5)
        assert sent < 16 * MEGABYTE
        body, error = await body_of(response)

    assert 0x10000 <= len(body) < 16 * MEGABYTE
    assert isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError)


@on_uvloop
async def test_a_deadline_ends_the_waiting_and_nothing_else(client: ProviderHttpClient) -> None:
    """What comes later can still be taken; the newest deadline holds, whether it is earlier or later."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(CHUNKED)
        for word in (b"one", b"two"):
            await asyncio.sleep(0.4)
            writer.write(b"3\r\n" + word + b"\r\n")
        await reader.read()

    async with serving(serve) as url:
        reply = reply_of(await ask(client, url))
        now = asyncio.get_running_loop().time
        with pytest.raises(TimeoutError):
            await reply.take(now() + 0.05)
        assert b"one" == await reply.take(now() + 0.6)
        assert b"two" == await reply.take(now() + 30)  # the first of these timers ends meanwhile
        began = now()
        with pytest.raises(TimeoutError):
            await reply.take(now() + 0.05)
        assert now() - began < 10
        await reply.aclose()


@on_uvloop
async def test_who_gives_up_closes_the_connection(client: ProviderHttpClient) -> None:
    """While the head is awaited, and in the middle of the body."""
    gone = asyncio.Queue[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await asked(reader)
        if body == b"body":
            writer.write(CHUNKED + b"5\r\nhello\r\n")
        await reader.read()
        gone.put_nowait(body.decode())

    async with serving(serve) as url:
        waiting = asyncio.create_task(ask(client, url, b"head"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        async with asyncio.timeout(10):
            assert "head" == await gone.get()

        response = await ask(client, url, b"body")
        reading = asyncio.create_task(body_of(response))
        await asyncio.sleep(0.1)
        reading.cancel()
        async with asyncio.timeout(10):
            assert "body" == await gone.get()


@pytest.mark.parametrize("streams", [1, 2, 3, 40])
@on_uvloop
async def test_no_stream_misses_its_frame(client: ProviderHttpClient, network: Network, streams: int) -> None:
    """However the pieces fall between the frames, all of each stream comes, and few reads take it."""
    rng = random.Random(streams)
    pieces = 60
    reads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(CHUNKED)
        for number in range(pieces):
            writer.write(b"3\r\n%03d\r\n" % number)
            await asyncio.sleep(rng.choice((0, 0.001, 0.005, FRAME_SECONDS, 0.03)))
        writer.write(b"0\r\n\r\n")

    async def read(reply: Reply) -> bytes:
        reply.gather()
        body, count = b"", 0
        while (data := await reply.take(asyncio.get_running_loop().time() + 10)) is not None:
            body, count = body + data, count + 1
            if rng.random() < 0.1:
                await asyncio.sleep(rng.choice((0.001, 0.025)))
        reads.append(count)
        await reply.aclose()
        return body

    async with serving(serve) as url:
        replies = [reply_of(await ask(client, url)) for _ in range(streams)]
        bodies = await asyncio.gather(*map(read, replies))

    assert {b"".join(b"%03d" % number for number in range(pieces))} == set(bodies)
    assert max(reads) < pieces
    assert 0 == network.metronome.streams


@on_uvloop
async def test_frames_grow_with_the_number_of_streams() -> None:
    """Forty streams are read a third as often as three would be."""
    metronome = Metronome(FRAME_SECONDS)
    metronome.streams = 40
    loop = asyncio.get_running_loop()
    end = loop.time() + 30 * FRAME_SECONDS
    turns = 0
    while loop.time() < end:
        turn = asyncio.Event()
        metronome.call(turn.set, loop.time())
        await turn.wait()
        turns += 1

    assert 1 < turns <= 11


@on_uvloop
async def test_a_stream_whose_reader_was_cancelled_between_frames_goes_on(
    client: ProviderHttpClient, network: Network
) -> None:
    """Its call at the next frame finds nobody, and the one who comes next waits for another."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(CHUNKED)
        for _ in range(50):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    async with serving(serve) as url:
        replies = [reply_of(await ask(client, url)) for _ in range(4)]
        for reply in replies:
            reply.gather()
        body = b""
        while True:
            reading = asyncio.create_task(replies[0].take())
            done, _ = await asyncio.wait((reading,), timeout=0.007)
            if not done:
                reading.cancel()
                await asyncio.wait((reading,))
                if reading.cancelled():
                    continue
            if (data := reading.result()) is None:
                break
            body += data
        for reply in replies:
            await reply.aclose()

    assert b"x" * 50 == body


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b"])
@on_uvloop
async def test_no_header_begins_a_line_of_its_own(client: ProviderHttpClient, value: str) -> None:
    """Nothing is sent."""
    form = RequestForm(httpx2.URL("http://127.0.0.1:9/"), ())
    with pytest.raises(httpx2.LocalProtocolError):
        await client.post(form, b"", [(b"x", value.encode())])


@on_uvloop
async def test_no_connection_is_an_error(client: ProviderHttpClient) -> None:
    """A closed port, and a name that nobody has."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(httpx2.ConnectError):
            await ask(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    with pytest.raises(httpx2.ConnectError):
        await ask(client, "http://nobody.invalid/")


@on_uvloop
async def test_a_name_with_several_addresses_is_reached(client: ProviderHttpClient) -> None:
    """One that nobody listens at, as IPv6 often is, does not keep from the other."""
    async with serving(script(WHOLE)) as url:
        response = await ask(client, url.replace("127.0.0.1", "localhost"))

        assert (b"hello", None) == await body_of(response)


@pytest.mark.parametrize("trusts", [True, False])
@on_uvloop
async def test_encrypted_connections_are_verified(
    client: ProviderHttpClient, network: Network, *, trusts: bool
) -> None:
    """Their certificate has to be that of an authority that is trusted."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    if trusts:
        authority.configure_trust(network.ssl_context)
    async with serving(script(CHUNKED, b"5\r\nhel", b"lo\r\n0\r\n\r\n"), server) as url:
        if trusts:
            assert (b"hello", None) == await body_of(await ask(client, url))
        else:
            with pytest.raises(httpx2.ConnectError):
                await ask(client, url)


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-header: 1\r\n" * 500),
        (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 8192),
        (b"", b"HTTP/1.1 103 Early\r\n\r\n" * 500),
        (CHUNKED + b"5;", b"x" * 8192),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"x-trailer: 1\r\n" * 500),
    ],
)
@on_uvloop
async def test_what_is_no_body_has_an_end(client: ProviderHttpClient, head: bytes, endless: bytes) -> None:
    """Heads, and what stands between and behind the pieces of a body."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await asked(reader)
        writer.write(head)
        while sent < 64 * MEGABYTE:
            writer.write(endless)
            await writer.drain()
            sent += len(endless)

    async with serving(serve) as url:
        with pytest.raises(httpx2.RemoteProtocolError):
            await read_whole(client, url)
    assert sent < 16 * MEGABYTE
