"""How much of the thread's time may go into what providers send."""

from __future__ import annotations

import asyncio
import time

# What brings no content may take so much of the thread's time: heads, pings, a large event that is coming in.
_FREE_SECONDS = 0.005
# Beyond that all connections together get this part of the thread's time, ...
_FRUITLESS_SHARE = 0.15
# ... and one that brings content gets this part: tens of thousands of chunks a second.
_CONTENT_SHARE = 0.25
# A timer cannot wait for less.
SHORT_SECONDS = 0.001


class FruitlessReading:
    """Bounds the time that goes into bytes without content, however fast providers send them: for all connections."""

    def __init__(self) -> None:
        self.next_turn = 0.0
        """From then on, on the loop's clock, what was counted is a small part of the time that has passed."""

    def add(self, seconds: float) -> None:
        """Count time of the thread."""
        self.next_turn = max(self.next_turn, asyncio.get_running_loop().time()) + seconds / _FRUITLESS_SHARE


class Pace:
    """The time that goes into one reply, and when it may be looked at again."""

    def __init__(self, fruitless: FruitlessReading) -> None:
        """`fruitless` is that of all replies."""
        self._now = asyncio.get_running_loop().time
        self._fruitless = fruitless
        self._rests_until = 0.0
        self._looked_at: float | None = None  # the thread's time when what was taken was there to be looked at
        self._reading_seconds = 0.0  # that the connection needed for what was not taken yet
        self._fruitless_seconds = 0.0  # since the last content

    @property
    def rests_until(self) -> float:
        """When the reply may be looked at, on the loop's clock."""
        if self._fruitless_seconds > _FREE_SECONDS:
            self._rests_until = max(self._rests_until, self._fruitless.next_turn)
        return self._rests_until

    @property
    def is_resting(self) -> bool:
        """Whether it may not be looked at yet."""
        return self.rests_until > self._now() + SHORT_SECONDS

    def read(self, seconds: float) -> None:
        """Count what the connection needed of the thread to read bytes that are kept."""
        self._reading_seconds += seconds

    def look(self) -> None:
        """Learn that the time of who looks at what was taken begins now."""
        self._looked_at = time.thread_time()

    def brought(self, *, content: bool) -> None:
        """Learn, at once, what came of what was taken. Nobody else has had the thread since."""
        if self._looked_at is None:
            return
        now = time.thread_time()
        spent = now - self._looked_at + self._reading_seconds
        self._reading_seconds = 0.0
        self._looked_at = None if content else now
        if not content:
            self.add_fruitless(spent)
            return
        self._fruitless_seconds = 0.0
        if spent > SHORT_SECONDS:
            self._rests_until = self._now() + spent / _CONTENT_SHARE

    def add_fruitless(self, seconds: float) -> None:
        """Count time of the thread that went into bytes without content."""
        self._fruitless_seconds += seconds
        if self._fruitless_seconds > _FREE_SECONDS:
            self._fruitless.add(seconds)
