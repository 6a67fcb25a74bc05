"""`make overload`: slow readers, idle and hostile connections and a hostile vendor, all at once, on one machine.

The last line is the verdict: `overload: N served, N refused at once, slow 0, memory +N MB`. Slow is an answer or a
refusal whose first byte took longer than a second; memory is that of edge and router, with the processes they have
forked, above what they had before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
import psutil
import yaml

from edge.guard.keys import add_key
from spillway_local import processes
from spillway_local.ports import free_port

from .provider import GOOD, GOOD_TEXT, HOSTILE
from .readers import AT_ONCE_SECONDS, Seen, SlowReader

READERS, IDLE, HOSTILE_CONNECTIONS, HOSTILE_QUESTIONS = 500, 200, 100, 10
MAX_ADDITIONAL_BYTES = 400 * 1024 * 1024
_MIB = 1024 * 1024
_REQUEST_SECONDS = 20.0
_PROGRESS_SECONDS = 10.0
_OPEN_FILES = 8192
_WATCHED = ("edge", "llm-router")
# Who attacks has machines of his own: what it costs to attack is not taken from the two cores. Where Linux shares the
# cores out among sessions first (autogroup), niceness alone counts within a session only.
_GIVE_WAY = '[ -w /proc/self/autogroup ] && echo 19 > /proc/self/autogroup; exec nice -n 19 "$0" "$@"'
_ELSEWHERE = ("sh", "-c", _GIVE_WAY)

Json = dict[str, Any]


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


@dataclass(frozen=True)
class System:
    """A running system, with a key for its users and one for somebody who means no good."""

    run: Json
    key: str
    hostile_key: str
    other_key: str
    """Of one who asks the hostile vendor."""

    @property
    def address(self) -> tuple[str, int]:
        """Where its edge listens."""
        parts = urlsplit(self.run["url"])
        return parts.hostname or "", parts.port or 80

    def memory_bytes(self) -> int:
        """Return what edge and router have for themselves, with the processes they have forked."""
        total = 0
        for name in _WATCHED:
            pid = next(process["pid"] for process in self.run["processes"] if process["name"] == name)
            process = psutil.Process(pid)
            total += process.memory_info().rss
            # What a child shares with its parent is there once.
            total += sum(_own_bytes(child) for child in process.children(recursive=True))
        return total


def _own_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0  # it has ended


@contextmanager
def _running(name: str, command: list[str], log: Path, sign: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a process from when `sign` is in its log until it is asked to end; yield the first line of the log."""
    process = processes.start(command, log, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: sign in log.read_text(), log, 120.0)
        yield log.read_text().splitlines()[0]
    finally:
        status = processes.stop(process, signal.SIGTERM, 60.0)
        if status not in (0, -signal.SIGTERM):
            say(f"overload: {name} ended with {status}")


@contextmanager
def running_system(home: Path) -> Iterator[System]:
    """Run the system on `home`, with two vendors: one is good, and one is hostile as the model's name says."""
    vendor = [sys.executable, "-m", "tests.overload.provider"]
    with (
        _running("good vendor", vendor, home / "good.log", "\n", os.environ) as good_url,
        _running("hostile vendor", [*_ELSEWHERE, *vendor], home / "hostile.log", "\n", os.environ) as hostile_url,
    ):
        credential, routes = home / "provider-key", home / "overload-routes.yaml"
        credential.write_text("sk-overload")
        urls = {GOOD: good_url, **dict.fromkeys(HOSTILE, hostile_url)}
        targets = {
            name: {"provider": "openai", "model": name, "base_url": f"{url}/v1", "credential_file": str(credential)}
            for name, url in urls.items()
        }
        document = {"targets": targets, "routes": {name: {"targets": [name]} for name in targets}}
        routes.write_text(yaml.safe_dump(document))
        own = {
            "SPILLWAY_HOME": str(home),
            "SPILLWAY_PORT": str(free_port()),
            "SPILLWAY_ROUTES": str(routes),
            "EDGE_REQUEST_TIMEOUT_SECONDS": str(_REQUEST_SECONDS),
        }
        command = [sys.executable, "-m", "spillway_local", "up"]
        with _running("spillway up", command, home / "up.log", "is up after", {**os.environ, **own}):
            run = orjson.loads((home / "run.json").read_bytes())
            key = (home / "development-key").read_text().strip()
            keys = [add_key(home / "keys.yaml", *who) for who in (("hostile", "eve", "test"), ("acme", "bob", "test"))]
            yield System(run, key, *keys)


