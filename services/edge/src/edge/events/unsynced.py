"""Cost events that Redis has accepted in the last seconds and may not have synced to its disk yet (ADR 15)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

# Redis syncs its file every second, and postpones a write by two more when the disk is slow.
SAFE_AFTER_SECONDS = 5.0
# About 10 MB. Reaching it takes 2,000 events a second, which is beyond what one edge can emit.
_MAX_EVENTS = 10_000


class UnsyncedEvents:
    """Events in the order in which Redis accepted them, each until it is known to be on disk."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, bytes]] = deque(maxlen=_MAX_EVENTS)
        self._run_id = ""

    def add(self, events: Iterable[bytes]) -> None:
        """Add events that Redis has just accepted."""
        now = time.monotonic()
        self._events.extend((now, event) for event in events)

    def unconfirmed(self, run_id: str, asked_at: float) -> Sequence[bytes]:
        """Return the events that Redis may have lost: all of them when `run_id` shows that it was restarted.

        `asked_at` is the monotonic time at which Redis was asked for its run id. Events older than that by
        SAFE_AFTER_SECONDS have survived and are dropped.
        """
        if self._run_id and run_id != self._run_id:
            return [event for _, event in self._events]
        self._run_id = run_id
        while self._events and self._events[0][0] < asked_at - SAFE_AFTER_SECONDS:
            self._events.popleft()
        return []

    def resent(self, count: int, run_id: str) -> None:
        """Note that the run `run_id` of Redis has accepted the oldest `count` events once more."""
        again = [event for _, event in islice(self._events, count)]
        for _ in again:
            self._events.popleft()
        self._run_id = run_id
        self.add(again)
