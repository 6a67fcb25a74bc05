"""How much of the thread's time may go into what providers send."""

from __future__ import annotations

import asyncio

# What brings no content may take so much of the thread's time: heads, pings, a large event that is coming in.
FREE_SECONDS = 0.005
# Beyond that all connections together get this part of the thread's time, ...
_FRUITLESS_SHARE = 0.15
# ... and one that brings content gets this part: tens of thousands of chunks a second.
CONTENT_SHARE = 0.25


class FruitlessReading:
    """Bounds the time that goes into bytes without content, however fast providers send them: for all connections."""

    def __init__(self) -> None:
        self.next_turn = 0.0
        """From then on, on the loop's clock, what was counted is a small part of the time that has passed."""

    def add(self, seconds: float) -> None:
        """Count time of the thread."""
        self.next_turn = max(self.next_turn, asyncio.get_running_loop().time()) + seconds / _FRUITLESS_SHARE
