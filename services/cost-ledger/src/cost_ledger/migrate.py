"""Brings the database up to date: creates it, runs the revisions that are missing, imports the price book."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from urllib.parse import unquote, urlsplit, urlunsplit

import alembic.command
import alembic.config
import asyncpg
import structlog
from alembic.script import ScriptDirectory

from cost_ledger.errors import MigrationFailed
from cost_ledger.partitions import ensure_partitions
from cost_ledger.price_book import Touched, import_price_book
from cost_ledger.price_file import load_price_file
from cost_ledger.settings import Settings

log = structlog.get_logger()

_CONNECT_TIMEOUT_SECONDS = 10.0
# Any constant; two migrations at the same time must run one after the other.
_LOCK = 0x5B111A7E


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
            await _upgrade(connection)
            await ensure_partitions(connection, datetime.now(UTC).date())
            # A book that comes with a new version tells of prices that have changed since the one before.
            imported = await import_price_book(connection, prices, may_backdate=True)
            log.info("price_book_imported", entries=len(prices), changed=imported.changed)
            _tell_what_is_due(imported.touched)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
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


async def _upgrade(connection: asyncpg.Connection) -> None:
    """Run the revisions that are missing, each in its own transaction."""
    current = None
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is not None:
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    sql = _sql_from(current)
    if sql:
        await connection.execute(sql)
    log.info("database_migrated", from_revision=current, changed=bool(sql))


def _sql_from(current: str | None) -> str:
    """Return the SQL that leads from revision `current` (None: an empty database) to the newest."""
    buffer = io.StringIO()
    config = alembic.config.Config(output_buffer=buffer, stdout=io.StringIO())
    config.set_main_option("script_location", str(resources.files("cost_ledger") / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        # A newer ledger was here and this one is rolled back to: old code works on the new schema.
        log.warning("database_newer", revision=current)
        return ""
    target = "head" if current is None else f"{current}:head"
    alembic.command.upgrade(config, target, sql=True)
    sql = buffer.getvalue()
    return sql if "alembic_version" in sql else ""
