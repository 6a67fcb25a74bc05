"""A real edge process with nothing behind it: it identifies its callers, and answers that its router is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2

from edge.guard.keys import add_key
from spillway_local import processes
from spillway_local.ports import free_port

_NOBODY = "127.0.0.1:1"


@dataclass
class LoneEdge:
    """A running edge, its key file and one key in it."""

    process: subprocess.Popen[bytes]
    url: str
    metrics_url: str
    keys_file: Path
    key: str
    log_file: Path

    def wait_for_lines(self, *events: str, timeout_seconds: float) -> None:
        """Wait until each of these events is in the log."""
        deadline = time.monotonic() + timeout_seconds
        while not all(f'"{event}"' in self.log_file.read_text() for event in events):
            assert time.monotonic() < deadline, self.log_file.read_text()
            time.sleep(0.05)

    def status_of(self, key: str) -> int:
        """Return the status of a request with `key`: 401 when it is not known, another one when it is."""
        return httpx2.get(f"{self.url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=30).status_code

    def metric(self, name: str) -> float:
        """Return the value of a metric; its labels, if it has any, belong to the name."""
        lines = httpx2.get(f"{self.metrics_url}/metrics", timeout=30).text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def refusals(self, reason: str) -> float:
        """Return how many requests were refused for this reason."""
        return self.metric(f'edge_refusals_total{{reason="{reason}"}}')


@contextmanager
def running_lone_edge(folder: Path, output: IO[bytes] | int | None = None, **settings: str) -> Iterator[LoneEdge]:
    """Run an edge that logs to `output`, by default `edge.log` in `folder`."""
    keys_file, port, metrics_port = folder / "keys.yaml", free_port(), free_port()
    key = add_key(keys_file, "acme", "ada", "gold")
    environment = {
        **os.environ,
        "EDGE_PORT": str(port),
        "EDGE_METRICS_PORT": str(metrics_port),
        "EDGE_KEYS_FILE": str(keys_file),
        "EDGE_SPOOL_FILE": str(folder / "spool.sqlite"),
        "EDGE_ROUTER_ADDRESS": _NOBODY,
        "EDGE_LEDGER_ADDRESS": _NOBODY,
        "EDGE_REDIS_URL": f"redis://{_NOBODY}/0",
        **settings,
    }
    with (folder / "edge.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log if output is None else output,
            stderr=log,
            start_new_session=True,
        )
    urls = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}"
    edge = LoneEdge(process, *urls, keys_file, key, folder / "edge.log")
    try:
        _wait_until_live(edge, edge.log_file)
        yield edge
    finally:
        processes.stop(process, signal.SIGTERM, 20.0)


def _wait_until_live(edge: LoneEdge, log_file: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx2.get(f"{edge.url}/health/live", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert edge.process.poll() is None, log_file.read_text()
        assert time.monotonic() < deadline, log_file.read_text()
        time.sleep(0.05)
