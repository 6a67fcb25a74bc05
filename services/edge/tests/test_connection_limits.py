"""How many connections there may be; and that a process that can open no more files goes on."""

from __future__ import annotations

import resource
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.http.connection.connections import group_of
from edge.http.server import max_connections, open_listeners

from .server_process import RawClient, ServerProcess, get, parse, running_server


def connect(server: ServerProcess, stack: ExitStack, count: int) -> list[RawClient]:
    """Open connections and use each."""
    clients = [stack.enter_context(server.client()) for _ in range(count)]
    for client in clients:
        client.send(get("/"))
        assert 200 == client.answer().status
    return clients


@pytest.mark.integration
@pytest.mark.parametrize(
    ("reason", "limits"),
    [("address", {"max_connections_per_address": 20}), ("total", {"max_connections": 20})],
    ids=["address", "total"],
)
def test_connections_beyond_the_limit_are_refused_at_once(tmp_path: Path, reason: str, limits: dict[str, int]) -> None:
    """With 503 and when to come again, counted; those that there are stay, and a place that becomes free is given."""
    with running_server(tmp_path, **limits) as server, ExitStack() as stack:
        clients = connect(server, stack, 20)
        for _ in range(5):
            answer = parse(server.ask(get("/")))
            assert (503, "1", "close") == (
                answer.status,
                answer.headers["retry-after"],
                answer.headers["connection"],
            )
            assert "too_many_connections" == answer.json["error"]["code"]
        for client in clients:
            client.send(get("/"))
            assert 200 == client.answer().status
        clients[0].send(get("/counted?name=edge_connections_refused_total&labels=" + f'{{"reason":"{reason}"}}'))
        assert b"5.0" == clients[0].answer().body
        clients[0].send(get("/counted?name=edge_open_connections&labels={}"))
        assert b"20.0" == clients[0].answer().body
        clients[1].connection.close()
        server.wait_until("edge_open_connections", 20.0)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine")
def test_the_first_connection_of_an_address_is_taken_when_the_server_is_full(tmp_path: Path) -> None:
    """Or the kubelet would get no answer, and end a process that only has many clients; a second one has no place."""
    with running_server(tmp_path, max_connections=5) as server, ExitStack() as stack:
        connect(server, stack, 5)
        assert 503 == parse(server.ask(get("/"))).status
        with server.client(address="127.0.0.2") as probe, server.client(address="127.0.0.2") as second:
            probe.send(get("/"))
            assert 200 == probe.answer().status
            assert 503 == parse(second.rest()).status


@pytest.mark.integration
def test_connections_that_have_been_idle_for_long_make_room(tmp_path: Path) -> None:
    """Whoever was refused meanwhile finds a place when it comes again; nobody is closed before."""
    with running_server(tmp_path, max_connections=3) as server, ExitStack() as stack:
        connect(server, stack, 3)
        deadline, refused_at = time.monotonic() + 60, []
        while (status := parse(server.ask(get("/", "connection: close"))).status) != 200:
            assert 503 == status
            refused_at.append(time.monotonic())
            assert time.monotonic() < deadline
            time.sleep(0.5)

    assert refused_at[-1] - refused_at[0] > 5


@pytest.mark.integration
def test_who_does_not_read_why_it_is_refused_is_cut(tmp_path: Path) -> None:
    """Refused connections that stay take no place for long, and there are not many of them."""
    with running_server(tmp_path, max_connections=2) as server, ExitStack() as stack:
        (client, *_) = connect(server, stack, 2)
        before = server.open_files
        for refused in [stack.enter_context(server.client()) for _ in range(300)]:
            refused.until_anything()
        assert server.open_files < before + 200
        client.send(get("/"))

        assert 200 == client.answer().status


@pytest.mark.integration
def test_a_process_without_free_files_neither_spins_nor_stops_serving(tmp_path: Path) -> None:
    """Its limit of connections is above that of files here; as it is set, it is never reached."""
    with running_server(tmp_path, open_files=64) as server, ExitStack() as stack:
        (client,) = connect(server, stack, 1)
        others = [stack.enter_context(server.client()) for _ in range(100)]
        before = server.cpu_seconds
        time.sleep(2)
        assert server.cpu_seconds - before < 1
        client.send(get("/"))
        assert 200 == client.answer().status
        for other in others:
            other.connection.close()
        deadline = time.monotonic() + 60
        while b"200 OK" not in server.ask(get("/", "connection: close")):
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "20010db800000001::/64"),
        ("2001:db8:0:1:ffff::2%eth0", "20010db800000001::/64"),
        ("::1", "0::/64"),
    ],
)
def test_addresses_of_one_customer_are_counted_as_one(host: str, expected: str) -> None:
    """Whoever has an IPv6 address has 2^64 of them."""
    assert expected == group_of(host)


def test_a_connection_has_small_buffers_in_the_kernel() -> None:
    """Which would keep 4 MB of an answer that is not read, and 6 MB of requests."""
    (opened,) = open_listeners("127.0.0.1", 0, 60.0)
    with opened as listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 256 * 1024
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 512 * 1024
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.sendall(b"x" * 16 * 1024 * 1024)
        assert client


def test_connections_leave_files_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may open few gives half of them to its clients at most."""
    for files, expected in ((100_000, 4096), (4096, 3840), (1024, 768), (100, 50), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert expected == max_connections(4096)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not say when bytes came")
def test_the_time_that_a_request_has_waited_in_the_kernel_counts(tmp_path: Path) -> None:
    """On a new connection and on one that was used; a connection's idle time is none of it."""
    with running_server(tmp_path) as server, server.client() as used:
        used.send(get("/"))
        assert used.answer().json["waited_seconds"] < 0.6
        with server.client() as new:
            with server.stopped():
                used.send(get("/"))
                new.send(get("/"))
                time.sleep(0.7)
            waited = [client.answer().json["waited_seconds"] for client in (used, new)]
            assert all(seconds > 0.6 for seconds in waited), waited
            used.send(get("/"))
            assert used.answer().json["waited_seconds"] < 0.6


@pytest.mark.integration
def test_a_connection_that_is_over_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    """After its answer, in the middle of one, and refused: a circle would keep tens of kilobytes for minutes."""
    with running_server(tmp_path) as server, ExitStack() as stack:
        watch = stack.enter_context(server.client())
        for _ in range(2):
            watch.send(get("/connections"))
            before = int(watch.answer().body)
        for number in range(30):
            with server.client() as client:
                client.send((get("/"), get("/stream?pieces=500&seconds=0.01"), b"nonsense\r\n\r\n")[number % 3])
                client.until_anything()
        server.wait_until("edge_open_connections", lambda count: count <= 2)
        deadline = time.monotonic() + 60
        while True:
            watch.send(get("/connections"))
            if (left := int(watch.answer().body)) <= before:
                break
            assert time.monotonic() < deadline, f"{left - before} of 30 connections are still in memory"
            time.sleep(0.2)
