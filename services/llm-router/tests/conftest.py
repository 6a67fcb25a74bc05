"""A real llm-router process in front of the real fault provider; pods that share a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis.asyncio as redis

from kit.router.breaker_pods import Pod
from kit.router.breaker_valkey import Pods, Valkey
from kit.router.process import Router, Seen, running_router


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
    async with running_router(router_log.parent, fault_provider_url, router_log) as router:
        yield router


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
