"""A real llm-router process in front of the real fault provider; pods that share a real Valkey."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis.asyncio as redis
import yaml

from kit.router.breaker_pods import Pod
from kit.router.breaker_valkey import Pods, Valkey
from kit.router.process import Router, Seen, routes_file
from servicekit.rpc import create_channel, is_serving
from spillway_local import processes
from spillway_local.ports import free_port


@pytest.fixture(scope="session")
def seen(fault_provider_url: str) -> Iterator[Seen]:
    """Yield the fault provider's memory."""
    seen = Seen(fault_provider_url)
    yield seen
    seen.close()


@pytest.fixture(scope="session")
def router_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that the router's log goes to."""
    return tmp_path_factory.mktemp("llm-router") / "llm-router.log"


@pytest.fixture(scope="session")
async def router(fault_provider_url: str, router_log: Path) -> AsyncIterator[Router]:
    """Yield a client of a real router process whose targets are all played by the fault provider."""
    folder = router_log.parent
    (folder / "key").write_text("sk-test-credential")
    (folder / "routes.yaml").write_text(yaml.safe_dump(routes_file(fault_provider_url, folder / "key")))
    port, metrics_port = free_port(), free_port()
    environment = {
        **os.environ,
        "LLM_ROUTER_PORT": str(port),
        "LLM_ROUTER_METRICS_PORT": str(metrics_port),
        "LLM_ROUTER_ROUTES_FILE": str(folder / "routes.yaml"),
    }
    process = processes.start([sys.executable, "-m", "llm_router"], router_log, environment=environment)
    channel = create_channel(f"127.0.0.1:{port}")
    try:
        processes.wait_until_ready(process, lambda: '"started"' in router_log.read_text(), router_log, 60.0)
        assert await is_serving(channel, "spillway.router.v1.RouterService", 10.0)
        yield Router(channel)
    finally:
        await channel.close()
        processes.stop(process, signal.SIGTERM, 10.0)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Yield a running Valkey of this module's own, for it is stopped and paused."""
    valkey = Valkey(tmp_path_factory.mktemp("breakers") / "valkey")
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
async def store(redis_server: Valkey) -> AsyncIterator[redis.Redis]:
    """Yield a client of the empty server."""
    client = redis.Redis.from_url(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def pods(redis_server: Valkey, store: redis.Redis) -> AsyncIterator[Pods]:
    """Yield a function that makes another pod."""
    async with AsyncExitStack() as stack:

        def make(targets: tuple[str, ...] = ("t",), *, is_patient: bool = True) -> Pod:
            pod = Pod(redis_server.url, targets=targets, is_patient=is_patient)
            assert pod.shared is not None
            stack.push_async_callback(pod.shared.close)
            return pod

        yield make
