"""The cost events of the last seconds, which Redis has taken but may not have on its disk yet (ADR 15)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

# Redis syncs its file every second, and puts a write off by two when the disk is slow.
SAFE_AFTER_SECONDS = 5.0
# About 10 MB, and 2,000 events a second for the time above: an edge does not get there.
_MOST = 10_000


class RecentEvents:
    """Events in the order in which Redis took them, each until it is known to be safe there."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, bytes]] = deque(maxlen=_MOST)
        self._run_id = ""

    def took(self, events: Iterable[bytes]) -> None:
        """Note that Redis took `events` just now."""
        now = time.monotonic()
        self._events.extend((now, event) for event in events)

    def doubtful(self, run_id: str, asked_at: float) -> Sequence[bytes]:
        """Return what a Redis that calls this run of itself `run_id` may have lost: all, if it is another run.

        `asked_at`, on the monotonic clock, is when it was asked. What it has survived for long enough is forgotten.
        """
        if self._run_id and run_id != self._run_id:
            return [event for _, event in self._events]
        self._run_id = run_id
        while self._events and self._events[0][0] < asked_at - SAFE_AFTER_SECONDS:
            self._events.popleft()
        return []

    def told_again(self, count: int, run_id: str) -> None:
        """Note that the oldest `count` events were sent again to the run `run_id`, which took them."""
        again = [event for _, event in islice(self._events, count)]
        for _ in again:
            self._events.popleft()
        self._run_id = run_id
        self.took(again)
