"""Log lines that strangers can cause: at most so many a second of each kind, and none goes uncounted."""

from __future__ import annotations

import time
from typing import Any

import structlog

log = structlog.get_logger()

_MAX_PER_SECOND = 5
# Kinds come from tables of ours; this is for the mistake of taking one from a request.
_MAX_KINDS = 200


class LimitedLog:
    """Writes lines with level info; the next line of its kind says in `left_out` how many were not written."""

    def __init__(self, max_per_second: int = _MAX_PER_SECOND) -> None:
        self._max_per_second = max_per_second
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def info(self, event: str, reason: str, **fields: Any) -> None:
        """Write a line, unless there were too many with this event and reason in this second."""
        kind = self._kinds.get((event, reason))
        if kind is None:
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            kind = self._kinds[event, reason] = _Kind()
        now = time.monotonic()
        if now - kind.second_began >= 1.0:
            kind.second_began, kind.written = now, 0
        if kind.written >= self._max_per_second:
            kind.left_out += 1
            return
        kind.written += 1
        if kind.left_out:
            fields["left_out"] = kind.left_out
            kind.left_out = 0
        log.info(event, reason=reason, **fields)


class _Kind:
    __slots__ = ("left_out", "second_began", "written")

    def __init__(self) -> None:
        self.second_began = 0.0
        self.written = 0
        self.left_out = 0
