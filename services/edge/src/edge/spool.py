"""Where cost events wait while Redis is away: an SQLite file, synced to disk before an event counts as kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class SpoolFull(Exception):
    """The disk took no more."""


class Spool:
    """A queue on disk, oldest first. All SQLite work happens in one thread of its own, off the event loop."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; OSError or sqlite3.Error when that cannot be done."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._connection = _open(path)
        self.depth: int = self._connection.execute("SELECT count(*) FROM events").fetchone()[0]
        """How many events wait."""

    async def append(self, event: bytes) -> None:
        """Keep `event`; it is on disk when this returns. SpoolFull when the disk takes no more."""
        try:
            await self._in_thread(self._append, event)
        except sqlite3.Error as error:
            raise SpoolFull from error

    async def oldest(self, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return up to `limit` events with their sequence numbers, oldest first."""
        return await self._in_thread(self._oldest, limit)

    async def remove_through(self, seq: int) -> None:
        """Forget all events up to and including `seq`."""
        await self._in_thread(self._remove_through, seq)

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _append(self, event: bytes) -> None:
        self._connection.execute("INSERT INTO events (event) VALUES (?)", (event,))
        self.depth += 1

    def _oldest(self, limit: int) -> list[tuple[int, bytes]]:
        return self._connection.execute("SELECT seq, event FROM events ORDER BY seq LIMIT ?", (limit,)).fetchall()

    def _remove_through(self, seq: int) -> None:
        self.depth -= self._connection.execute("DELETE FROM events WHERE seq <= ?", (seq,)).rowcount


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection
