"""The cost of durability on this machine: the figures of docs/durability.md.

    python -m tests.torture.measure_durability

Valkey with each setting: the round trip of an admission, and the acknowledged writes lost by a SIGKILL. The spool: the
time until an event is on disk. Postgres: a batch of the ledger with and without waiting for its disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import redis.asyncio as redis
from redis.exceptions import RedisError

from cost_ledger.recording.event import SettledEvent, read_event
from cost_ledger.recording.price import price_settled
from cost_ledger.recording.store import Store
from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from edge.events.spool import Spool
from kit.ledger.cost_events import request, settled
from kit.ledger.process import PRICE_BOOK, database, parts_on
from spillway_local import processes, valkey
from spillway_local.ports import free_port
from spillway_local.postgres import running_postgres

EVENT = os.urandom(700)  # about as long as a settled event with one attempt
ROUND_TRIPS, KILLS, BATCHES = 400, 10, 30
CLIENTS = 8
Work = Callable[[], Awaitable[object]]


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


async def milliseconds(work: Work, count: int, at_once: int) -> Sequence[float]:
    """Run `work` `count` times, `at_once` concurrently; return how long each took."""
    taken: list[float] = []

    async def worker() -> None:
        for _ in range(count // at_once):
            started = time.perf_counter()
            await work()
            taken.append((time.perf_counter() - started) * 1e3)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return sorted(taken)


def percentiles(taken: Sequence[float]) -> str:
    """Format the median and p99."""
    return f"p50 {statistics.median(taken):6.2f} ms  p99 {taken[int(len(taken) * 0.99)]:6.2f} ms"


class Server:
    """A Valkey with its own `appendfsync`."""

    def __init__(self, folder: Path, fsync: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._password = valkey.ensure_password(folder)
        self._url = valkey.url(self._port, self._password)
        command = valkey.command(folder, self._port)
        self._command = [fsync if word == "everysec" else word for word in command]

    async def start(self) -> None:
        """Start it and wait until it has loaded its file."""
        self._process = processes.start(self._command, self._folder / "log")
        processes.wait_until_ready(
            self._process, lambda: valkey.answers_ping(self._port, self._password), self._folder / "log", 30.0
        )
        async with self.client() as client:
            while (await client.info("persistence")).get("loading"):
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        processes.kill(self._process)
        self._process.wait()

    def client(self) -> redis.Redis:
        """Return a client."""
        return redis.Redis.from_url(self._url)


@asynccontextmanager
async def running(fsync: str) -> AsyncIterator[Server]:
    """Run a Valkey with this `appendfsync`."""
    with tempfile.TemporaryDirectory(prefix="spillway-measure-") as folder:
        server = Server(Path(folder), fsync)
        await server.start()
        try:
            yield server
        finally:
            server.kill()


async def measure_admissions(fsync: str, *, waits_for_disk: bool) -> None:
    """Measure the round trip that records an event and looks up an answer."""
    async with running(fsync) as server, server.client() as client:

        async def admit() -> None:
            pipeline = client.pipeline(transaction=False)
            pipeline.xadd("events", {"event": EVENT})
            pipeline.get("answer")
            if waits_for_disk:
                pipeline.execute_command("WAITAOF", 1, 0, 5000)
            await pipeline.execute()

        name = f"appendfsync {fsync}{' + WAITAOF' if waits_for_disk else ''}"
        count = 80 if waits_for_disk and fsync == "everysec" else ROUND_TRIPS
        for at_once in (1, CLIENTS):
            say(f"admit, {at_once} at once, {name:<30} {percentiles(await milliseconds(admit, count, at_once))}")


async def measure_kills(fsync: str) -> None:
    """Count the acknowledged writes lost by SIGKILL."""
    lost = acknowledged = 0
    for _ in range(KILLS):
        async with running(fsync) as server:
            before = await _write_until_killed(server)
            await server.start()
            async with server.client() as client:
                after = int(await client.xlen("events"))
        acknowledged += before
        lost += max(before - after, 0)
    say(f"SIGKILL of Valkey {KILLS} times, appendfsync {fsync:<9} {lost} lost of {acknowledged} acknowledged")


async def _write_until_killed(server: Server) -> int:
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        async with server.client() as client:
            with suppress(RedisError, OSError):
                while True:
                    await client.xadd("events", {"event": EVENT})
                    acknowledged += 1

    writers = [asyncio.create_task(write()) for _ in range(CLIENTS)]
    await asyncio.sleep(2.3)
    server.kill()
    await asyncio.wait(writers)
    return acknowledged


async def measure_spool() -> None:
    """Measure the time until an event is on disk."""
    with tempfile.TemporaryDirectory(prefix="spillway-measure-") as folder:
        spool = Spool(Path(folder) / "spool.sqlite")
        for at_once in (1, CLIENTS, 50):
            taken = await milliseconds(lambda: spool.append(EVENT), ROUND_TRIPS, at_once)
            say(f"spool, {at_once:>2} at once {'':<31} {percentiles(taken)}")
        await spool.close()


async def measure_batches() -> None:
    """Measure a batch of 100 settled events in one transaction."""
    with tempfile.TemporaryDirectory(prefix="spillway-measure-") as folder, running_postgres(Path(folder)) as server:
        url = database(server, f"measure-{uuid.uuid4()}")
        await migrate(Settings(postgres_url=url, redis_url="redis://127.0.0.1:1", price_book_file=PRICE_BOOK))
        async with parts_on(url, "redis://127.0.0.1:1") as parts:
            book = await parts.prices.book()
        for synchronous in ("on", "off"):
            pool = asyncpg.create_pool(url, min_size=1, max_size=1, server_settings={"synchronous_commit": synchronous})
            async with pool:
                store = Store(pool, 10.0)

                async def record(store: Store = store) -> None:
                    events = [read_event(settled(request()).SerializeToString()) for _ in range(100)]
                    await store.record(
                        [], [price_settled(each, book) for each in events if isinstance(each, SettledEvent)]
                    )

                taken = await milliseconds(record, BATCHES, 1)
                say(f"batch of 100, synchronous_commit {synchronous:<13} {percentiles(taken)}")


async def main() -> None:
    """Run all measurements in turn."""
    for fsync, waits_for_disk in (("no", False), ("everysec", False), ("always", False), ("everysec", True)):
        await measure_admissions(fsync, waits_for_disk=waits_for_disk)
    for fsync in ("everysec", "always"):
        await measure_kills(fsync)
    await measure_spool()
    await measure_batches()


if __name__ == "__main__":
    asyncio.run(main())
