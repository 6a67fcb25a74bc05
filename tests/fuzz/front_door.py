"""Requests made from the OpenAPI document at a whole system of its own: the target `front_door` of `make fuzz`.

`python -m tests.fuzz.front_door front_door SECONDS SEED KNOWN NEW CRASHES`, like `worker`, which checks functions; the
folders of inputs stay empty. A fault is a file in CRASHES that names the operation and the seed of its round.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import orjson

from edge.guard.keys import add_key
from kit.front_door.document import Document
from kit.front_door.local_system import running_local_system
from kit.front_door.scenarios import ROUTES
from spillway_local import processes

NAME = "front_door"
_PREFIX = "document-"
_MODELS = (*(name for name in ROUTES if name.startswith(_PREFIX)), "vectors")
_ROUND = 20
_MAX_SEED = 2**32


@contextmanager
def running_document() -> Iterator[Document]:
    """Start a system in a temporary folder, with the fault provider behind it."""
    with tempfile.TemporaryDirectory(prefix="spillway-fuzz-") as folder:
        home, log = Path(folder, "home"), Path(folder, "fault-provider.log")
        home.mkdir()
        key = add_key(home / "keys.yaml", "fuzz", "fuzz", "fuzz")
        (home / "development-key").write_text(key)
        provider = processes.start([sys.executable, "-m", "fault_provider"], log)
        try:
            processes.wait_until_ready(provider, lambda: "\n" in log.read_text(), log, 60.0)
            routes = {name: ROUTES[name] for name in (*_MODELS, "default")}
            with running_local_system(home, log.read_text().splitlines()[0], routes) as behind:
                yield Document(str(behind.run["url"]), key, _MODELS)
        finally:
            processes.stop(provider, signal.SIGTERM, 10.0)


def check_round(document: Document, operation: str, seed: int) -> None:
    """Send one round of requests to an operation."""
    document.check_generated(operation, _ROUND, seed)


def repeat(crash: Path) -> None:
    """Send the round again that found a fault."""
    fault = orjson.loads(crash.read_bytes())
    with running_document() as document:
        check_round(document, fault["operation"], fault["seed"])


def main(seconds: int, seed: int, crashes: Path) -> bool:
    """Go round all operations until the time is over or a fault is found; tell whether none was."""
    until, rng = time.monotonic() + seconds, Random(seed)
    with running_document() as document:
        for operation in document.operations:
            document.check_strangers(operation)
        while True:
            for operation in document.operations:
                number = rng.randrange(_MAX_SEED)
                try:
                    check_round(document, operation, number)
                except AssertionError as fault:
                    _keep(crashes, operation, number, str(fault))
                    return False
                # As libFuzzer says it; nothing is known here of branches.
                _say(f"#{document.statuses.total()} cov: 0")
                if time.monotonic() > until:
                    _say(f"stat::number_of_executed_units: {document.statuses.total()}")
                    return True


def _keep(crashes: Path, operation: str, seed: int, report: str) -> None:
    fault = {"operation": operation, "seed": seed, "report": report}
    (crashes / f"crash-{seed:08x}").write_bytes(orjson.dumps(fault, option=orjson.OPT_INDENT_2))
    _say(report)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    _name, _seconds, _seed, _known, _new, _crashes = sys.argv[1:]
    sys.exit(0 if main(int(_seconds), int(_seed), Path(_crashes)) else 1)
