"""A client that has closed its half gets its answer; one that left is noticed, though both look the same at first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .server_process import ServerProcess, get, parse, post, running_server

pytestmark = pytest.mark.integration  # they start a server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Yield a server that gives up clients that do not read after 2 s."""
    with running_server(tmp_path_factory.mktemp("server"), stall_timeout_seconds=2.0) as server:
        yield server


def gone(server: ServerProcess) -> int:
    """Return how many clients the application has found gone."""
    with server.client() as client:
        client.send(get("/gone"))
        return int(client.answer().body)


@pytest.mark.parametrize("seconds", [0, 3])
def test_a_half_closed_client_gets_its_whole_answer(server: ServerProcess, seconds: int) -> None:
    """No byte of it is other than usual, whenever it comes."""
    with server.client() as client:
        client.send(get(f"/slow?seconds={seconds}"))
        client.end()
        raw = client.rest()
    answer = parse(raw)

    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 1 == raw.count(b"HTTP/1.1")
    assert (b"slow", "4") == (answer.body, answer.headers["content-length"])


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "while it streams"])
def test_a_half_closed_client_gets_its_whole_stream(server: ServerProcess, is_late: bool) -> None:
    """The pieces that were coming when it closed, and those behind."""
    with server.client() as client:
        client.send(get("/stream?pieces=5&seconds=0.5"))
        head = client.until(b"0 xxxxxxxxxx\n") if is_late else b""
        client.end()
        raw = head + client.rest()
    body, chunks = b"", raw.partition(b"\r\n\r\n")[2]
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        body += chunks[: int(size, 16)]
        assert b"\r\n" == chunks[int(size, 16) : int(size, 16) + 2]
        chunks = chunks[int(size, 16) + 2 :]

    assert b"".join(b"%d xxxxxxxxxx\n" % number for number in range(5)) == body


def test_a_half_closed_client_gets_all_answers(server: ServerProcess) -> None:
    """Also to what it had asked in advance."""
    with server.client() as client:
        client.send(get("/slow?seconds=0.5") + post("/echo", b"body") + get("/slow?seconds=0.5") + b"GET /unfin")
        client.end()
        answers = [client.answer() for _ in range(3)]
        assert b"" == client.rest()

    assert [b"slow", b"slow"] == [answers[0].body, answers[2].body]
    assert "body" == answers[1].json["body"]


def test_a_half_closed_client_may_send_its_body_in_many_chunks(server: ServerProcess) -> None:
    """They are not all read when its end is."""
    chunks = b"1\r\nx\r\n" * 50_000
    with server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        client.end()
        assert 50_000 == client.answer().json["length"]
        assert b"" == client.rest()


@pytest.mark.parametrize("path", ["/slow?seconds=60", "/stream?pieces=2&seconds=60"], ids=["whole", "stream"])
def test_a_client_that_left_is_noticed(server: ServerProcess, path: str) -> None:
    """Nothing is written for a minute; its system says that it is gone within seconds."""
    before = gone(server)
    with server.client() as client:
        client.send(get(path))
        time.sleep(0.3)
        client.connection.setblocking(False)
        while True:  # the beginning of a stream: unread, its connection would be reset
            try:
                client.connection.recv(65536)
            except BlockingIOError:
                break
    left = time.monotonic()
    while gone(server) == before:
        assert time.monotonic() - left < 12  # the next time that it is asked
        time.sleep(0.1)


def test_a_half_closed_client_that_leaves_later_is_noticed(server: ServerProcess) -> None:
    """It has the first letter of its answer unread."""
    before = gone(server)
    with server.client() as client:
        client.send(get("/slow?seconds=60"))
        client.end()
        time.sleep(2.5)
        assert before == gone(server)
    left = time.monotonic()
    while gone(server) == before:
        assert time.monotonic() - left < 30
        time.sleep(0.1)


def test_a_half_closed_client_that_never_reads_ends(server: ServerProcess) -> None:
    """As any client that takes nothing."""
    before = gone(server)
    with server.client(receive_buffer=4096) as client:
        client.send(get("/stream?pieces=1000&seconds=0&bytes=100000"))
        client.end()
        stopped = time.monotonic()
        while gone(server) == before:
            assert time.monotonic() - stopped < 60
            time.sleep(0.1)


def test_half_a_request_is_none(server: ServerProcess) -> None:
    """A client that closes before its request is complete can be told nothing that it waits for."""
    assert b"" == _asked_and_closed(server, b"GET / HTT")
    assert b"" == _asked_and_closed(server, b"POST / HTTP/1.1\r\nhost: edge\r\ncontent-length: 10\r\n\r\nhalf")


def _asked_and_closed(server: ServerProcess, data: bytes) -> bytes:
    with server.client() as client:
        client.send(data)
        client.end()
        return client.rest()
