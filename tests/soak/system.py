"""The whole system as users run it, in its own folder, with the fault provider as every vendor."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import yaml

from kit.load.clients import EdgeClient
from kit.load.provider import Provider, running_provider
from kit.load.questions import routes_file
from kit.load.records import LedgerRequest, read_entries
from spillway_local import processes
from spillway_local.ports import free_port

Json = dict[str, Any]

REQUEST_SECONDS = 20.0
_WATCHED = ("edge", "llm-router")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SETTINGS = {
    "EDGE_REQUEST_TIMEOUT_SECONDS": str(REQUEST_SECONDS),
    # So that many streams contain keep-alive comments, and statuses are both delayed and sent early.
    "EDGE_KEEPALIVE_SECONDS": "0.5",
    "EDGE_STATUS_HOLD_SECONDS": "0.3",
}


@dataclass(frozen=True)
class System:
    """The running system: its edge, ledger and processes."""

    run: Json
    key: str
    provider: Provider

    @property
    def edge(self) -> EdgeClient:
        """The edge, for clients that wait longer than a request may last, with an allowance for a busy machine."""
        return EdgeClient(self.run["url"], self.key, REQUEST_SECONDS + 15.0)

    def memory_bytes(self) -> int:
        """Return the resident memory of edge and router."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES for pid in self._pids())

    def sockets(self) -> int:
        """Return the number of open sockets of edge and router."""
        return sum(_is_socket(file) for pid in self._pids() for file in Path(f"/proc/{pid}/fd").iterdir())

    async def ledger(self, request_ids: Sequence[str]) -> dict[str, LedgerRequest]:
        """Return what the ledger has of these requests."""
        password = Path(self.run["postgres_password_file"]).read_text().strip()
        connection = await asyncpg.connect(self.run["postgres_url"], password=password)
        try:
            return await read_entries(connection, request_ids)
        finally:
            await connection.close()

    def _pids(self) -> list[int]:
        return [process["pid"] for process in self.run["processes"] if process["name"] in _WATCHED]


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except OSError:
        return False  # closed in the meantime


@contextmanager
def running_system(home: Path) -> Iterator[System]:
    """Run the system on `home`; processes.StartFailed when it does not start, RuntimeError when it fails to stop."""
    with running_provider(home / "fault-provider.log") as provider:
        (home / "provider-key").write_text("sk-soak")
        routes = home / "soak-routes.yaml"
        routes.write_text(yaml.safe_dump(routes_file(provider.url, home / "provider-key")))
        log = home / "up.log"
        process = processes.start(
            [sys.executable, "-m", "spillway_local", "up"], log, environment=_environment(home, routes)
        )
        try:
            processes.wait_until_ready(process, lambda: "is up after" in log.read_text(), log, 120.0)
            run = orjson.loads((home / "run.json").read_bytes())
            yield System(run, (home / "development-key").read_text().strip(), provider)
        finally:
            status = processes.stop(process, signal.SIGINT, 180.0)
        if status != 0:
            raise RuntimeError(f"`spillway up` ended with {status}; its log is {log}")


def _environment(home: Path, routes: Path) -> Mapping[str, str]:
    own = {"SPILLWAY_HOME": str(home), "SPILLWAY_PORT": str(free_port()), "SPILLWAY_ROUTES": str(routes)}
    return {**os.environ, **_SETTINGS, **own}
