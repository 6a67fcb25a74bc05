"""Connections borrowed from the pool and given back in bounded time, also by a server that hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import asyncpg.pool

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
# What a statement may raise because of Postgres or the way to it, and not because of its values. asyncpg calls it an
# error of its own when a server that ends says so between two statements and the connection is used before it closes.
OUTAGES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Resetting a connection takes a round trip; one that needs longer is cut, and the pool makes another.
RELEASE_SECONDS = 0.2
# How long a change of a table waits for those who use it; all who come later wait behind it. Less than PostgreSQL's
# `deadlock_timeout` (1 s), so that in a circle it is the change that gives way and not a reader.
LOCK_TIMEOUT_MS = 800


@asynccontextmanager
async def borrowed(
    pool: asyncpg.Pool, timeout_seconds: float | None = None
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Yield a connection; TimeoutError when none is free or made within `timeout_seconds`.

    By itself the pool waits for a server that hangs as long as that does when a statement was cancelled or timed out.
    """
    connection = await pool.acquire(timeout=timeout_seconds)
    try:
        yield connection
    finally:
        # When this fails the pool has cut the connection already. Told on, it would take the place of a cancellation.
        with suppress(*OUTAGES):
            await pool.release(connection, timeout=RELEASE_SECONDS)
