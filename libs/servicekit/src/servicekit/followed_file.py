"""A file that is followed: what is in it comes into force while the process runs, if it is valid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

T = TypeVar("T")


class FollowedFile(Generic[T]):
    """Compares a file with the one in force. By content: a Secret is replaced by another target of a symlink."""

    def __init__(
        self,
        path: Path,
        parse: Callable[[Path, bytes], T],
        refused: type[Exception],
        put_in_force: Callable[[T], Mapping[str, Any]],
        stale: Gauge,
        subject: str,
    ) -> None:
        """Read the file; raises what `parse` raises, or `refused` when there is no such file.

        `parse` raises `refused`, with a text for a person, when the content is not valid. `put_in_force` is not called
        for the first content, which is `first`, and returns what the log line says. `stale` is 1 while the file on disk
        is refused. The log lines are `SUBJECT_reloaded` and `SUBJECT_refused`.
        """
        self._path = path
        self._parse = parse
        self._refused_error = refused
        self._put_in_force = put_in_force
        self._stale = stale
        self._subject = subject
        content = self._read()
        if isinstance(content, str):
            raise refused(content)
        self._in_force: bytes | str = content
        self._seen: bytes | str = content
        self._refused: bytes | str | None = None
        self.first = parse(path, content)
        """What was in the file at the start."""

    async def check(self) -> None:
        """Put a changed file in force if it is valid; if not, log that once and keep what is in force.

        It must be the same at two checks: an editor may write it piece by piece, and half a list is a valid one.
        """
        found = await asyncio.to_thread(self._read)
        has_settled, self._seen = found == self._seen, found
        if not has_settled or found == self._refused:
            return
        if found == self._in_force:
            self._refused = None
            self._stale.set(0)
            return
        try:
            content = await asyncio.to_thread(self._parsed, found)
        except self._refused_error as error:
            self._refused = found
            self._stale.set(1)
            log.error(f"{self._subject}_refused", reason=str(error))  # noqa: TRY400 - one line, for a person
            return
        told = self._put_in_force(content)
        self._in_force, self._refused = found, None
        self._stale.set(0)
        log.info(f"{self._subject}_reloaded", **told)

    def _parsed(self, found: bytes | str) -> T:
        if isinstance(found, str):
            raise self._refused_error(found)
        return self._parse(self._path, found)

    def _read(self) -> bytes | str:
        """Return what is in the file, as bytes, or why nothing can be read, as text."""
        try:
            return self._path.read_bytes()
        except OSError as error:
            return f"{self._path}: {error.strerror}"
