"""A Valkey that several pods share, and what they do with it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from structlog.testing import capture_logs

from kit.router.breaker_pods import DOWN, Pod
from llm_router.breaker.permit import Permit
from spillway_local import processes, valkey
from spillway_local.ports import free_port

# The machine may be busy; what is waited for takes a fraction of it.
PATIENCE_SECONDS = 20.0
Pods = Callable[..., Pod]
FAILURES = "llm_router_breaker_share_failures_total"


class Valkey:
    """A server that can be stopped and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._port = free_port()
        self._password = valkey.ensure_password(self._folder)
        self.url = valkey.url(self._port, self._password)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        log_file = self._folder / "valkey.log"
        self._process = processes.start(
            valkey.command(self._folder, self._port), log_file, death_signal=valkey.STOP_SIGNAL
        )
        processes.wait_until_ready(
            self._process, lambda: valkey.answers_ping(self._port, self._password), log_file, 30.0
        )

    def stop(self) -> None:
        """Stop, and wait until it is gone."""
        if self._process is not None:
            processes.stop(self._process, valkey.STOP_SIGNAL, 10.0)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it accept connections and answer nothing while the block runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def shared(*pods: Pod) -> AsyncIterator[None]:
    """Run the background exchange of the pods, as a process does."""
    tasks = [asyncio.create_task(pod.breakers.keep_shared()) for pod in pods]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def exchange(*pods: Pod) -> None:
    """Let each pod report and learn once, in this order."""
    for pod in pods:
        await pod.breakers.exchange()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def probe_of(pod: Pod) -> Permit:
    """Wait until a probe is permitted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (permit := await pod.breakers.admit("t")) is None:
            await asyncio.sleep(0.01)
    assert permit.is_probe
    return permit


async def until_probes_are_due() -> None:
    """Let the rest after a first opening pass: a second and a fifth of jitter."""
    await asyncio.sleep(1.25)


async def next_probe(pod: Pod) -> float:
    """Wait until a probe is permitted and abandon it; return how long it took."""
    started = time.monotonic()
    (await probe_of(pod)).abandoned()
    return time.monotonic() - started


async def opening_of(pod: Pod) -> float:
    """Let the pod's attempts fail until it refuses others; return the logged seconds until the probe."""
    with capture_logs() as lines:
        for _ in range(5):
            pod.breakers.insist("t").failed(DOWN)
        assert await pod.is_open()
        await exchange(pod)
    (seconds,) = [line["probe_in_seconds"] for line in lines if line["event"] == "breaker_opened"]
    return float(seconds)


async def exchanges_with(store: redis.Redis) -> int:
    """Return how many exchanges Redis has answered."""
    return int((await store.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"])


def shows_open(pod: Pod) -> bool:
    """Return whether the gauge says that the breaker is open."""
    return pod.counted("llm_router_breaker_open", target="t") == 1


def transitions(lines: Iterable[MutableMapping[str, Any]]) -> list[tuple[str, bool]]:
    """Return event and origin of the lines that report a transition."""
    return [(line["event"], line["learned"]) for line in lines if "learned" in line]
