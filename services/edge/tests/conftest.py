"""What the edge's tests share: an empty Redis, a spool, metrics that can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.events.spool import Spool
from edge.metrics import Metrics

from .scripted_edge import Edge, running_edge
from .scripted_redis import redis_client


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[redis.Redis]:
    """Yield a client of the real Redis, which is empty before and after."""
    async with redis_client(redis_url) as client:
        await client.flushdb()
        yield client
        await client.flushdb()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """Yield an empty spool."""
    spool = Spool(tmp_path / "cost-events.sqlite")
    yield spool
    await spool.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return the registry that `metrics` is on."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    """Return the edge's metrics, all at zero."""
    return Metrics(registry)


@pytest.fixture
def counted(registry: CollectorRegistry) -> Callable[..., float]:
    """Return a function that reads a metric by name and labels; 0 when it was never touched."""

    def read(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    return read


@pytest.fixture
async def edge(
    tmp_path: Path, valkey: redis.Redis, redis_url: str, spool: Spool, registry: CollectorRegistry
) -> AsyncIterator[Edge]:
    """Yield an edge in front of a router with a script and of the real Redis."""
    async with running_edge(tmp_path, redis_url, spool, registry) as edge:
        yield edge
