"""Wires and runs the cost-ledger: `python -m cost_ledger` serves, `migrate` prepares, `--help` lists what else."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import redis.asyncio as redis
import structlog

from cost_ledger.books.cli import run_command
from cost_ledger.connections import OUTAGES
from cost_ledger.errors import LedgerError
from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.reading.reader import Reader, read_pool
from cost_ledger.reading.service import LedgerService
from cost_ledger.recording.backlog import measure_backlog, remove_idle_members
from cost_ledger.recording.consumer import Consumer
from cost_ledger.recording.publish_spend import SpendPublisher
from cost_ledger.recording.store import Store
from cost_ledger.schema.migrate import check, migrate
from cost_ledger.schema.partitions import PartitionKeeper
from cost_ledger.settings import Settings
from servicekit.health import Health
from servicekit.lifecycle import repeat, run, stop_requested
from servicekit.logs import configure_logs
from servicekit.metrics import create_registry, serve_metrics
from servicekit.rpc import RpcServer
from servicekit.settings import load_settings
from servicekit.tls_files import TlsFilesUnusable
from servicekit.transport import open_transport
from spillway.ledger.v1 import ledger_pb2_grpc

log = structlog.get_logger()

SERVICE = "spillway.ledger.v1.LedgerService"
_STATEMENT_TIMEOUT_SECONDS = 10.0
# With the edge's own interval of 15 s: every quote and every cost goes by a new price within 30 s.
_PRICES_INTERVAL_SECONDS = 10.0
_SWEEP_INTERVAL_SECONDS = 10.0
_BACKLOG_INTERVAL_SECONDS = 5.0
# At least between two publications; each waits for something to publish first.
_PUBLISH_INTERVAL_SECONDS = 1.0
_PARTITIONS_INTERVAL_SECONDS = 60 * 60.0
# Behind by more than this, the end of a request may be on the stream while its beginning is recorded.
_MOST_LAG_SECONDS = 5.0
# A member asks twice a second while it has nothing to do, and holds something while it has; after ten times the time
# that others take to claim what it held, it will not come back under this name.
_IDLE_CLAIMS = 10
_SOCKET_TIMEOUT_SECONDS = 5.0
_GOODBYE_SECONDS = 2.0


class Ledger:
    """The parts of the serving process, and the work it does by the clock."""

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        readers: asyncpg.Pool,
        client: redis.Redis,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._client = client
        self._metrics = metrics
        self._store = Store(pool, _STATEMENT_TIMEOUT_SECONDS)
        self._partitions = PartitionKeeper(
            pool,
            metrics,
            retention_months=settings.retention_months,
            timeout_seconds=_STATEMENT_TIMEOUT_SECONDS,
        )
        self.prices = PriceList(pool, _STATEMENT_TIMEOUT_SECONDS)
        self._spend = SpendPublisher(pool, client, metrics)
        self.reader = Reader(readers)
        self.consumer = Consumer(
            client,
            self._store,
            self.prices,
            self._spend,
            metrics,
            name=settings.consumer,
            claim_after_seconds=settings.claim_after_seconds,
        )

    def start_chores(self) -> list[asyncio.Task[None]]:
        """Start what is done by the clock; each goes on when a turn of it fails."""
        chores = {
            "refresh_prices": (_PRICES_INTERVAL_SECONDS, self.prices.refresh),
            "give_up_requests": (_SWEEP_INTERVAL_SECONDS, self._give_up),
            "measure_backlog": (_BACKLOG_INTERVAL_SECONDS, self._measure_backlog),
            "remove_idle_members": (_SWEEP_INTERVAL_SECONDS, self._remove_idle_members),
            "publish_spend": (_PUBLISH_INTERVAL_SECONDS, self._spend.turn),
            "keep_partitions": (_PARTITIONS_INTERVAL_SECONDS, self._keep_partitions),
        }
        return [asyncio.create_task(repeat(name, interval, work)) for name, (interval, work) in chores.items()]

    async def _give_up(self) -> None:
        backlog = await measure_backlog(self._client)
        if backlog.oldest_seconds > _MOST_LAG_SECONDS:
            self._metrics.sweeps_put_off.inc()
            log.warning("sweep_put_off", events=backlog.events, oldest_seconds=round(backlog.oldest_seconds, 1))
            return
        count = await self._store.give_up(self._settings.unsettled_after_seconds)
        if count:
            self._metrics.unsettled_requests.inc(count)
            log.error("requests_unsettled", requests=count)

    async def _measure_backlog(self) -> None:
        backlog = await measure_backlog(self._client)
        self._metrics.backlog_events.set(backlog.events)
        self._metrics.oldest_event_seconds.set(backlog.oldest_seconds)
        self._metrics.dead_letter_events.set(backlog.dead_letters)

    async def _remove_idle_members(self) -> None:
        removed = await remove_idle_members(self._client, self._settings.claim_after_seconds * _IDLE_CLAIMS)
        if removed:
            log.info("members_removed", members=removed)

    async def _keep_partitions(self) -> None:
        await self._partitions.turn(datetime.now(UTC).date())


@asynccontextmanager
async def closing(pool: asyncpg.Pool) -> AsyncIterator[None]:
    """Open `pool` while the block runs; a Postgres that does not say goodbye does not keep the process."""
    await pool
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await pool.close()
        except OUTAGES as error:
            log.warning("pool_cut_off", cause=type(error).__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the batch and the calls that are under way."""
    stop = stop_requested()
    health = Health(stop)
    registry = create_registry()
    metrics = Metrics(registry)
    transport = open_transport(
        settings.tls_directory, "server", expires=metrics.tls_certificate_expires, stale=metrics.tls_files_stale
    )
    # No connection is made here: the ledger starts, and answers that Postgres is away, while it is.
    pool = asyncpg.create_pool(
        settings.postgres_url,
        password=settings.postgres_password(),
        min_size=0,
        max_size=settings.pool_size,
        command_timeout=_STATEMENT_TIMEOUT_SECONDS,
        timeout=_STATEMENT_TIMEOUT_SECONDS,
        server_settings={"application_name": "cost-ledger"},
    )
    readers = read_pool(settings)
    client = redis.Redis.from_url(str(settings.redis_url), socket_timeout=_SOCKET_TIMEOUT_SECONDS)
    with ExitStack() as stack:
        stack.enter_context(serve_metrics(registry, health, settings.host, settings.metrics_port))
        async with closing(pool), closing(readers):
            ledger = Ledger(settings, pool, readers, client, metrics)
            service = LedgerService(ledger.reader, ledger.prices, metrics)
            server = RpcServer(
                f"{settings.host}:{settings.port}",
                [SERVICE],
                lambda server: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(service, server),
                credentials=transport.server_credentials(),
                reflects=settings.reflection,
            )
            await server.start()
            health.is_serving = True
            chores = [*ledger.start_chores(), asyncio.create_task(transport.watch())]
            log.info("started", address=f"{settings.host}:{settings.port}", consumer=settings.consumer)
            try:
                await ledger.consumer.run(stop)
            finally:
                log.info("draining")
                await server.stop(settings.drain_timeout_seconds)
                for chore in chores:
                    chore.cancel()
                await asyncio.wait(chores)
                await client.aclose()
    log.info("stopped")


def _migration_asked(arguments: Sequence[str]) -> Callable[[Settings], Coroutine[Any, Any, None]]:
    parser = argparse.ArgumentParser(
        prog="cost_ledger migrate", description="Bring the database up to date; a newer one is left as it is."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; status 0 if it is as new as this ledger")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="try again for so long while the server is away or, with --check, the tables are too old (default 0)",
    )
    parsed = parser.parse_args(arguments)
    work = check if parsed.check else migrate
    return lambda settings: work(settings, parsed.wait)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise ValueError(text)
    return seconds


_seconds.__name__ = "number of seconds"


def main() -> None:
    """Serve, migrate or do what an operator asks for; exit with 1 and one line when it cannot be done."""
    if sys.argv[1:] and sys.argv[1] != "migrate":
        sys.exit(run_command(sys.argv[1:]))
    asked = _migration_asked(sys.argv[2:]) if sys.argv[1:] else None
    settings = load_settings(Settings)
    configure_logs("cost-ledger", settings.log_level)
    try:
        run(lambda: serve(settings) if asked is None else asked(settings))
    except (LedgerError, TlsFilesUnusable, OSError, RuntimeError) as error:
        log.error("start_failed", reason=str(error))  # noqa: TRY400 - one line, for a person
        sys.exit(1)


if __name__ == "__main__":
    main()
