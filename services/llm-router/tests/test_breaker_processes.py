"""Two router processes and one Redis: what one learns the other knows, and one of them probes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
import redis.asyncio as redis
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fault_provider.answers import expected_text
from kit.router.process import Router, Seen
from servicekit.rpc import create_channel, is_serving
from spillway_local import processes
from spillway_local.ports import free_port

WHOLE = expected_text("ok")
PATIENCE_SECONDS = 40.0
# Each route: the model of its first target at the fault provider, behind it one that answers.
MODELS = {
    "refused": "status-401?test=shared-refused",
    "silent": "flaky?fail=6&fault=silence&test=shared-silent",
    "flapping": "flaky?fail=5&status=500&test=shared-flapping",
    "hanging": "flaky?fail=1&status=429&retry_after=3&first_ms=25000&test=shared-hanging",
}
FIRST_CONTENT_SECONDS = {"silent": 0.5, "hanging": 30.0}


@dataclass
class Running:
    """One router process."""

    process: subprocess.Popen[bytes]
    client: Router
    metrics_url: str

    def breaker_is_open(self, target: str) -> bool:
        """Tell what the process says of itself."""
        text = httpx2.get(self.metrics_url, timeout=PATIENCE_SECONDS).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "llm_router_breaker_open" and sample.labels["target"] == target:
                    return sample.value == 1
        raise AssertionError(f"no breaker of {target!r}")

    async def knows_open(self, target: str, *, is_open: bool) -> None:
        """Wait until the process says so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.breaker_is_open(target) is not is_open:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_router(folder: Path, number: int, redis_url: str) -> AsyncIterator[Running]:
    """Run a router process on the routes in `folder`."""
    port, metrics_port, log_file = free_port(), free_port(), folder / f"router-{number}.log"
    environment = {
        **os.environ,
        "LLM_ROUTER_PORT": str(port),
        "LLM_ROUTER_METRICS_PORT": str(metrics_port),
        "LLM_ROUTER_ROUTES_FILE": str(folder / "routes.yaml"),
        "LLM_ROUTER_REDIS_URL": redis_url,
        "LLM_ROUTER_BREAKER_LEASE_TIMEOUT_SECONDS": "2",  # the machine may be busy
    }
    process = processes.start([sys.executable, "-m", "llm_router"], log_file, environment=environment)
    channel = create_channel(f"127.0.0.1:{port}")
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, 60.0)
        assert await is_serving(channel, "spillway.router.v1.RouterService", 10.0)
        yield Running(process, Router(channel), f"http://127.0.0.1:{metrics_port}/metrics")
    finally:
        await channel.close()
        if process.poll() is None:
            processes.stop(process, signal.SIGTERM, 20.0)


def routes(fault_provider_url: str, key: Path) -> dict[str, object]:
    """Return the content of the routes file."""
    base = {"provider": "openai", "base_url": f"{fault_provider_url}/v1", "credential_file": str(key)}
    targets: dict[str, object] = {"backup": {**base, "model": "ok?test=shared-backup"}}
    for route, model in MODELS.items():
        timeouts = {"first_content_seconds": FIRST_CONTENT_SECONDS.get(route, 8.0)}
        targets[f"first-{route}"] = {**base, "model": model, "timeouts": timeouts}
    return {"targets": targets, "routes": {route: {"targets": [f"first-{route}", "backup"]} for route in MODELS}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, fault_provider_url: str) -> Path:
    """Return the folder with the routes of all routers, and their logs."""
    folder = tmp_path_factory.mktemp("routers")
    (folder / "key").write_text("sk-test-credential")
    (folder / "routes.yaml").write_text(yaml.safe_dump(routes(fault_provider_url, folder / "key")))
    return folder


@pytest.fixture(scope="module")
async def pair(folder: Path, redis_url: str) -> AsyncIterator[tuple[Running, Running]]:
    """Yield two router processes on the same routes and the same Redis; each test has a route of its own."""
    async with running_router(folder, 1, redis_url) as first, running_router(folder, 2, redis_url) as second:
        yield first, second
    store = redis.Redis.from_url(redis_url)
    keys = [key async for key in store.scan_iter("{spillway:breaker}:*")]
    await store.delete(*keys)
    await store.aclose()


