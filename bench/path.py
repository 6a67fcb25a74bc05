"""`make bench`, second part: what the gateway adds to a request.

The whole local system with the fault provider behind it, which sends 64 chunks, 2 ms apart. CPU time is that of the
processes, so that other work on the machine changes it little; times are the client's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil
import yaml

from spillway_local import processes
from spillway_local.ports import free_port

BEHAVIOUR = "ok?chunks=64&interval_ms=2"
ALONE, TOGETHER, CLIENTS = 100, 1600, 16
_TIMEOUT_SECONDS = 60.0
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and as whom."""

    url: str
    model: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Times:
    """How long one answer took, in seconds."""

    first: float
    whole: float


@contextmanager
def running(command: list[str], log_file: Path, sign: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a process from when `sign` is in its log until the block ends."""
    process = processes.start(command, log_file, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: sign in log_file.read_text(), log_file, 120.0)
        yield
    finally:
        processes.stop(process, signal.SIGINT, 180.0)


def routes(provider_url: str, credential: Path) -> dict[str, Any]:
    """Return a routes file with one model, `bench`, at the fault provider."""
    target = {
        "provider": "openai",
        "model": BEHAVIOUR,
        "base_url": f"{provider_url}/v1",
        "credential_file": str(credential),
    }
    return {"targets": {"bench": target}, "routes": {"bench": {"targets": ["bench"]}}}


async def ask(client: httpx2.AsyncClient, endpoint: Endpoint, question: str) -> Times:
    """Ask once and read to the end; the first content is what counts, not headers or roles."""
    body = {"model": endpoint.model, "stream": True, "messages": [{"role": "user", "content": question}]}
    began = time.perf_counter()
    first = None
    async with client.stream(
        "POST", f"{endpoint.url}/v1/chat/completions", json=body, headers=endpoint.headers
    ) as response:
        if response.status_code != 200:
            raise RuntimeError(f"{endpoint.url} answers {response.status_code}")
        async for piece in response.aiter_bytes():
            if first is None and b'"content":"' in piece.replace(b": ", b":").replace(b'"content":""', b""):
                first = time.perf_counter() - began
    if first is None:
        raise RuntimeError(f"{endpoint.url} sends no content")
    return Times(first, time.perf_counter() - began)


async def ask_alone(endpoint: Endpoint, question: str | None = None) -> list[Times]:
    """Ask one after the other, each time something else unless there is a `question`."""
    async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
        await ask(client, endpoint, question or "warm")
        return [await ask(client, endpoint, question or f"alone {number}") for number in range(ALONE)]


async def ask_together(endpoint: Endpoint) -> None:
    """Ask from many clients at once."""

    async def one(client: httpx2.AsyncClient, name: int) -> None:
        for number in range(TOGETHER // CLIENTS):
            await ask(client, endpoint, f"together {name} {number}")

    limits = httpx2.Limits(max_connections=CLIENTS)
    async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits) as client, asyncio.TaskGroup() as group:
        for name in range(CLIENTS):
            group.create_task(one(client, name))


def median(times: list[float]) -> float:
    """Return the middle one."""
    return sorted(times)[len(times) // 2]


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(provider: Endpoint, endpoint: Endpoint, watched: dict[str, psutil.Process]) -> None:
    """Measure and write the table."""
    for name, process in watched.items():
        say(f"memory at rest, {name}", f"{process.memory_info().rss / _MIB:,.0f} MiB")
    direct, through = await ask_alone(provider), await ask_alone(endpoint)
    added = median([each.first for each in through]) - median([each.first for each in direct])
    say("time to first token, p50, added", f"{added * 1000:.1f} ms", f"one client, {ALONE} answers of 64 chunks")
    added = median([each.whole for each in through]) - median([each.whole for each in direct])
    say("whole answer, p50, added", f"{added * 1000:.1f} ms", f"of {median([e.whole for e in through]) * 1000:.0f} ms")
    cached = Endpoint(endpoint.url, endpoint.model, {**endpoint.headers, "Cache-Control": "max-age=60"})
    hits = await ask_alone(cached, "the same question")
    say("cache hit, whole answer, p50", f"{median([each.whole for each in hits]) * 1000:.1f} ms")
    before, began = {name: cpu_seconds(process) for name, process in watched.items()}, time.monotonic()
    await ask_together(endpoint)
    seconds = time.monotonic() - began
    remark = f"{CLIENTS} clients, {TOGETHER / seconds:.0f} answers a second"
    for name, process in watched.items():
        say(f"CPU per request, {name}", f"{(cpu_seconds(process) - before[name]) / TOGETHER * 1000:.2f} ms", remark)
    for name, process in watched.items():
        say(f"memory afterwards, {name}", f"{process.memory_info().rss / _MIB:,.0f} MiB")


def say(what: str, figure: str, remark: str = "") -> None:
    """Write one row of the table."""
    sys.stdout.write(f"{what:<38}{figure:>12}  {remark}".rstrip() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Start everything, measure, stop."""
    with tempfile.TemporaryDirectory(prefix="spillway-bench-") as name:
        home, port = Path(name), free_port()
        provider_log, credential = home / "provider.log", home / "provider-key"
        credential.write_text("sk-bench")
        with running([sys.executable, "-m", "fault_provider"], provider_log, "\n", {**os.environ}):
            provider_url = provider_log.read_text().splitlines()[0]
            routes_file = home / "bench-routes.yaml"
            routes_file.write_text(yaml.safe_dump(routes(provider_url, credential)))
            own = {"SPILLWAY_HOME": name, "SPILLWAY_PORT": str(port), "SPILLWAY_ROUTES": str(routes_file)}
            command = [sys.executable, "-m", "spillway_local", "up"]
            with running(command, home / "up.log", "is up after", {**os.environ, **own}):
                run = orjson.loads((home / "run.json").read_bytes())
                key = (home / "development-key").read_text().strip()
                pids = {process["name"]: process["pid"] for process in run["processes"]}
                watched = {part: psutil.Process(pids[part]) for part in ("edge", "llm-router")}
                endpoint = Endpoint(
                    run["url"], "bench", {"Authorization": f"Bearer {key}", "Cache-Control": "no-store"}
                )
                asyncio.run(measure(Endpoint(provider_url, BEHAVIOUR, {}), endpoint, watched))


if __name__ == "__main__":
    main()
