"""The spool: cost events wait here while Redis is away, in an SQLite file that is synced after each write."""

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
from typing import NamedTuple, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# The reserve is 1/16 of the maximum size: enough for the settled events of all requests that are open at one time.
_RESERVE_DIVISOR = 16


class SpoolFull(Exception):
    """The file, or its disk, has no space left for the event."""


class SpoolInUse(Exception):
    """Another process has locked the file."""


class SpooledEvent(NamedTuple):
    """A row of the file."""

    sequence: int
    event: bytes


@dataclass(frozen=True, slots=True)
class _Append:
    """An event to be written, and the future that its caller awaits."""

    event: bytes
    may_use_reserve: bool
    written: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Spool:
    """A queue on disk, oldest first. All file access happens in one dedicated thread, off the event loop."""

    def __init__(self, path: Path, max_bytes: int = 2**30) -> None:
        """Open or create the file, which never grows beyond `max_bytes`.

        OSError or sqlite3.Error when that fails, SpoolInUse when another process has the file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._reserved_bytes = max_bytes // _RESERVE_DIVISOR
        self._lock = _acquire_lock(path)
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
        """The number of events in the queue."""

    async def append(self, event: bytes, *, may_use_reserve: bool = True) -> None:
        """Append `event`; it is on disk when this returns. SpoolFull when there is no space left.

        Without `may_use_reserve` the reserve stays free. Events that arrive while the disk is busy are synced together.
        """
        append = _Append(event, may_use_reserve)
        self._waiting.append(append)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await append.written

    async def oldest(self, limit: int) -> Sequence[SpooledEvent]:
        """Return up to `limit` events, oldest first."""
        return await self._in_thread(self._oldest, limit)

    async def remove_through(self, sequence: int) -> None:
        """Delete all events up to and including `sequence`."""
        await self._in_thread(self._remove_through, sequence)

    async def close(self) -> None:
        """Finish pending writes and close the file."""
        if self._writing is not None:
            await self._writing
        await self._in_thread(self._connection.close)
        self._thread.shutdown()
        os.close(self._lock)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                written = await self._in_thread(self._append_all, batch)
            except Exception as error:  # noqa: BLE001 - passed on to every caller that waits
                errors: list[Exception | None] = [error] * len(batch)
            else:
                errors = [None if is_written else SpoolFull() for is_written in written]
            for append, append_error in zip(batch, errors, strict=True):
                if append.written.done():
                    continue  # its caller was cancelled; the event is on disk all the same
                if append_error is None:
                    append.written.set_result(None)
                else:
                    append.written.set_exception(append_error)

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _append_all(self, batch: Sequence[_Append]) -> list[bool]:
        """Write all in one transaction, or one by one when that fails; return for each whether it was written."""
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
        has_free_space = self._has_free_space()
        written = [append.may_use_reserve or has_free_space for append in batch]
        events = [(append.event,) for append, is_written in zip(batch, written, strict=True) if is_written]
        with self._connection:  # rolls back when anything fails
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO events (event) VALUES (?)", events)
        self.depth += len(events)
        return written

    def _has_free_space(self) -> bool:
        """Return whether both the file and its disk have space left besides the reserve."""
        pages = self._pragma("max_page_count") - self._pragma("page_count") + self._pragma("freelist_count")
        free_bytes = min(pages * self._page_bytes, shutil.disk_usage(self._path.parent).free)
        return free_bytes > self._reserved_bytes

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _oldest(self, limit: int) -> list[SpooledEvent]:
        rows = self._connection.execute("SELECT seq, event FROM events ORDER BY seq LIMIT ?", (limit,))
        return [SpooledEvent(*row) for row in rows]

    def _remove_through(self, sequence: int) -> None:
        self.depth -= self._connection.execute("DELETE FROM events WHERE seq <= ?", (sequence,)).rowcount


def _acquire_lock(path: Path) -> int:
    """Return the descriptor of a lock that the kernel releases when this process ends, even when it is killed."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SpoolInUse(f"{path}: another edge uses this spool; each edge needs a file of its own") from error
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
