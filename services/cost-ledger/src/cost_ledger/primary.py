"""Finds the PostgreSQL that takes writes among the servers that COST_LEDGER_POSTGRES_URL names.

After a fail-over this is another one, and the former may still answer: as a standby, read-only, or not at all while its
port accepts connections. Each server therefore has a time of its own, and is asked for its role at every connection.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Literal

import asyncpg

# Scheme and login, hosts, the rest. urllib refuses several hosts when one is an IPv6 address (since Python 3.11.4).
_SERVERS = re.compile(r"([^:/?#]+://(?:[^/?#]*@)?)([^/?#]*)(.*)", re.DOTALL)
# For one server: address, TLS, login, role. Three dead ones before the right one still leave time for a statement.
CONNECT_SECONDS = 3.0
# What a server that is away, starting, full, of another role or without the database makes asyncpg raise.
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def server_urls(url: str) -> list[str]:
    """Return a URL for each of the servers in `postgresql://USER@HOST:PORT,HOST:PORT/DATABASE`.

    Servers in its query (`?host=...`) stay together: asyncpg tries them one after the other.
    """
    parts = _SERVERS.fullmatch(url)
    return [parts[1] + host + parts[3] for host in parts[2].split(",")] if parts else [url]


def with_database(url: str, database: str) -> str:
    """Return the URL with the name of another database."""
    parts = _SERVERS.fullmatch(url)
    if parts is None:
        return url
    _, question_mark, query = parts[3].partition("?")
    return f"{parts[1]}{parts[2]}/{database}{question_mark}{query}"


class Primary:
    """Connects to the server that is the primary now, first to the one that was it the last time."""

    def __init__(self, wanted: Literal["primary", "read-write"]) -> None:
        """`wanted`: any primary, or one that takes writes; what the URL says as `target_session_attrs` does not count.

        The readers' sessions are read-only by their own setting, so theirs is a `primary`.
        """
        self._wanted = wanted
        self._first = 0

    async def connect(self, dsn: str | None = None, **options: Any) -> asyncpg.Connection:
        """Return a connection as `asyncpg.connect` does; `options` are its arguments.

        Raises what it raises. When no server will do, a reason that PostgreSQL gave goes before one of the network.
        """
        urls = server_urls(dsn or "")
        failures: list[Exception] = []
        start = self._first
        for offset in range(len(urls)):
            number = (start + offset) % len(urls)
            try:
                connection: asyncpg.Connection = await asyncpg.connect(
                    urls[number], **{**options, "timeout": CONNECT_SECONDS, "target_session_attrs": self._wanted}
                )
            except _FAILURES as error:
                failures.append(error)
            except asyncio.CancelledError:
                # The caller gave up while this one hung: the next caller begins with the one after it.
                self._first = (number + 1) % len(urls)
                raise
            else:
                self._first = number
                return connection
        raise next((error for error in failures if isinstance(error, asyncpg.PostgresError)), failures[-1])
