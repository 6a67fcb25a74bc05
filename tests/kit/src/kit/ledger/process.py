"""Real `python -m cost_ledger` processes, and the ledger's parts in this process, over real PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import grpc
import orjson
import redis.asyncio as redis
from prometheus_client import CollectorRegistry
from redis.exceptions import ResponseError

from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.consumer import DEAD_LETTERS, GROUP, STREAM, Consumer
from cost_ledger.recording.store import Store
from servicekit.rpc import create_channel
from spillway.accounts.v1 import accounts_pb2_grpc
from spillway.captures.v1 import captures_pb2_grpc
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc
from spillway_local import processes
from spillway_local.ports import free_port

PRICE_BOOK = Path(__file__).with_name("price_book.yaml")


def database(server_url: str, name: str) -> str:
    """Return the URL of database `name` on the server behind `server_url`."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{quote(name, safe='')}"))


def environment(postgres_url: str, redis_url: str, **settings: object) -> dict[str, str]:
    """Return the environment of a ledger with the prices of the tests; `settings` without their prefix."""
    values = {"POSTGRES_URL": postgres_url, "REDIS_URL": redis_url, "PRICE_BOOK_FILE": PRICE_BOOK, **settings}
    return {**os.environ, **{f"COST_LEDGER_{name}": str(value) for name, value in values.items()}}


def run_migrate(values: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m cost_ledger migrate` to its end."""
    return run_ledger_command(values, "migrate", *arguments)


def run_ledger_command(values: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m cost_ledger` with these arguments to its end; no command ever shows a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "cost_ledger", *arguments], env=values, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def reason_of(result: subprocess.CompletedProcess[str]) -> str:
    """Return the reason that a command which could not start gave; it says nothing else and shows no traceback."""
    assert 1 == result.returncode, result.stdout + result.stderr
    assert "" == result.stderr
    [line] = [line for line in map(orjson.loads, result.stdout.splitlines()) if line["event"] == "start_failed"]
    reason: str = line["reason"]
    assert "\n" not in reason
    return reason


async def until(is_true: Callable[[], Awaitable[bool]], timeout_seconds: float = 20.0) -> None:
    """Poll `is_true`; TimeoutError when it stays false."""
    async with asyncio.timeout(timeout_seconds):
        while not await is_true():
            await asyncio.sleep(0.02)


async def someone_waits_for_a_lock(pool: asyncpg.Pool) -> bool:
    """Whether a session of the pool's database waits for a lock that another one holds."""
    count: int = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count > 0


@dataclass
class LedgerProcess:
    """A serving ledger."""

    process: subprocess.Popen[bytes]
    log_file: Path
    channel: grpc.aio.Channel
    metrics_url: str
    address: str = ""

    @property
    def stub(self) -> ledger_pb2_grpc.LedgerServiceAsyncStub:
        """Return a client of its RPCs."""
        return ledger_pb2_grpc.LedgerServiceStub(self.channel)

    @property
    def accounts(self) -> accounts_pb2_grpc.AccountsServiceAsyncStub:
        """Return a client of the RPCs about tenants, users and keys."""
        return accounts_pb2_grpc.AccountsServiceStub(self.channel)

    @property
    def captures(self) -> captures_pb2_grpc.CaptureServiceAsyncStub:
        """Return a client of the RPCs about captured texts."""
        return captures_pb2_grpc.CaptureServiceStub(self.channel)

    def log_lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        return [orjson.loads(line) for line in self.log_file.read_text().splitlines()]

    def stop(self, timeout_seconds: float = 10.0) -> int:
        """Ask it to end; return its status, which is none of its own when it had to be killed after the timeout."""
        return processes.stop(self.process, signal.SIGTERM, timeout_seconds)


@asynccontextmanager
async def running_ledger(
    folder: Path, postgres_url: str, redis_url: str, **settings: object
) -> AsyncIterator[LedgerProcess]:
    """Run a ledger that logs to `folder` until the block ends."""
    port, metrics_port = free_port(), free_port()
    log_file = folder / f"cost-ledger-{port}.log"
    values = environment(postgres_url, redis_url, **{"PORT": port, "METRICS_PORT": metrics_port, **settings})
    process = processes.start([sys.executable, "-m", "cost_ledger"], log_file, environment=values)
    channel = create_channel(f"127.0.0.1:{port}")
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, 60.0)
        yield LedgerProcess(process, log_file, channel, f"http://127.0.0.1:{metrics_port}/metrics", f"127.0.0.1:{port}")
    except BaseException:
        sys.stderr.write("".join(log_file.read_text().splitlines(keepends=True)[-40:]))
        raise
    finally:
        await channel.close()
        processes.stop(process, signal.SIGTERM, 30.0)


