"""Probes and metrics over HTTP, also of a process whose event loop is hung."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter

from servicekit.health import Health
from servicekit.metrics import serve_metrics

pytestmark = pytest.mark.integration  # they serve on sockets

_MAX_SECONDS = 60.0


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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_MAX_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_a_process_is_ready_from_its_start_until_it_is_asked_to_end(
    health: Health, stop: asyncio.Event, port: int
) -> None:
    """It is alive all the while."""
    assert (503, b'{"status":"starting"}') == await asyncio.to_thread(ask, port, "/health/ready")
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/live")

    health.is_serving = True
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/ready")

    stop.set()
    assert (503, b'{"status":"draining"}') == await asyncio.to_thread(ask, port, "/health/ready")
    assert (200, b'{"status":"ok"}') == await asyncio.to_thread(ask, port, "/health/live")


async def test_a_hung_event_loop_is_reported(health: Health, port: int) -> None:
    """The process is neither alive nor ready while its loop is blocked, still exports metrics, and can recover."""
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
    assert has_seen_it.wait(_MAX_SECONDS)  # blocks the event loop
    await watching

    assert [(503, b'{"status":"hung"}')] * 2 == while_it_hung[:2]
    assert 200 == while_it_hung[2][0]
    async with asyncio.timeout(_MAX_SECONDS):
        while (await asyncio.to_thread(ask, port, "/health/live"))[0] != 200:
            await asyncio.sleep(0.05)
    assert 200 == (await asyncio.to_thread(ask, port, "/health/ready"))[0]


async def test_a_running_event_loop_stays_alive(health: Health, port: int) -> None:
    """What counts is the time since the last beat, not since the first."""
    await asyncio.sleep(2.5)

    assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]


async def test_metrics_are_at_their_own_path_only(health: Health, port: int) -> None:
    """A probe with a mistyped path gets a 404 and not metrics."""
    assert b"turns_total 0.0" in (await asyncio.to_thread(ask, port, "/metrics"))[1]
    for path in ("/", "/health", "/health/redy", "/metrics/", "/%ff"):
        assert 404 == (await asyncio.to_thread(ask, port, path))[0]
    assert 405 == (await asyncio.to_thread(ask, port, "/metrics", "POST"))[0]


async def test_a_silent_client_delays_no_other(health: Health, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Others are answered at once; after some seconds the connection ends, and nothing is printed about it."""
    with socket.create_connection(("127.0.0.1", port)) as silent, socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]
        silent.settimeout(_MAX_SECONDS)
        assert b"" == await asyncio.to_thread(silent.recv, 1)
    assert ("", "") == capfd.readouterr()


async def test_many_slow_clients_delay_no_probe_and_take_few_threads(health: Health, port: int) -> None:
    """Each sends a byte now and then; when they are too many the oldest are hung up on."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        for client in clients:
            with suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\nx: ")
        assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]
        async with asyncio.timeout(_MAX_SECONDS):
            while sum("process_request" in thread.name for thread in threading.enumerate()) > 40:
                await asyncio.sleep(0.05)
            while any("process_request" in thread.name for thread in threading.enumerate()):
                with suppress(OSError):
                    clients[-1].sendall(b"x")
                await asyncio.sleep(0.05)
    finally:
        for client in clients:
            client.close()


async def test_requests_without_end_take_no_memory(health: Health, port: int) -> None:
    """Each is answered, or refused, by its first bytes."""
    before, most = psutil.Process().memory_info().rss, 0
    headers = b"".join(b"x%d: " % number + b"y" * 60_000 + b"\r\n" for number in range(99))

    def send() -> None:
        nonlocal most
        with ExitStack() as stack:
            for _ in range(25):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_MAX_SECONDS))
                with suppress(OSError):
                    client.sendall(b"GET /metrics HTTP/1.1\r\n" + headers)
                most = max(most, psutil.Process().memory_info().rss)

    await asyncio.to_thread(send)

    assert most - before < 50 * 2**20
    assert 200 == (await asyncio.to_thread(ask, port, "/health/live"))[0]


async def test_a_port_in_use_is_an_error_at_the_start(health: Health, stop: asyncio.Event, port: int) -> None:
    """A process that cannot be probed does not start."""
    with pytest.raises(OSError, match="in use"), serve_metrics(CollectorRegistry(), Health(stop), "127.0.0.1", port):
        pass