@asynccontextmanager
async def asked_all_the_time(route: str, *routers: Running) -> AsyncIterator[list[str]]:
    """Let three clients of each router ask for `route` in the block; yield what was not a whole answer."""
    bad: list[str] = []

    async def ask(router: Running) -> None:
        while True:
            stream = await router.client.complete(route, timeout_seconds=60.0)
            if "".join(stream.texts) != WHOLE:
                bad.append(f"{stream.status} {stream.outcomes}")
            await asyncio.sleep(0.02)

    clients = [asyncio.create_task(ask(router)) for router in routers for _ in range(3)]
    try:
        yield bad
    finally:
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)


async def arrived(seen: Seen, test: str, count: int) -> list[dict[str, object]]:
    """Wait until the provider has seen `count` attempts; return all."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(attempts := seen.attempts(test)) < count:
            await asyncio.sleep(0.05)
    return attempts


def at(attempt: dict[str, object], field: str) -> float:
    """Return a time of an attempt, in Unix seconds of the provider."""
    return float(str(attempt[field]))


async def test_the_second_router_learns_from_the_first(pair: tuple[Running, Running], seen: Seen) -> None:
    """A credential is refused once; no request to either router tries it again, and all are answered."""
    first, second = pair
    stream = await first.client.complete("refused")
    assert [("openai", "credential_refused"), ("openai", "ok")] == stream.outcomes
    await second.knows_open("first-refused", is_open=True)

    for router in (second, first) * 5:
        stream = await router.client.complete("refused")
        assert [("openai", "ok")] == stream.outcomes
        assert WHOLE == "".join(stream.texts)
    assert 1 == len(seen.attempts("shared-refused"))


async def test_failures_of_both_routers_are_counted_together(pair: tuple[Running, Running], seen: Seen) -> None:
    """Each router meets two requests' failures, which is too few for itself; together they open the breaker."""
    first, second = pair
    for router in (first, second, first):
        await router.client.complete("flapping")
    await first.knows_open("first-flapping", is_open=True)
    await second.knows_open("first-flapping", is_open=True)

    assert 5 <= len(seen.attempts("shared-flapping")) <= 6


async def test_one_probe_at_a_time_goes_out_from_two_busy_routers(pair: tuple[Running, Running], seen: Seen) -> None:
    """The target is silent six times: five failures open the breaker, the sixth is a probe, the next probe closes it.

    Six clients ask two routers all the time. The provider sees the probes one after the other, the first a second after
    the last failure, the second two seconds after the first had failed; nobody misses an answer.
    """
    first, second = pair
    await asyncio.gather(*(first.client.complete("silent") for _ in range(5)))
    await second.knows_open("first-silent", is_open=True)
    assert 5 == len(seen.attempts("shared-silent"))
    async with asked_all_the_time("silent", first, second) as bad:
        await arrived(seen, "shared-silent", 20)
    attempts = sorted(seen.attempts("shared-silent"), key=lambda attempt: at(attempt, "received_at"))
    probes = attempts[5:7]

    assert [] == bad
    opened = max(at(attempt, "ended_at") for attempt in attempts[:5])
    times = [opened, *(at(probe, field) for probe in probes for field in ("received_at", "ended_at"))]
    rest_before_first, _, rest_before_second, _ = [later - earlier for earlier, later in pairwise(times)]
    assert 0.9 < rest_before_first < PATIENCE_SECONDS
    assert 1.9 < rest_before_second < PATIENCE_SECONDS
    assert [0, 8] == [probe["chunks_sent"] for probe in probes]
    assert times[-2] < at(attempts[7], "received_at")


async def test_the_probe_of_a_killed_router_does_not_keep_another_from_probing(
    pair: tuple[Running, Running], folder: Path, redis_url: str, seen: Seen
) -> None:
    """While one router's probe hangs another sends none; seconds after the first was killed it does."""
    _, other = pair
    async with running_router(folder, 3, redis_url) as victim:
        await victim.client.complete("hanging")
        await other.knows_open("first-hanging", is_open=True)
        async with asked_all_the_time("hanging", victim):
            await arrived(seen, "shared-hanging", 2)
            async with asked_all_the_time("hanging", other) as bad:
                await asyncio.sleep(6)  # longer than the lease lives unless it is renewed
                assert 2 == len(seen.attempts("shared-hanging"))
                victim.process.kill()
                killed = time.time()
                await arrived(seen, "shared-hanging", 3)

    attempts = seen.attempts("shared-hanging")
    assert 2.0 < at(attempts[2], "received_at") - killed < PATIENCE_SECONDS
    assert [] == bad