class Overload:
    """One run."""

    def __init__(self, system: System, seed: int, seconds: float) -> None:
        self._system = system
        self._seconds = seconds
        self._rng = random.Random(seed)
        self.readers = Seen()
        self.memory_before = system.memory_bytes()
        self.memory_most = 0
        self.longest_lag = 0.0
        """How late this process was itself: what it measures is late by as much."""
        self.ends: Counter[str] = Counter()
        """What hostile connections and the hostile vendor's answers came to."""
        self.faults: list[str] = []

    async def run(self) -> None:
        """Load everything at once, then see whether all is well again."""
        await self._warm_up()
        self.memory_before = self._system.memory_bytes()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        watching = asyncio.create_task(self._watch(loop.time()))
        async with asyncio.TaskGroup() as group:
            for number in range(READERS):
                group.create_task(self._reader(number).run(until))
            for _ in range(IDLE):
                group.create_task(self._idle(until))
            hostile = group.create_task(self._hostile_connections())
            for _ in range(HOSTILE_QUESTIONS):
                group.create_task(self._ask_hostile_vendor(until))
        watching.cancel()
        await asyncio.wait((watching,))
        self.ends.update(hostile.result())
        await self._is_well()

    def _reader(self, number: int) -> SlowReader:
        host, port = self._system.address
        rng = random.Random(self._rng.random())
        return SlowReader(host, port, self._system.key, f"reader {number}", rng, self.readers)

    async def _hostile_connections(self) -> dict[str, int]:
        """Attack from a process of its own; return what came of it."""
        host, port = self._system.address
        seed = self._rng.randrange(2**32)
        arguments = (host, port, self._system.hostile_key, seed, self._seconds, HOSTILE_CONNECTIONS)
        process = await asyncio.create_subprocess_exec(
            *_ELSEWHERE,
            *(sys.executable, "-m", "tests.overload.hostile", *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # it gives way to this one
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        ends: dict[str, int] = orjson.loads(output)
        return ends

    async def _idle(self, until: float) -> None:
        """Hold a connection that says nothing, and open another one when it is closed."""
        loop = asyncio.get_running_loop()
        while (left := until - loop.time()) > 0:
            try:
                reader, writer = await asyncio.open_connection(*self._system.address)
                try:
                    async with asyncio.timeout(left):
                        await reader.read(1)
                finally:
                    writer.close()
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(0.5)

    async def _ask_hostile_vendor(self, until: float) -> None:
        """Ask for a stream from one of the vendor's faults; it must end, and as an error."""
        loop = asyncio.get_running_loop()
        headers = {"authorization": f"Bearer {self._system.other_key}"}
        async with httpx2.AsyncClient(base_url=self._system.run["url"], timeout=60, trust_env=False) as client:
            while loop.time() < until:
                model = self._rng.choice(list(HOSTILE))
                body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "q"}]}
                try:
                    response = await client.post("/v1/chat/completions", json=body, headers=headers)
                except httpx2.TransportError as error:
                    self.faults.append(f"{model}: {error!r}")
                    continue
                text = response.text
                end = "an error" if '"error"' in text else "a good answer" if "[DONE]" in text else "no end"
                self.ends[f"{model}: {response.status_code}, {end}"] += 1
                if end == "no end":
                    self.faults.append(f"{model}: {text[-200:]}")
                await asyncio.sleep(0.2)

    async def _warm_up(self) -> None:
        """Ask some questions first: what is imported and pooled then is no growth."""
        for _ in range(20):
            await self._ask_plainly()

    async def _ask_plainly(self) -> float:
        """Ask for a whole answer and read it at once; return how long it took."""
        started = time.monotonic()
        body = {"model": GOOD, "messages": [{"role": "user", "content": f"{started}"}]}
        headers = {"authorization": f"Bearer {self._system.key}"}
        async with httpx2.AsyncClient(base_url=self._system.run["url"], timeout=60, trust_env=False) as client:
            response = await client.post("/v1/chat/completions", json=body, headers=headers)
        if response.status_code != 200 or response.json()["choices"][0]["message"]["content"] != GOOD_TEXT:
            self.faults.append(f"a plain question: {response.status_code} {response.text[:200]}")
        return time.monotonic() - started

    async def _is_well(self) -> None:
        """Ask once more when it is over."""
        await asyncio.sleep(2.0)
        seconds = await self._ask_plainly()
        if seconds > AT_ONCE_SECONDS:
            self.faults.append(f"a plain question took {seconds:.1f} s after all was over")

    async def _watch(self, started: float) -> None:
        lagging = asyncio.create_task(self._watch_own_lag())
        try:
            await self._watch_memory(started)
        finally:
            lagging.cancel()

    async def _watch_own_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.05
            await asyncio.sleep(0.05)
            self.longest_lag = max(self.longest_lag, loop.time() - due)

    async def _watch_memory(self, started: float) -> None:
        loop, told = asyncio.get_running_loop(), started
        while True:
            self.memory_most = max(self.memory_most, await asyncio.to_thread(self._system.memory_bytes))
            if loop.time() - told >= _PROGRESS_SECONDS:
                told = loop.time()
                say(f"{told - started:4.0f} s: {self.verdict}")
            await asyncio.sleep(0.5)

    @property
    def additional_bytes(self) -> int:
        """What edge and router have taken at most."""
        return max(0, self.memory_most - self.memory_before)

    @property
    def verdict(self) -> str:
        """The last line."""
        seen = self.readers
        memory = f"memory +{self.additional_bytes / _MIB:.0f} MB"
        return f"overload: {seen.served} served, {seen.refused} refused at once, slow {seen.slow}, {memory}"

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        seen = self.readers
        is_small = self.additional_bytes <= MAX_ADDITIONAL_BYTES
        return seen.served > 0 and not (seen.slow or seen.wrong or self.faults) and is_small

    def details(self) -> list[str]:
        """Return what is worth knowing besides."""
        seen = self.readers
        lines = [f"statuses of slow readers: {dict(seen.statuses)}, longest wait {seen.longest_seconds:.2f} s"]
        lines += [f"this process was late by up to {self.longest_lag:.2f} s"]
        lines += [f"wrong: {count} x {what}" for what, count in seen.wrong.most_common(10)]
        lines += [f"{count:5} x {what}" for what, count in sorted(self.ends.items())]
        return [*lines, *(f"fault: {fault}" for fault in self.faults[:20])]


def main() -> None:
    """Run; status 0 when every reader was served or refused at once, and memory stayed bounded."""
    parser = argparse.ArgumentParser(prog="overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))
    with tempfile.TemporaryDirectory(prefix="spillway-overload-") as folder, running_system(Path(folder)) as system:
        overload = Overload(system, arguments.seed, arguments.seconds)
        asyncio.run(overload.run())
    for line in overload.details():
        say(f"overload: {line}")
    say(overload.verdict)
    sys.exit(0 if overload.is_good else 1)


if __name__ == "__main__":
    main()
