"""`spillway up` in a folder of the test's own, with the fault provider as both vendors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import orjson
import yaml

from kit.front_door.edge_client import Behind, Stores
from kit.front_door.given_system import PRICE_BOOK, SETTINGS
from kit.front_door.scenarios import routes_file
from spillway_local import processes
from spillway_local.ports import free_port

PROVIDER_KEY = "sk-provider-credential"
_START_SECONDS, _STOP_SECONDS = 120.0, 60.0


@contextmanager
def running_local_system(
    home: Path,
    provider_url: str,
    routes: Mapping[str, Sequence[tuple[str, str]]],
    provider_key: str = PROVIDER_KEY,
    **settings: str,
) -> Iterator[Behind]:
    """Start the stack, and end it as Ctrl-C does; both vendors are asked with `provider_key`."""
    with started_local_system(home, provider_url, routes, provider_key, **settings) as (process, behind):
        yield behind
        status = processes.stop(process, signal.SIGINT, _STOP_SECONDS)
        assert status == 0, (home / "up.log").read_text()


@contextmanager
def started_local_system(
    home: Path,
    provider_url: str,
    routes: Mapping[str, Sequence[tuple[str, str]]],
    provider_key: str = PROVIDER_KEY,
    **settings: str,
) -> Iterator[tuple[subprocess.Popen[bytes], Behind]]:
    """Start the stack and yield its process, for a test that breaks it: how it ends is not looked at."""
    key_file, table = home / "provider-key", home / "test-routes.yaml"
    key_file.write_text(provider_key)
    table.write_text(yaml.safe_dump(routes_file(routes, provider_url, str(key_file))))
    environment = {
        **os.environ,
        **SETTINGS,
        "SPILLWAY_HOME": str(home),
        "SPILLWAY_PORT": str(free_port()),
        "SPILLWAY_ROUTES": str(table),
        "COST_LEDGER_PRICE_BOOK_FILE": str(PRICE_BOOK),
        **settings,
    }
    log = home / "up.log"
    log.unlink(missing_ok=True)
    process = processes.start([sys.executable, "-m", "spillway_local", "up"], log, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: "is up after" in log.read_text(), log, _START_SECONDS)
        yield process, Behind(home, orjson.loads((home / "run.json").read_bytes()))
    finally:
        processes.stop(process, signal.SIGINT, _STOP_SECONDS)


def stores_of(behind: Behind) -> Stores:
    """Return the stores of a system on this machine."""
    password = Path(behind.run["postgres_password_file"]).read_text().strip()
    postgres = str(behind.run["postgres_url"]).replace("@", f":{quote(password, safe='')}@", 1)
    return Stores(postgres, behind.run["redis_url"])
