"""The system under test: one that is given (`kit.front_door.given_system`), or one local stack for all these tests,
`spillway up` with the fault provider as both vendors."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import anthropic
import pytest

from kit.front_door.edge_client import Behind, EdgeClient, Provider, Stores
from kit.front_door.given_system import GivenSystem, Incomplete, given_system
from kit.front_door.local_system import running_local_system, stores_of
from kit.front_door.scenarios import ROUTES

_FOLDER = Path(__file__).parent


def _given() -> GivenSystem | None:
    try:
        return given_system(os.environ)
    except Incomplete as incomplete:
        raise pytest.UsageError(str(incomplete)) from incomplete


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what looks at, or breaks, processes of this machine when the system runs elsewhere."""
    if _given() is None:
        return
    elsewhere = pytest.mark.skip(reason="local: needs the processes of the machine that it runs on")
    for item in items:
        if _FOLDER in item.path.parents and item.get_closest_marker("local"):
            item.add_marker(elsewhere)


def add_key(file: Path, tenant: str, user: str) -> str:
    """Make an API key with the edge's own command."""
    command = [
        sys.executable,
        "-m",
        "edge.guard.keys",
        "add",
        str(file),
        "--tenant",
        tenant,
        "--user",
        user,
        "--tier",
        "test",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def given() -> GivenSystem | None:
    """Return the system that is to be tested; None: a local one is started."""
    return _given()


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Yield the folder of the stack's state; not below pytest's own, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def keys(given: GivenSystem | None, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Return a key for each of two tenants."""
    if given is not None:
        return given.keys
    home: Path = request.getfixturevalue("home")
    found = {tenant: add_key(home / "keys.yaml", tenant, f"{tenant}-user") for tenant in ("blue", "red")}
    (home / "development-key").write_text(found["blue"])
    return found


@pytest.fixture(scope="session")
def behind(given: GivenSystem | None, home: Path, keys: Mapping[str, str], fault_provider_url: str) -> Iterator[Behind]:
    """Start the stack once, and end it as Ctrl-C does."""
    assert given is None, "this test needs the marker `local`"
    with running_local_system(home, fault_provider_url, ROUTES) as behind:
        yield behind


@pytest.fixture(scope="session")
def url(given: GivenSystem | None, request: pytest.FixtureRequest) -> str:
    """Return the address of the front door."""
    if given is not None:
        return given.url
    behind: Behind = request.getfixturevalue("behind")
    return str(behind.run["url"])


@pytest.fixture(scope="session")
def stores(given: GivenSystem | None, request: pytest.FixtureRequest) -> Stores:
    """Return the ledger's Postgres and the cache's Redis; skip when they are not to be looked into."""
    if given is not None:
        if not given.postgres_url or not given.redis_url:
            pytest.skip("looks into the stores: E2E_POSTGRES_URL and E2E_REDIS_URL are not set")
        return Stores(given.postgres_url, given.redis_url)
    return stores_of(request.getfixturevalue("behind"))


@pytest.fixture(scope="session")
def run_tag() -> str:
    """Return what stands in the questions of this run and of no other."""
    return uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
async def edge(url: str, keys: Mapping[str, str], run_tag: str) -> AsyncIterator[EdgeClient]:
    """Yield the front door for the tenant `blue`."""
    edge = EdgeClient(url, keys["blue"], run_tag)
    yield edge
    await edge.close()


@pytest.fixture(scope="session")
async def other_edge(url: str, keys: Mapping[str, str], run_tag: str) -> AsyncIterator[EdgeClient]:
    """Yield the front door for the tenant `red`."""
    edge = EdgeClient(url, keys["red"], run_tag)
    yield edge
    await edge.close()


@pytest.fixture(scope="session")
async def provider(given: GivenSystem | None, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Yield the fault provider's memory, with nothing in it of earlier runs."""
    provider = Provider(given.provider_url if given is not None else request.getfixturevalue("fault_provider_url"))
    if given is not None:
        await provider.forget()
    yield provider
    await provider.close()


@pytest.fixture
async def claude(edge: EdgeClient) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Yield Anthropic's own client, for the front door; it asks once."""
    async with anthropic.AsyncAnthropic(api_key=edge.key, base_url=edge.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def thawed(behind: Behind) -> AsyncIterator[None]:
    """Whatever a test freezes is running again afterwards."""
    yield
    for name in ("valkey", "postgres", "cost-ledger"):
        os.kill(behind.pid(name), signal.SIGCONT)
    await asyncio.sleep(0)
