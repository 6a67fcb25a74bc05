"""Brings the database up to date: creates it, runs the revisions that are missing, imports the price book.

Or waits until another process has done so, as a new ledger does in a rollout.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import resources
from urllib.parse import unquote, urlsplit

import alembic.command
import alembic.config
import asyncpg
import structlog
from alembic.script import ScriptDirectory

from cost_ledger.connections import LOCK_TIMEOUT_MS, OUTAGES
from cost_ledger.errors import MigrationFailed
from cost_ledger.prices.book import Touched, import_price_book
from cost_ledger.prices.file import load_price_file
from cost_ledger.primary import Primary, server_urls, with_database
from cost_ledger.schema.partitions import ensure_partitions
from cost_ledger.settings import Settings

log = structlog.get_logger()

# Any constant; two migrations at the same time must run one after the other.
_LOCK = 0x5B111A7E
_REMEDY = "run `python -m cost_ledger migrate`"
# Errors of a server that is away, starting, ending, full or no primary: trying again may help.
_UNREACHABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
)
# For a table in use by a long transaction: how often a change is tried, and the pause between two tries.
_TRIES = 20
_PAUSE_SECONDS = 1.0


async def migrate(settings: Settings, wait_seconds: float = 0) -> None:
    """Create the database if need be and bring it up to date; does nothing that is done already.

    A database of a newer ledger is left as it is: this is the old one, to which was rolled back. A server that cannot
    be reached yet is tried again for `wait_seconds`. MigrationFailed, PriceBookInvalid or ImportRefused with one line
    for the operator.
    """
    prices = load_price_file(settings.price_book_file).prices
    try:
        await _until_done(lambda: _ensure_database(settings), _UNREACHABLE, wait_seconds)
        async with _connected(settings) as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            if is_newer(current := await _revision(connection)):
                log.warning("database_newer", revision=current)
                return
            await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
            await _patiently(lambda: _upgrade(connection))
            await _patiently(lambda: ensure_partitions(connection, datetime.now(UTC).date()))
            await connection.execute("RESET lock_timeout")
            # The book of a new version may have prices that changed since the last one.
            imported = await import_price_book(connection, prices, may_backdate=True)
            log.info("price_book_imported", entries=len(prices), changed=imported.changed)
            _log_what_is_due(imported.touched)
    except OUTAGES as error:
        raise MigrationFailed(f"the database cannot be brought up to date: {type(error).__name__}: {error}") from error


async def check(settings: Settings, wait_seconds: float = 0) -> None:
    """Return when the database is as new as this ledger, or newer: then this ledger may serve.

    Checks again for `wait_seconds`; then MigrationFailed with one line for the operator. Changes nothing.
    """
    try:
        await _until_done(lambda: _check_once(settings), (*_UNREACHABLE, MigrationFailed), wait_seconds)
    except OUTAGES as error:
        raise MigrationFailed(f"the database cannot be checked: {type(error).__name__}: {error}") from error


def _log_what_is_due(touched: Sequence[Touched]) -> None:
    for each in touched:
        log.warning(
            "reprice_due",
            provider=each.time.provider,
            target_model=each.time.target_model,
            from_day=each.time.start.date().isoformat(),
            attempts=each.attempts,
        )


async def connect(
    settings: Settings, database: str | None = None, command_timeout_seconds: float | None = None
) -> asyncpg.Connection:
    """Open one connection, to `database` instead of the URL's when given."""
    url = settings.postgres_url
    if database is not None:
        url = with_database(url, database)
    return await Primary("read-write").connect(
        url, password=settings.postgres_password(), command_timeout=command_timeout_seconds
    )


async def _ensure_database(settings: Settings) -> None:
    name = unquote(urlsplit(server_urls(settings.postgres_url)[0]).path.removeprefix("/"))
    if not name:
        raise MigrationFailed("COST_LEDGER_POSTGRES_URL names no database")
    try:
        connection = await connect(settings)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(settings, name)
    else:
        await connection.close()


async def _create_database(settings: Settings, name: str) -> None:
    connection = await connect(settings, "postgres")
    try:
        quoted = '"' + name.replace('"', '""') + '"'
        await connection.execute(f"CREATE DATABASE {quoted}")
        log.info("database_created", database=name)
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        # The second of the two is what PostgreSQL says when both create it at the same moment.
        log.info("database_created_by_another", database=name)
    finally:
        await connection.close()


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(settings)
    try:
        yield connection
    finally:
        await connection.close()


async def _until_done(
    work: Callable[[], Awaitable[object]], temporary: tuple[type[Exception], ...], wait_seconds: float
) -> None:
    """Repeat `work` while it fails with one of `temporary`, for `wait_seconds`; then raise the failure."""
    end = time.monotonic() + wait_seconds
    logged = ""
    while True:
        try:
            await work()
        except temporary as error:
            if time.monotonic() >= end:
                raise
            if logged != (reason := f"{type(error).__name__}: {error}"):
                log.warning("waiting_for_the_database", reason=reason)
                logged = reason
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return


async def _check_once(settings: Settings) -> None:
    try:
        async with _connected(settings) as connection:
            current = await _revision(connection)
    except asyncpg.InvalidCatalogNameError as error:
        raise MigrationFailed(f"there is no database yet: {_REMEDY}") from error
    if is_newer(current):
        log.warning("database_newer", revision=current)
    elif current != (head := revisions()[-1]):
        raise MigrationFailed(f"the database is at revision {current} and this ledger needs {head}: {_REMEDY}")
    else:
        log.info("database_ready", revision=current)


async def _patiently(change: Callable[[], Awaitable[object]]) -> None:
    """Repeat a change of tables while they are in use; between two tries the old code goes on working."""
    for _ in range(_TRIES - 1):
        try:
            await change()
        except asyncpg.LockNotAvailableError:
            log.warning("tables_in_use", again_in_seconds=_PAUSE_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    await change()


async def _upgrade(connection: asyncpg.Connection) -> None:
    """Run the missing revisions; statements that are sent together are one transaction."""
    current = await _revision(connection)
    if sql := sql_between(current, "head"):
        await connection.execute(sql)
    log.info("database_migrated", from_revision=current, changed=bool(sql))


async def _revision(connection: asyncpg.Connection) -> str | None:
    """Return the revision of the tables; None when there are none."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


def is_newer(revision: str | None) -> bool:
    """Whether the tables are of a newer ledger, whose `revision` this one does not know.

    It works on them all the same: every revision leaves older code working.
    """
    return revision is not None and revision not in revisions()


def revisions() -> list[str]:
    """Return all revisions, the oldest first."""
    walk = ScriptDirectory.from_config(_config(io.StringIO())).walk_revisions()
    return [script.revision for script in walk][::-1]


def sql_between(current: str | None, target: str) -> str:
    """Return the SQL from revision `current` (None: an empty database) to `target`; empty if nothing is missing."""
    buffer = io.StringIO()
    alembic.command.upgrade(_config(buffer), target if current is None else f"{current}:{target}", sql=True)
    sql = buffer.getvalue()
    return sql if "alembic_version" in sql else ""


def _config(output: io.StringIO) -> alembic.config.Config:
    config = alembic.config.Config(output_buffer=output, stdout=io.StringIO())
    config.set_main_option("script_location", str(resources.files("cost_ledger") / "schema"))
    return config