class Parts:
    """The ledger's parts in this process, on one database and the whole Valkey."""

    def __init__(self, pool: asyncpg.Pool, client: redis.Redis) -> None:
        self.pool = pool
        self.client = client
        self.store = Store(pool, 10.0)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.prices = PriceList(pool, 10.0)

    def consumer(self, name: str = "one", claim_after_seconds: float = 30.0) -> Consumer:
        """Return a member of the consumer group."""
        return self.consumer_with(self.store, name, claim_after_seconds)

    def consumer_with(self, store: Store, name: str, claim_after_seconds: float = 30.0) -> Consumer:
        """Return a member of the consumer group that writes by `store`."""
        return Consumer(
            self.client,
            store,
            self.prices,
            self.metrics,
            name=name,
            claim_after_seconds=claim_after_seconds,
        )

    async def send(self, *events: ledgerpb.CostEvent | bytes) -> list[bytes]:
        """Put events on the stream; return their ids there."""
        bodies = [event if isinstance(event, bytes) else event.SerializeToString() for event in events]
        ids: list[Any] = [await self.client.xadd(STREAM, {"event": body}) for body in bodies]
        return ids

    async def is_drained(self) -> bool:
        """Whether everything on the stream is recorded or set aside."""
        return not await self.client.xlen(STREAM)

    async def pending(self) -> int:
        """Return how many entries were read and not acknowledged; none before a ledger has created the group."""
        try:
            return int((await self.client.xpending(STREAM, GROUP))["pending"])
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return 0

    async def dead(self) -> list[dict[bytes, bytes]]:
        """Return the dead letters, oldest first."""
        letters: Any = await self.client.xrange(DEAD_LETTERS)
        return [fields for _, fields in letters]

    async def consume_all(self, *names: str) -> None:
        """Run one consumer, or one of each name, until the stream is empty."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for name in names or ("one",):
                group.create_task(self.consumer(name).run(stop))
            try:
                await until(self.is_drained)
            finally:
                stop.set()

    def counted(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.registry.get_sample_value(name, labels) or 0.0

    async def rows(self, table: str, columns: str = "*") -> Sequence[tuple[Any, ...]]:
        """Return all rows of `table`, in the order of their values."""
        return sorted(tuple(row) for row in await self.pool.fetch(f"SELECT {columns} FROM {table}"))  # noqa: S608

    async def state_of(self, request_id: str) -> str | None:
        """Return the state of a request, None when there is no such row."""
        state: str | None = await self.pool.fetchval("SELECT state FROM requests WHERE request_id = $1", request_id)
        return state

    async def empty(self) -> None:
        """Delete all requests, all corrections, all spend and all that is in Valkey."""
        await self.pool.execute(
            "DELETE FROM requests; DELETE FROM attempts; DELETE FROM corrections; DELETE FROM spend_daily"
        )
        await self.client.flushall()


@asynccontextmanager
async def parts_on(postgres_url: str, redis_url: str) -> AsyncIterator[Parts]:
    """Yield the parts, connected as the real process is."""
    pool = asyncpg.create_pool(postgres_url, min_size=0, max_size=8, timeout=5.0, command_timeout=10.0)
    async with pool, redis.Redis.from_url(redis_url, socket_timeout=5.0) as client:
        yield Parts(pool, client)


@contextmanager
def stopped(process_ids: Sequence[int]) -> Iterator[None]:
    """Freeze processes during the block: they keep their connections and answer nothing."""
    _signal(process_ids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(process_ids, signal.SIGCONT)


def _signal(process_ids: Sequence[int], signum: signal.Signals) -> None:
    for process_id in process_ids:
        with suppress(ProcessLookupError):  # a server's process may serve for a moment only
            os.kill(process_id, signum)
