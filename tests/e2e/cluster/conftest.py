"""The cluster under attack: `make e2e` says which (`run.py`)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from kit.load.provider import Provider as SeenByProvider

from .cluster import Cluster, Place, connected
from .installation import Installation
from .load_clients import LoadClients

_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin without figures."""
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the result of all load clients: streams, their ends, attempts lost and doubled."""
    for line in config.stash[_FIGURES]:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: none of it can run without a cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def place() -> Place:
    """Return where Spillway is installed."""
    if "E2E_CONTEXT" not in os.environ:
        pytest.skip("needs a cluster: make e2e")
    return Place(os.environ["E2E_CONTEXT"], os.environ["E2E_NAMESPACE"], os.environ["E2E_RELEASE"])


@pytest.fixture(scope="session")
def installation(place: Place) -> Installation:
    """Return what `make e2e` has installed, to be changed by tests."""
    values = [Path(file) for file in os.environ["E2E_VALUES"].split(os.pathsep) if file]
    return Installation(place, values, orjson.loads(os.environ["E2E_IMAGES"]))


@pytest.fixture(scope="session")
async def cluster(place: Place) -> AsyncIterator[Cluster]:
    """Yield the cluster once nothing of an earlier installation ends any more."""
    async with connected(place) as cluster:
        for component in ("edge", "llm-router", "cost-ledger", "vllm"):
            await cluster.rolled_out(component)
        yield cluster


@pytest.fixture(scope="session")
def keys(place: Place) -> Mapping[str, str]:
    """Return the API keys by their users."""
    found: Mapping[str, str] = orjson.loads(os.environ["E2E_KEYS"])
    return found


@pytest.fixture
def clients(
    request: pytest.FixtureRequest, cluster: Cluster, keys: Mapping[str, str], run_tag: str
) -> Iterator[LoadClients]:
    """Yield the clients named by `@with_clients`."""
    provider = SeenByProvider(os.environ["E2E_FAULT_PROVIDER_URL"].rstrip("/"))
    name = request.param
    clients = LoadClients(name, os.environ["E2E_URL"].rstrip("/"), keys[name], run_tag, provider, cluster)
    yield clients
    request.config.stash[_FIGURES] += [clients.figures, *clients.oddities]
