"""When streams are read after their first content: few as soon as they may be, many together in one turn of the loop.

Waking up is the most expensive part of a chunk, for this process and for every one behind it. Streams that are read in
the same turn share it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

# So many streams are read each for itself; beyond that a frame of all costs less than one of each.
_CALM = 2
# The more streams there are, the more a wake-up less is worth: from `_SHORT_FRAME_STREAMS` on frames grow with their
# number, up to this many times their length. Three times 10 ms are 33 pictures a second, which still reads smoothly.
_MAX_GROWTH = 3.0
_SHORT_FRAME_STREAMS = 6


class Metronome:
    """The frames of all streams of this process."""

    def __init__(self, frame_seconds: float) -> None:
        """Each stream is read at most once in `frame_seconds`, and less often when they are many; 0: at once."""
        self._frame_seconds = frame_seconds
        self.streams = 0
        """How many streams are read in frames now."""
        self._waiting: list[Callable[[], None]] = []

    def call(self, callback: Callable[[], None], last: float) -> None:
        """Call `callback` when a stream that was read at `last`, on the loop's clock, may be read again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._frame_seconds:
            callback()
        elif self.streams > _CALM:
            if not self._waiting:
                frame = self._frame_seconds * self._growth
                loop.call_at((math.floor(now / frame) + 1) * frame, self._begin_frame)
            self._waiting.append(callback)
        elif now < last + self._frame_seconds:
            loop.call_at(last + self._frame_seconds, callback)
        else:
            callback()

    @property
    def _growth(self) -> float:
        return min(max(self.streams / _SHORT_FRAME_STREAMS, 1.0), _MAX_GROWTH)

    def _begin_frame(self) -> None:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
