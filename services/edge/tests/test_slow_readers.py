"""A client that reads slowly is bounded in bytes and in time."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from .server_process import MEGABYTE, ServerProcess, get, running_server

pytestmark = pytest.mark.integration  # they start a server

FLOOD = "/stream?pieces=2000&seconds=0&bytes=10000"


def gone(server: ServerProcess) -> int:
    """Return how many clients the application has found gone."""
    with server.client() as client:
        client.send(get("/gone"))
        return int(client.answer().body)


@pytest.mark.parametrize("reads_at_a_time", [0, 1, 200], ids=["nothing", "10 bytes a second", "2 kB a second"])
def test_a_stream_that_is_not_taken_ends_as_if_its_client_were_gone(tmp_path: Path, reads_at_a_time: int) -> None:
    """Also when something is read now and then: a kernel that gets signs of life would wait for ever."""
    with running_server(tmp_path, stall_timeout_seconds=2.0) as server, server.client(receive_buffer=4096) as client:
        client.send(get(FLOOD))
        stopped = time.monotonic()
        while not gone(server):
            assert time.monotonic() - stopped < 60
            if reads_at_a_time:
                client.connection.recv(reads_at_a_time)
            time.sleep(0.1)
        assert 1 == server.counted("edge_slow_clients_total", reason="stalled")
        server.wait_until("edge_open_connections", 1.0)  # that of the question


def test_a_whole_answer_that_is_not_taken_ends(tmp_path: Path) -> None:
    """The application is done with it long before."""
    with running_server(tmp_path, stall_timeout_seconds=2.0) as server, server.client(receive_buffer=4096) as client:
        client.send(get(f"/large?bytes={16 * MEGABYTE}"))
        client.connection.recv(1)
        server.wait_until("edge_open_connections", 1.0)


def test_a_slow_but_steady_reader_gets_everything(tmp_path: Path) -> None:
    """For many times as long as a stall may last."""
    with running_server(tmp_path, stall_timeout_seconds=1.0) as server, server.client(receive_buffer=16384) as client:
        client.send(get(f"/large?bytes={MEGABYTE}", "connection: close"))
        received = 0
        while data := client.connection.recv(16384):
            received += len(data)
            time.sleep(0.1)

    assert received > MEGABYTE


@pytest.mark.nightly
def test_a_reader_below_64_kbit_a_second_ends(tmp_path: Path) -> None:
    """Though the kernel gets rid of something each time that it is looked at."""
    with running_server(tmp_path, stall_timeout_seconds=20.0) as server, server.client(receive_buffer=4096) as client:
        client.send(get(f"/large?bytes={16 * MEGABYTE}", "connection: close"))
        started = time.monotonic()
        with suppress(ConnectionResetError):
            while client.connection.recv(650):
                assert time.monotonic() - started < 200
                time.sleep(0.1)
        assert 1 == server.counted("edge_slow_clients_total", reason="stalled")


def test_what_is_kept_of_a_stream_that_is_not_read_is_bounded(tmp_path: Path) -> None:
    """In the process and in the kernel: 100 of them."""
    with running_server(tmp_path) as server, ExitStack() as stack:
        warm = stack.enter_context(server.client(receive_buffer=4096))
        warm.send(get(FLOOD))
        time.sleep(0.5)
        before = server.rss
        clients = [stack.enter_context(server.client(receive_buffer=4096)) for _ in range(100)]
        for client in clients:
            client.send(get(FLOOD))
        time.sleep(2)
        each = (server.rss - before) / 100

        assert each < 0.25 * MEGABYTE


def test_what_is_kept_of_all_whole_answers_is_bounded(tmp_path: Path) -> None:
    """Forty of 16 MB each would be more than a pod has; those that wait longest are cut."""
    with running_server(tmp_path, max_unsent_bytes=64 * MEGABYTE) as server, ExitStack() as stack:
        before = most = server.rss
        clients = [stack.enter_context(server.client(receive_buffer=4096)) for _ in range(40)]
        for client in clients:
            client.send(get(f"/large?bytes={16 * MEGABYTE}"))
            client.until_anything()
            most = max(most, server.rss)
        cut = server.wait_until("edge_slow_clients_total", lambda count: count >= 36, reason="memory")

        assert most - before < 200 * MEGABYTE
        # And that of the question; one more may be cut, as what the kernel has taken of each differs a little.
        assert cut <= 37
        server.wait_until("edge_open_connections", lambda count: count <= 4 + 1)
