"""What a kubelet and Prometheus are told over HTTP, also by a process whose event loop hangs."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from servicekit.health import Health
from servicekit.metrics import serve_metrics

_LONGEST_SECONDS = 60.0


@pytest.fixture(name="port")
def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(name="stop")
def _stop() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture(name="health")
async def _health(stop: asyncio.Event, port: int) -> AsyncIterator[Health]:
    registry = CollectorRegistry()
    Counter("turns_total", "Turns.", registry=registry)
    health = Health(stop, hung_after_seconds=2.0)
    with serve_metrics(registry, health, "127.0.0.1", port):
        yield health


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_a_process_is_ready_from_its_start_until_it_is_asked_to_end(
    health: Health, stop: asyncio.Event, port: int
) -> None:
    """All the while it lives."""
    assert (503, b'{"status":"starting"}') == await asyncio.to_thread(ask, port, "/health/ready")
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/live")

    health.is_serving = True
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/ready")

    stop.set()
    assert (503, b'{"status":"draining"}') == await asyncio.to_thread(ask, port, "/health/ready")
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/live")


async def test_an_event_loop_that_hangs_is_told(health: Health, port: int) -> None:
    """The process neither lives nor is ready while nothing turns, its metrics are told, and it may come back."""
    health.is_serving = True
    while_it_hung: list[tuple[int, bytes]] = []
    has_seen_it = threading.Event()

    def watch() -> None:
        while ask(port, "/health/live")[0] == 200:
            has_seen_it.wait(0.05)
        while_it_hung.extend(ask(port, path) for path in ("/health/live", "/health/ready", "/metrics"))
        has_seen_it.set()

    watching = asyncio.create_task(asyncio.to_thread(watch))
    await asyncio.sleep(0.1)
    assert has_seen_it.wait(_LONGEST_SECONDS)  # blocks the event loop
    await watching

    assert [(503, b'{"status":"hung"}')] * 2 == while_it_hung[:2]
    assert 200 == while_it_hung[2][0]
    async with asyncio.timeout(_LONGEST_SECONDS):
        while (await asyncio.to_thread(ask, port, "/health/live"))[0] != 200:
            await asyncio.sleep(0.05)
    assert 200 == (await asyncio.to_thread(ask, port, "/health/ready"))[0]


async def test_an_event_loop_that_turns_is_alive_however_long_it_turns(health: Health, port: int) -> None:
    """The time that counts is that since the last turn, not since the first."""
    await asyncio.sleep(2.5)

    assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]


async def test_metrics_are_at_their_own_path_only(health: Health, port: int) -> None:
    """A probe with a typing error does not take them for health."""
    assert b"turns_total 0.0" in (await asyncio.to_thread(ask, port, "/metrics"))[1]
    for path in ("/", "/health", "/health/redy", "/metrics/", "/%ff"):
        assert 404 == (await asyncio.to_thread(ask, port, path))[0]
    assert 405 == (await asyncio.to_thread(ask, port, "/metrics", "POST"))[0]


async def test_who_sends_nothing_keeps_nobody_waiting(
    health: Health, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Others are answered at once; after some seconds the connection ends, and nothing is printed about it."""
    with socket.create_connection(("127.0.0.1", port)) as silent, socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]
        silent.settimeout(_LONGEST_SECONDS)
        assert b"" == await asyncio.to_thread(silent.recv, 1)
    assert ("", "") == capfd.readouterr()


async def test_a_taken_port_is_an_error_at_the_start(health: Health, stop: asyncio.Event, port: int) -> None:
    """A process that nobody can ask does not run."""
    with pytest.raises(OSError, match="in use"), serve_metrics(CollectorRegistry(), Health(stop), "127.0.0.1", port):
        pass
