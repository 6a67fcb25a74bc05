"""Refusals to one address have a pace; all other addresses, and whoever is known, notice nothing of it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.http.stranger_pace import MAX_DELAY_SECONDS, StrangerPace
from kit.front_door.lone_edge import running_lone_edge


def test_a_burst_is_free_and_what_follows_has_a_pace() -> None:
    """A scanner waits for its answers, and never for long."""
    pace, began = StrangerPace(), time.monotonic()
    delays = [pace.delay("10.0.0.1") for _ in range(1000)]
    lasted = time.monotonic() - began

    assert {0.0} == set(delays[:200])
    assert delays[-1] <= MAX_DELAY_SECONDS
    assert delays[300] > 1.0 - lasted - 0.1
    assert 0.0 == pace.delay("10.0.0.2")


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    """Those beyond it share one pace."""
    pace = StrangerPace()
    for number in range(10_000):
        pace._due[str(number)] = time.monotonic() + 60
    delays = [pace.delay(f"new {number}") for number in range(400)]

    assert 0.0 == delays[0]
    assert delays[-1] > 0
    assert len(pace._due) <= 10_001


@pytest.mark.integration
def test_a_flood_of_nothing_gets_no_more_answers_than_its_pace_allows(tmp_path: Path) -> None:
    """Whatever it costs to send: the edge answers what it likes, and others at once."""
    answered = [0] * 30
    stop = threading.Event()

    def flood(number: int, connection: socket.socket) -> None:
        while not stop.is_set():
            try:
                connection.sendall(b"GET /wp-login.php HTTP/1.1\r\nhost: x\r\n\r\n")
                answered[number] += connection.recv(65_536).startswith(b"HTTP/1.1 404")
            except OSError:
                return

    with running_lone_edge(tmp_path) as edge, ExitStack() as connections:
        address = ("127.0.0.1", int(edge.url.rpartition(":")[2]))
        sockets = [
            connections.enter_context(socket.create_connection(address, timeout=30, source_address=("127.0.0.2", 0)))
            for _ in answered
        ]
        threads = [threading.Thread(target=flood, args=each) for each in enumerate(sockets)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        others = []
        while time.monotonic() - began < 4:
            asked = time.monotonic()
            assert 401 == edge.status_of("sk-spillway-0-0")
            others.append(time.monotonic() - asked)
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        lasted = time.monotonic() - began

    assert 200 <= sum(answered) <= 200 + 100 * lasted + len(sockets)
    assert sorted(others)[len(others) // 2] < MAX_DELAY_SECONDS / 2
