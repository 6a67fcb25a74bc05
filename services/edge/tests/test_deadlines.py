"""Nobody keeps a connection by being slow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .server_process import ServerProcess, get, parse, running_server

pytestmark = pytest.mark.integration  # they start a server

HEAD = b"GET /head HTTP/1.1\r\nhost: edge\r\n"
BODY = b"POST /echo HTTP/1.1\r\nhost: edge\r\ncontent-length: 1000\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Yield a server that waits a second for everything, and longer for a whole body."""
    with running_server(
        tmp_path_factory.mktemp("server"),
        head_timeout_seconds=1.0,
        stall_timeout_seconds=1.5,
        body_timeout_seconds=4.0,
        idle_timeout_seconds=1.0,
    ) as server:
        yield server


def drip(server: ServerProcess, begins: bytes) -> bytes:
    """Write, and then a byte each tenth of a second, until the server answers; return the answer."""
    with server.client() as client:
        client.send(begins)
        client.connection.settimeout(0.1)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                client.connection.sendall(b"x")
                first = client.connection.recv(1)
            except TimeoutError:
                continue
            client.connection.settimeout(60)
            return first + client.rest()
    raise AssertionError("it may go on for ever")


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(server: ServerProcess) -> None:
    """A browser that connects in advance would take an answer for that to its next request."""
    before = server.counted("edge_bad_requests_total", reason="nothing_sent")

    assert b"" == server.ask(b"")
    assert before + 1 == server.counted("edge_bad_requests_total", reason="nothing_sent")


@pytest.mark.parametrize("begins", [HEAD[:1], HEAD[:20], HEAD + b"x: "], ids=["letter", "line", "headers"])
def test_a_head_that_does_not_end_is_answered(server: ServerProcess, begins: bytes) -> None:
    """408, whether something comes each moment or not; the connection ends."""
    before = server.counted("edge_bad_requests_total", reason="head_timeout")
    silent, slow = parse(server.ask(begins)), parse(drip(server, begins))

    assert (408, 408) == (silent.status, slow.status)
    assert ("close", "request_timeout") == (slow.headers["connection"], slow.json["error"]["code"])
    assert before + 2 == server.counted("edge_bad_requests_total", reason="head_timeout")


def test_a_second_head_has_its_time_as_well(server: ServerProcess) -> None:
    """Whether it came with the first request or behind the answer."""
    with server.client() as client:
        client.send(get("/first") + HEAD)
        assert 200 == client.answer().status
        assert 408 == parse(client.rest()).status


def test_a_body_that_stalls_is_answered(server: ServerProcess) -> None:
    """The application that waits for it learns that there is nobody."""
    before, gone = server.counted("edge_bad_requests_total", reason="body_timeout"), _gone(server)
    answer = parse(server.ask(BODY + b"some"))

    assert (408, "close") == (answer.status, answer.headers["connection"])
    error = answer.json["error"]
    assert ("request_timeout", True) == (error["code"], error["retryable"])
    assert "the rest of the body did not come" == error["message"]
    assert before + 1 == server.counted("edge_bad_requests_total", reason="body_timeout")
    assert gone + 1 == _gone(server)


def test_a_body_that_is_slow_has_its_time(server: ServerProcess) -> None:
    """It may take longer than a stall, but not for ever."""
    with server.client() as client:
        client.send(BODY)
        for _ in range(5):
            client.send(b"x" * 200)
            time.sleep(0.5)
        assert 1000 == client.answer().json["length"]

    assert 408 == parse(drip(server, BODY)).status


def test_a_body_that_nobody_wants_has_its_time(server: ServerProcess) -> None:
    """Its answer is given; the connection ends without another."""
    answer = server.ask(BODY.replace(b"/echo", b"/unread") + b"some")

    assert 1 == answer.count(b"HTTP/1.1")
    assert 401 == parse(answer).status


def test_an_idle_connection_is_closed_and_one_with_a_long_answer_is_not(server: ServerProcess) -> None:
    """Answers have their own deadline."""
    with server.client() as client:
        client.send(get("/slow?seconds=3"))
        assert b"slow" == client.answer().body
        assert b"" == client.rest()


def _gone(server: ServerProcess) -> int:
    with server.client() as client:
        client.send(get("/gone"))
        return int(client.answer().body)
