"""Pools of connections, borrowed and given back in bounded time, also when the server hangs.

A connection that turns out to be no good, because its server hangs, is gone or has become read-only, is cut and takes
all others of its pool with it: the next ones are made to the server that is the primary by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import asyncpg.pool
import structlog

from cost_ledger.primary import Primary
from cost_ledger.settings import Settings

log = structlog.get_logger()

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
# What a statement may raise because of Postgres or the network, and not because of its values. asyncpg raises an error
# of its own when a server that ends says so between two statements and the connection is used before it closes.
OUTAGES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Resetting a connection takes a round trip; one that needs longer is cut, and the pool makes another.
RELEASE_SECONDS = 0.2
# How long a change of a table waits for the statements that use it; all later ones wait behind it. Less than
# PostgreSQL's `deadlock_timeout` (1 s), so that in a deadlock it is the change that gives way and not a reader.
LOCK_TIMEOUT_MS = 800
STATEMENT_TIMEOUT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
ACCOUNTS_POOL_SIZE = 2
CAPTURES_POOL_SIZE = 2


def write_pool(settings: Settings) -> asyncpg.Pool:
    """Return connections for recording and for the periodic work; none is made yet."""
    return _write_pool(settings, settings.pool_size, "cost-ledger")


def accounts_pool(settings: Settings) -> asyncpg.Pool:
    """Return connections for accounts: changes wait for each other, and recording must not wait for them."""
    return _write_pool(settings, ACCOUNTS_POOL_SIZE, "cost-ledger-accounts")


def captures_pool(settings: Settings) -> asyncpg.Pool:
    """Return connections for captured texts: nothing else must wait for these."""
    return _write_pool(settings, CAPTURES_POOL_SIZE, "cost-ledger-captures")


def _write_pool(settings: Settings, max_size: int, name: str) -> asyncpg.Pool:
    return asyncpg.create_pool(
        settings.postgres_url,
        password=settings.postgres_password(),
        min_size=0,
        max_size=max_size,
        connect=Primary("read-write").connect,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        server_settings={"application_name": name},
    )


@asynccontextmanager
async def closing(pool: asyncpg.Pool) -> AsyncIterator[None]:
    """Open `pool` while the block runs; a Postgres that does not answer does not keep the process from ending."""
    await pool
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except OUTAGES as error:
            log.warning("pool_cut_off", cause=type(error).__name__)


@asynccontextmanager
async def borrowed(
    pool: asyncpg.Pool, timeout_seconds: float | None = None
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Yield a connection; TimeoutError when none is free or made within `timeout_seconds`.

    Without this bound the pool would wait for a hanging server after a statement was cancelled or timed out.
    """
    connection = await pool.acquire(timeout=timeout_seconds)
    is_lost = False
    try:
        yield connection
    except asyncpg.ReadOnlySQLTransactionError:
        # The server has been demoted, or made read-only; no statement of a writer helps here any more.
        is_lost = True
        connection.terminate()
        raise
    finally:
        is_lost = is_lost or connection.is_closed()
        try:
            await pool.release(connection, timeout=RELEASE_SECONDS)
        except OUTAGES:
            # The pool has cut the connection already. Raised, this would replace a cancellation.
            is_lost = True
        if is_lost:
            await pool.expire_connections()
