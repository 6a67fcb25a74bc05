"""Puts the API keys on disk in force when they change: added keys work, removed ones are dead, within five seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.guard.keys import KeyEntry, KeyRing, KeysError, parse_keys
from edge.guard.recorded_keys import RecordedKeys
from edge.metrics import Metrics
from servicekit.followed_file import FollowedFile

# Two checks see a change before it counts; with a busy disk and a long file that is within five seconds.
KEYS_INTERVAL_SECONDS = 1.0


class KeyWatch:
    """Follows the key file."""

    def __init__(self, path: Path, metrics: Metrics, recorded: RecordedKeys | None = None) -> None:
        """Read the file; KeysError when it is missing or malformed. The keys of the ledger are `recorded`."""
        self._file = FollowedFile(path, parse_keys, KeysError, self._replace, metrics.keys_stale, "keys")
        self.ring = KeyRing(self._file.first, recorded)
        """The keys in force, the same object at all times."""

    async def check(self) -> None:
        """Put a changed file in force if it is valid."""
        await self._file.check()

    def _replace(self, entries: list[KeyEntry]) -> Mapping[str, int]:
        added, removed = self.ring.replace(entries)
        return {"keys": len(entries), "added": added, "removed": removed}
