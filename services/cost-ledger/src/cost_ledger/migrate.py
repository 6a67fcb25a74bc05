"""Brings the database up to date: creates it, runs the revisions that are missing, imports the price book."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from importlib import resources
from urllib.parse import unquote, urlsplit, urlunsplit

import alembic.command
import alembic.config
import asyncpg
import structlog
from alembic.script import ScriptDirectory

from cost_ledger.connections import LOCK_TIMEOUT_MS, OUTAGES
from cost_ledger.errors import MigrationFailed
from cost_ledger.partitions import ensure_partitions
from cost_ledger.price_book import Touched, import_price_book
from cost_ledger.price_file import load_price_file
from cost_ledger.settings import Settings

log = structlog.get_logger()

_CONNECT_TIMEOUT_SECONDS = 10.0
# Any constant; two migrations at the same time must run one after the other.
_LOCK = 0x5B111A7E
# A table in use by a long transaction: how often it is tried again, and the pause before that.
_TRIES = 20
_PAUSE_SECONDS = 1.0


async def migrate(settings: Settings) -> None:
    """Create the database if need be and bring it up to date; does nothing that is done already.

    MigrationFailed, PriceBookInvalid or ImportRefused with one line for the operator.
    """
    prices = load_price_file(settings.price_book_file).prices
    try:
        await _ensure_database(settings)
        connection = await connect(settings)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
            await _patiently(lambda: _upgrade(connection))
            await _patiently(lambda: ensure_partitions(connection, datetime.now(UTC).date()))
            await connection.execute("RESET lock_timeout")
            # A book that comes with a new version tells of prices that have changed since the one before.
            imported = await import_price_book(connection, prices, may_backdate=True)
            log.info("price_book_imported", entries=len(prices), changed=imported.changed)
            _tell_what_is_due(imported.touched)
        finally:
            await connection.close()
    except OUTAGES as error:
        raise MigrationFailed(f"the database cannot be brought up to date: {type(error).__name__}: {error}") from error


def _tell_what_is_due(touched: Sequence[Touched]) -> None:
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
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(path=f"/{database}"))
    return await asyncpg.connect(
        url,
        password=settings.postgres_password(),
        timeout=_CONNECT_TIMEOUT_SECONDS,
        command_timeout=command_timeout_seconds,
    )


async def _ensure_database(settings: Settings) -> None:
    name = unquote(urlsplit(settings.postgres_url).path.removeprefix("/"))
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


async def _patiently(change: Callable[[], Awaitable[object]]) -> None:
    """Try a change of tables again while somebody uses them; between two tries the old code works on."""
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
    """Run the revisions that are missing, in one transaction: statements that are sent together are one."""
    current = None
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is not None:
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    if current is not None and current not in revisions():
        # A newer ledger was here and this one is rolled back to: old code works on the new schema.
        log.warning("database_newer", revision=current)
        sql = ""
    else:
        sql = sql_between(current, "head")
    if sql:
        await connection.execute(sql)
    log.info("database_migrated", from_revision=current, changed=bool(sql))


def revisions() -> list[str]:
    """Return all revisions, the oldest first."""
    walk = ScriptDirectory.from_config(_config(io.StringIO())).walk_revisions()
    return [script.revision for script in walk][::-1]


def sql_between(current: str | None, target: str) -> str:
    """Return the SQL that leads from revision `current` (None: an empty database) to `target`; empty: nothing to do."""
    buffer = io.StringIO()
    alembic.command.upgrade(_config(buffer), target if current is None else f"{current}:{target}", sql=True)
    sql = buffer.getvalue()
    return sql if "alembic_version" in sql else ""


def _config(output: io.StringIO) -> alembic.config.Config:
    config = alembic.config.Config(output_buffer=output, stdout=io.StringIO())
    config.set_main_option("script_location", str(resources.files("cost_ledger") / "migrations"))
    return config
