"""The fault provider as every vendor, and the attempts it saw."""

from __future__ import annotations

import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from fault_provider.answers import expected_text
from fault_provider.plan import parse_model
from spillway_local import processes

Json = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One attempt as the provider saw it."""

    model: str
    wire: str
    status: int | None
    finish: str

    @property
    def place(self) -> int:
        """The number of the target in the question."""
        return parse_model(self.model).place

    @property
    def text(self) -> str:
        """The text that it delivers unless it is stopped."""
        return "" if self.status != 200 else expected_text(self.model)


def seen_of(record: Json) -> Seen:
    """Read a record of the fault provider."""
    return Seen(record["model"], record["wire"], record["status"], record["finish"])


@dataclass(frozen=True)
class Provider:
    """The records of a running fault provider."""

    url: str

    async def attempts(self) -> dict[str, list[Seen]]:
        """Return the attempts it saw, by the tag of the question."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=60) as client:
            records = orjson.loads((await client.get("/admin/attempts")).content)["attempts"]
        seen: dict[str, list[Seen]] = defaultdict(list)
        for record in records:
            seen[parse_model(record["model"]).test].append(seen_of(record))
        return dict(seen)

    async def forget(self) -> None:
        """Delete its records."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=60) as client:
            (await client.delete("/admin/attempts")).raise_for_status()


@contextmanager
def running_provider(log: Path) -> Iterator[Provider]:
    """Run one that logs to `log`; processes.StartFailed when it does not start."""
    process = processes.start([sys.executable, "-m", "fault_provider"], log)
    try:
        processes.wait_until_ready(process, lambda: "\n" in log.read_text(), log, 60.0)
        yield Provider(log.read_text().splitlines()[0])
    finally:
        processes.stop(process, signal.SIGTERM, 20.0)
