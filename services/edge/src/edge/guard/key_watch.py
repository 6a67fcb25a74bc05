"""Puts the API keys on disk in force when they change: added keys work, removed ones are dead, within five seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from edge.guard.keys import KeyEntry, KeyRing, KeysError, parse_keys, read_keys_file
from edge.guard.recorded_keys import RecordedKeys
from edge.metrics import Metrics

log = structlog.get_logger()

# Two checks see a change before it counts; with a busy disk and a long file that is within five seconds.
KEYS_INTERVAL_SECONDS = 1.0


class KeyWatch:
    """Compares the key file with the one in force. By content: a Secret is replaced by another target of a symlink."""

    def __init__(self, path: Path, metrics: Metrics, recorded: RecordedKeys | None = None) -> None:
        """Read the file; KeysError when it is missing or malformed. The keys of the ledger are `recorded`."""
        self._path = path
        self._metrics = metrics
        content = read_keys_file(path)
        self._in_force: bytes | str = content
        self._seen: bytes | str = content
        self._refused: bytes | str | None = None
        self.ring = KeyRing(parse_keys(path, content), recorded)
        """The keys in force, the same object at all times."""

    async def check(self) -> None:
        """Put a changed file in force if it is valid; if not, log that once and keep the keys in force.

        It must be the same at two checks: an editor may write it piece by piece, and half a list is a valid one.
        """
        found = await asyncio.to_thread(self._read)
        has_settled, self._seen = found == self._seen, found
        if not has_settled or found == self._refused:
            return
        if found == self._in_force:
            self._refused = None
            self._metrics.keys_stale.set(0)
            return
        try:
            entries = await asyncio.to_thread(self._parse, found)
        except KeysError as error:
            self._refused = found
            self._metrics.keys_stale.set(1)
            log.error("keys_refused", reason=str(error))  # noqa: TRY400 - one line, for a person
            return
        added, removed = self.ring.replace(entries)
        self._in_force, self._refused = found, None
        self._metrics.keys_stale.set(0)
        log.info("keys_reloaded", keys=len(entries), added=added, removed=removed)

    def _parse(self, found: bytes | str) -> list[KeyEntry]:
        if isinstance(found, str):
            raise KeysError(found)
        return parse_keys(self._path, found)

    def _read(self) -> bytes | str:
        """Return what is in the file, as bytes, or why nothing can be read, as text."""
        try:
            return read_keys_file(self._path)
        except KeysError as error:
            return str(error)
