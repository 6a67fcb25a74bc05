"""What one connection without a key can take: nothing to speak of, whatever it sends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .server_process import MEGABYTE, ServerProcess, get, parse, post, running_server

pytestmark = pytest.mark.integration  # they start a server

CHUNKED = b"POST /echo HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n"
MANY_HEADERS = b"".join(b"x-%d: y\r\n" % number for number in range(6000))
HEAD = b"GET / HTTP/1.1\r\nhost: edge\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Yield a server with the limits as they are."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        for size in (10, 100_000):  # what it needs once
            with server.client() as client:
                client.send(post("/", b"x" * size))
                client.answer()
        yield server


ENDLESS = {
    "request line": (b"GET /", b"a" * 65536),
    "one header": (HEAD + b"x: ", b"a" * 65536),
    "name of a header": (HEAD, b"a" * 65536),
    "many headers": (HEAD, MANY_HEADERS),
    "size of a chunk": (CHUNKED, b"0" * 65536),
    "chunk extension": (CHUNKED + b"1;", b"a" * 65536),
    "chunk extensions": (CHUNKED, b"1;" + b"a" * 1000 + b"\r\nx\r\n"),
    "one trailer": (CHUNKED + b"1\r\nx\r\n0\r\nx: ", b"a" * 65536),
    "many trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", MANY_HEADERS),
}


@pytest.mark.parametrize(("begins", "goes_on"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_does_not_end_is_refused_and_takes_no_memory(server: ServerProcess, begins: bytes, goes_on: bytes) -> None:
    """30 MB of it: 431 in the usual shape, the connection ends, and the process is no larger than before."""
    before = server.rss
    refused = server.counted("edge_bad_requests_total", reason="too_large")
    with server.client() as client:
        client.send(begins)
        for _ in range(30 * MEGABYTE // len(goes_on)):
            client.send(goes_on)
        answer = parse(client.rest())
        after = server.rss

    assert 431 == answer.status
    assert "close" == answer.headers["connection"]
    assert answer.headers["x-request-id"]
    assert ("headers_too_large", False) == (answer.json["error"]["code"], answer.json["error"]["retryable"])
    assert after - before < 5 * MEGABYTE
    assert refused + 1 == server.counted("edge_bad_requests_total", reason="too_large")


def test_who_writes_on_can_read_why_it_was_refused(server: ServerProcess) -> None:
    """Closed at once, the connection would be reset by what comes, and many systems drop the answer then."""
    assert any(_can_write_on(server) for _ in range(5))  # it has two seconds: a busy machine may need more


def _can_write_on(server: ServerProcess) -> bool:
    with server.client() as client:
        client.send(HEAD + MANY_HEADERS * 3)
        assert 431 == client.answer().status
        try:
            for _ in range(3):
                client.connection.sendall(MANY_HEADERS)
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return b"" == client.connection.recv(1)


def test_who_writes_on_for_long_is_cut_off(server: ServerProcess) -> None:
    """After a megabyte."""
    with server.client() as client:
        client.send(HEAD + MANY_HEADERS * 3)
        client.until(b"\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.connection.sendall(MANY_HEADERS * 500)


LARGE = {
    "request line": get("/" + "a" * 8200),
    "headers": get("/", *(f"x-{number}: {'y' * 1000}" for number in range(70))),
    "number of headers": get("/", *(f"x-{number}: y" for number in range(130))),
    "trailers": CHUNKED + b"0\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"y" * 100) for n in range(100)) + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", LARGE.values(), ids=LARGE.keys())
def test_a_whole_request_beyond_a_limit_is_refused(server: ServerProcess, request_bytes: bytes) -> None:
    """Though it ends, and comes in one piece."""
    assert 431 == parse(server.ask(request_bytes)).status


def test_large_requests_within_the_limits_are_served(server: ServerProcess) -> None:
    """URLs of 8,000 and headers of 60,000 bytes, a hundred of them."""
    headers = [f"x-{number}: {'y' * 580}" for number in range(100)]
    with server.client() as client:
        client.send(get("/" + "a" * 8000, *headers))
        answer = client.answer()

    assert (200, 101) == (answer.status, len(answer.json["headers"]))


def test_pipelined_requests_are_not_read_ahead(server: ServerProcess) -> None:
    """30 MB of small requests wait in the client's own buffers until their turn comes."""
    before, sent = server.rss, 0
    burst = get("/slow?seconds=60") * 1000
    with server.client() as client:
        client.connection.settimeout(2)
        try:
            while sent < 30 * MEGABYTE:
                sent += client.connection.send(burst[sent % len(burst) :])
        except TimeoutError:
            pass
        after = server.rss

    assert sent < 30 * MEGABYTE
    assert after - before < 3 * MEGABYTE


