"""Where cost events wait while Redis is away: an SQLite file, synced to disk before an event counts as kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# For the ends of requests that have begun: a part of the largest size, as large as that many open requests need.
_RESERVED_PART = 16


class SpoolFull(Exception):
    """There is no room for the event, in the file or on its disk."""


class SpoolTaken(Exception):
    """Another process has the file."""


@dataclass(frozen=True, slots=True)
class _Append:
    """An event that somebody waits for to be kept."""

    event: bytes
    into_reserve: bool
    kept: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Spool:
    """A queue on disk, oldest first. All work on the file happens in one thread of its own, off the event loop."""

    def __init__(self, path: Path, max_bytes: int = 2**30) -> None:
        """Open or create the file, which never grows beyond `max_bytes`.

        OSError or sqlite3.Error when that cannot be done, SpoolTaken when another process has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._reserved_bytes = max_bytes // _RESERVED_PART
        self._lock = _take(path)
        try:
            self._connection = _open(path, max_bytes)
        except sqlite3.Error:
            os.close(self._lock)
            raise
        self._page_bytes = self._pragma("page_size")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._waiting: list[_Append] = []
        self._writing: asyncio.Task[None] | None = None
        self.depth: int = self._connection.execute("SELECT count(*) FROM events").fetchone()[0]
        """How many events wait."""

    async def append(self, event: bytes, *, into_reserve: bool = True) -> None:
        """Keep `event`; it is on disk when this returns. SpoolFull when there is no room.

        The last part of the room is for those who may go `into_reserve`. Events that come while the disk is busy are
        synced together.
        """
        append = _Append(event, into_reserve)
        self._waiting.append(append)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await append.kept

    async def oldest(self, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return up to `limit` events with their sequence numbers, oldest first."""
        return await self._in_thread(self._oldest, limit)

    async def remove_through(self, seq: int) -> None:
        """Forget all events up to and including `seq`."""
        await self._in_thread(self._remove_through, seq)

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        if self._writing is not None:
            await self._writing
        await self._in_thread(self._connection.close)
        self._thread.shutdown()
        os.close(self._lock)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                kept = await self._in_thread(self._append_all, batch)
            except Exception as error:  # noqa: BLE001 - told to everybody who waits for it
                results: list[Exception | None] = [error] * len(batch)
            else:
                results = [None if is_kept else SpoolFull() for is_kept in kept]
            for append, error_or_none in zip(batch, results, strict=True):
                if append.kept.done():
                    continue  # its caller was cancelled; the event is kept all the same
                if error_or_none is None:
                    append.kept.set_result(None)
                else:
                    append.kept.set_exception(error_or_none)

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _append_all(self, batch: Sequence[_Append]) -> list[bool]:
        """Keep all in one transaction, or each by itself when that fails; tell which were kept."""
        try:
            return self._append_together(batch)
        except sqlite3.Error:
            return [self._append_alone(append) for append in batch]

    def _append_alone(self, append: _Append) -> bool:
        try:
            return self._append_together([append])[0]
        except sqlite3.Error:
            return False

    def _append_together(self, batch: Sequence[_Append]) -> list[bool]:
        is_roomy = self._is_roomy()
        kept = [append.into_reserve or is_roomy for append in batch]
        events = [(append.event,) for append, is_kept in zip(batch, kept, strict=True) if is_kept]
        with self._connection:  # rolls back when anything fails
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO events (event) VALUES (?)", events)
        self.depth += len(events)
        return kept

    def _is_roomy(self) -> bool:
        """Tell whether there is room beside the reserve, in the file and on its disk."""
        pages = self._pragma("max_page_count") - self._pragma("page_count") + self._pragma("freelist_count")
        room = min(pages * self._page_bytes, shutil.disk_usage(self._path.parent).free)
        return room > self._reserved_bytes

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _oldest(self, limit: int) -> list[tuple[int, bytes]]:
        return self._connection.execute("SELECT seq, event FROM events ORDER BY seq LIMIT ?", (limit,)).fetchall()

    def _remove_through(self, seq: int) -> None:
        self.depth -= self._connection.execute("DELETE FROM events WHERE seq <= ?", (seq,)).rowcount


def _take(path: Path) -> int:
    """Return the descriptor of a lock that is let go when this process ends, however it ends."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SpoolTaken(f"{path}: another edge has this spool; each edge needs a file of its own") from error
    return lock


def _open(path: Path, max_bytes: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL)"
        )
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
