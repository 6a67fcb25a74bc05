"""Wires and runs the cost-ledger: `python -m cost_ledger` serves, `migrate` prepares, `--help` lists the rest."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack

import grpc
import structlog

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.keys import Keys
from cost_ledger.accounts.publish_keys import KeyPublisher
from cost_ledger.accounts.service import AccountsService
from cost_ledger.budgets.budgets import Budgets
from cost_ledger.budgets.publish import BudgetPublisher
from cost_ledger.captures.captures import Captures
from cost_ledger.captures.expiry import EXPIRY_INTERVAL_SECONDS, CaptureExpiry
from cost_ledger.captures.service import CaptureService
from cost_ledger.commands.cli import run_command
from cost_ledger.commands.migrate import parse_migrate
from cost_ledger.connections import STATEMENT_TIMEOUT_SECONDS, accounts_pool, captures_pool, closing, write_pool
from cost_ledger.errors import LedgerError
from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.reading.reader import Reader, read_pool
from cost_ledger.reading.service import LedgerService
from cost_ledger.recording.chores import Chores
from cost_ledger.recording.consumer import Consumer
from cost_ledger.recording.store import Store
from cost_ledger.schema.partitions import PartitionKeeper
from cost_ledger.settings import Settings
from servicekit.addresses import join_address
from servicekit.health import Health
from servicekit.lifecycle import repeat, run, stop_requested
from servicekit.log_writer import LogWriter
from servicekit.logs import configure_logs
from servicekit.loop_lag import watch_loop_lag
from servicekit.metrics import create_registry, serve_metrics
from servicekit.pepper import PepperUnusable, read_pepper
from servicekit.redis_client import open_redis
from servicekit.rpc import RpcServer
from servicekit.rpc_token import RpcTokenUnusable, guard_calls
from servicekit.settings import load_settings
from servicekit.tls_files import TlsFilesUnusable
from servicekit.transport import open_transport
from spillway.accounts.v1 import accounts_pb2_grpc
from spillway.captures.v1 import captures_pb2_grpc
from spillway.ledger.v1 import ledger_pb2_grpc

log = structlog.get_logger()

SERVICES = (
    "spillway.ledger.v1.LedgerService",
    "spillway.accounts.v1.AccountsService",
    "spillway.captures.v1.CaptureService",
)
_SOCKET_TIMEOUT_SECONDS = 5.0
_REDIS_CONNECTIONS = 16
_KEYS_INTERVAL_SECONDS = 1.0


async def serve(settings: Settings, logs: LogWriter) -> None:
    """Serve until SIGTERM or SIGINT, then finish the batch and the calls in progress."""
    stop = stop_requested()
    health = Health(stop)
    registry = create_registry()
    metrics = Metrics(registry)
    logs.count_losses(metrics.log_lines_lost.inc)
    transport = open_transport(
        settings.tls_directory, "server", expires=metrics.tls_certificate_expires, stale=metrics.tls_files_stale
    )
    # No connection is made here: the ledger starts, and answers that Postgres is away, while it is.
    pool, readers, accounts = write_pool(settings), read_pool(settings), accounts_pool(settings)
    texts = captures_pool(settings)
    keys = Keys(accounts, read_pepper(settings.key_pepper_file))
    client = open_redis(
        settings.redis_url,
        settings.redis_access(),
        max_connections=_REDIS_CONNECTIONS,
        socket_timeout_seconds=_SOCKET_TIMEOUT_SECONDS,
    )
    with ExitStack() as stack:
        stack.enter_context(serve_metrics(registry, health, settings.host, settings.metrics_port))
        async with closing(pool), closing(readers), closing(accounts), closing(texts):
            store = Store(pool, STATEMENT_TIMEOUT_SECONDS)
            prices = PriceList(pool, STATEMENT_TIMEOUT_SECONDS)
            budgets = BudgetPublisher(pool, client, metrics)
            partitions = PartitionKeeper(
                pool,
                metrics,
                retention_months=settings.retention_months,
                timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
            )
            consumer = Consumer(
                client,
                store,
                prices,
                metrics,
                name=settings.consumer,
                claim_after_seconds=settings.claim_after_seconds,
            )
            service = LedgerService(Reader(readers), prices, metrics)
            account_service = AccountsService(Accounts(accounts), keys, Budgets(accounts), metrics)

            captures = Captures(texts)

            def register(server: grpc.aio.Server) -> None:
                ledger_pb2_grpc.add_LedgerServiceServicer_to_server(service, server)
                accounts_pb2_grpc.add_AccountsServiceServicer_to_server(account_service, server)
                captures_pb2_grpc.add_CaptureServiceServicer_to_server(CaptureService(captures, metrics), server)

            server = RpcServer(
                join_address(settings.host, settings.port),
                SERVICES,
                register,
                credentials=transport.server_credentials(),
                guard=guard_calls(settings.rpc_token_file, metrics.calls_refused),
                reflects=settings.reflection,
            )
            await server.start()
            health.is_serving = True
            chores = Chores(settings, client, store, prices, budgets, partitions, metrics).start()
            publisher = KeyPublisher(accounts, client, metrics)
            chores.append(asyncio.create_task(repeat("publish_keys", _KEYS_INTERVAL_SECONDS, publisher.turn)))
            expiry = CaptureExpiry(captures, metrics)
            chores.append(asyncio.create_task(repeat("expire_captures", EXPIRY_INTERVAL_SECONDS, expiry.turn)))
            chores.append(asyncio.create_task(transport.watch()))
            chores.append(asyncio.create_task(watch_loop_lag(metrics.loop_lag)))
            log.info("started", address=join_address(settings.host, settings.port), consumer=settings.consumer)
            try:
                await consumer.run(stop)
            finally:
                log.info("draining")
                await server.stop(settings.drain_timeout_seconds)
                for chore in chores:
                    chore.cancel()
                await asyncio.wait(chores)
                await client.aclose()
    log.info("stopped")


def main() -> None:
    """Serve, migrate or run an operator's command; exit with 1 and one line when it cannot be done."""
    if sys.argv[1:] and sys.argv[1] != "migrate":
        sys.exit(run_command(sys.argv[1:]))
    migration = parse_migrate(sys.argv[2:]) if sys.argv[1:] else None
    settings = load_settings(Settings)
    logs = configure_logs("cost-ledger", settings.log_level)
    try:
        run(lambda: migration(settings) if migration else serve(settings, logs))
    except (LedgerError, TlsFilesUnusable, RpcTokenUnusable, PepperUnusable, OSError, RuntimeError) as error:
        log.error("start_failed", reason=str(error))  # noqa: TRY400 - one line, for a person
        sys.exit(1)


if __name__ == "__main__":
    main()
