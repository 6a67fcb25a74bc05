"""One whole local stack for all front-door tests: `spillway up` with the fault provider as both vendors."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
import yaml

from front_door import Behind, Door, Provider
from scenarios import ROUTES, routes_file
from spillway_local import processes
from spillway_local.ports import free_port

PRICE_BOOK = Path(__file__).with_name("price_book.yaml")
# Fast enough for a person, slow enough for a busy test machine: here the cache must not be passed by for a hiccup.
PATIENT_LOOK_UP = {"EDGE_LOOK_UP_TIMEOUT_SECONDS": "2"}


def add_key(file: Path, tenant: str, user: str) -> str:
    """Make an API key with the edge's own command."""
    command = [
        sys.executable,
        "-m",
        "edge.keys",
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
def home() -> Iterator[Path]:
    """Yield the folder of the stack's state; not below pytest's own, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def keys(home: Path) -> dict[str, str]:
    """Return a key for each of two tenants."""
    found = {tenant: add_key(home / "keys.yaml", tenant, f"{tenant}-user") for tenant in ("blue", "red")}
    (home / "development-key").write_text(found["blue"])
    return found


@pytest.fixture(scope="session")
def behind(home: Path, keys: dict[str, str], fault_provider_url: str) -> Iterator[Behind]:
    """Start the stack once, and end it as Ctrl-C does."""
    (home / "provider-key").write_text("sk-provider-credential")
    (home / "test-routes.yaml").write_text(
        yaml.safe_dump(routes_file(ROUTES, fault_provider_url, home / "provider-key"))
    )
    environment = {
        **os.environ,
        **PATIENT_LOOK_UP,
        "EDGE_CLIENT_STALL_TIMEOUT_SECONDS": "4",
        "SPILLWAY_HOME": str(home),
        "SPILLWAY_PORT": str(free_port()),
        "SPILLWAY_ROUTES": str(home / "test-routes.yaml"),
        "COST_LEDGER_PRICE_BOOK_FILE": str(PRICE_BOOK),
    }
    log = home / "up.log"
    process = processes.start([sys.executable, "-m", "spillway_local", "up"], log, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: "is up after" in log.read_text(), log, 120.0)
        yield Behind(home, orjson.loads((home / "run.json").read_bytes()))
    finally:
        status = processes.stop(process, signal.SIGINT, 60.0)
        assert status == 0, log.read_text()


@pytest.fixture(scope="session")
async def door(behind: Behind, keys: dict[str, str]) -> AsyncIterator[Door]:
    """Yield the front door for the tenant `blue`."""
    door = Door(behind.run["url"], keys["blue"])
    yield door
    await door.close()


@pytest.fixture(scope="session")
async def other_door(behind: Behind, keys: dict[str, str]) -> AsyncIterator[Door]:
    """Yield the front door for the tenant `red`."""
    door = Door(behind.run["url"], keys["red"])
    yield door
    await door.close()


@pytest.fixture(scope="session")
async def provider(fault_provider_url: str) -> AsyncIterator[Provider]:
    """Yield the fault provider's memory."""
    provider = Provider(fault_provider_url)
    yield provider
    await provider.close()


@pytest.fixture
async def thawed(behind: Behind) -> AsyncIterator[None]:
    """Whatever a test freezes is running again afterwards."""
    yield
    for name in ("valkey", "postgres", "cost-ledger"):
        os.kill(behind.pid(name), signal.SIGCONT)
    await asyncio.sleep(0)