def test_what_many_connections_send_ahead_takes_little_memory(server: ServerProcess) -> None:
    """Of each a portion is read, however much its system has received already."""
    burst = get("/slow?seconds=60") * 20_000
    before = server.rss
    with ExitStack() as stack:
        for client in [stack.enter_context(server.client()) for _ in range(100)]:
            client.connection.setblocking(False)
            client.connection.send(burst)
        time.sleep(0.5)
        for _ in range(100):
            server.counted("edge_open_connections")
        after = server.rss

    assert (after - before) / 100 < 160 * 1024


def test_pipelined_requests_are_answered_in_order_with_their_bodies(server: ServerProcess) -> None:
    """A thousand, of all kinds, written in one go."""
    requests, expected = b"", []
    for number in range(1000):
        body = b"%d" % number * (number % 50)
        kinds = [get(f"/{number}"), post(f"/{number}", body), _in_chunks(f"/{number}", body)]
        requests += kinds[number % 3]
        expected.append((f"/{number}", len(body) if number % 3 else 0))
    with server.client() as client:
        client.send(requests)
        answers = [client.answer().json for _ in range(1000)]

    assert expected == [(answer["path"], answer["length"]) for answer in answers]


def _in_chunks(path: str, body: bytes) -> bytes:
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"POST {path} HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


def test_a_large_body_is_passed_on_whole_in_either_form(server: ServerProcess) -> None:
    """32 MB with a length, 8 MB in chunks of all sizes."""
    with server.client() as client:
        client.send(post("/", b"x" * 32 * MEGABYTE))
        assert 32 * MEGABYTE == client.answer().json["length"]
        client.send(CHUNKED + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"8\r\nxxxxxxxx\r\n" * 1000)
        client.send((b"80000\r\n" + b"x" * 0x80000 + b"\r\n") * 16 + b"0\r\nsum: 1\r\n\r\n")
        answer = client.answer()

    assert 65536 + 8000 + 8 * MEGABYTE == answer.json["length"]
    assert ["host", "transfer-encoding"] == [name for name, _ in answer.json["headers"]]


def test_a_body_that_is_not_wanted_is_dropped_and_the_connection_stays(server: ServerProcess) -> None:
    """The answer comes before the body has; a client that writes on is not cut off."""
    before = server.rss
    with server.client() as client:
        client.send(post("/unread", b"x" * 20 * MEGABYTE) + get("/next"))
        assert 401 == client.answer().status
        assert "/next" == client.answer().json["path"]

    assert server.rss - before < 5 * MEGABYTE


def test_a_client_that_asks_before_it_sends_its_body_is_told(server: ServerProcess) -> None:
    """To go on; or no, and then the connection ends, as its body may come or not."""
    head = b"POST /echo HTTP/1.1\r\nhost: edge\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    with server.client() as client:
        client.send(head)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == client.until(b"\r\n\r\n")
        client.send(b"body" + get("/next"))
        assert "body" == client.answer().json["body"]
        assert "/next" == client.answer().json["path"]
    with server.client() as client:
        client.send(head.replace(b"/echo", b"/unread"))
        assert 401 == client.answer().status
        client.connection.settimeout(30)  # before it would end as a body that stalls
        assert b"" == client.rest()


def test_a_body_that_nobody_wants_does_not_go_on_for_ever(server: ServerProcess) -> None:
    """After 64 MB the connection ends."""
    with server.client() as client:
        client.send(CHUNKED.replace(b"/echo", b"/unread"))
        client.until(b"no")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.connection.sendall((b"100000\r\n" + b"x" * MEGABYTE + b"\r\n") * 100)
