"""Turns: how many requests may begin at the same time, fewer the later the event loop is."""

from __future__ import annotations

import asyncio
from collections import deque

_MOST, _LEAST = 32, 4
# A loop that is later than this has more to do than it can.
_LATE_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 0.4


class TurnsTaken(Exception):
    """No turn became free while it was worth waiting."""


class Turns:
    """Given in order; each is given back."""

    def __init__(self) -> None:
        self.limit = _MOST
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def note_lag(self, seconds: float) -> None:
        """Learn how late the event loop is; to be called several times a second."""
        self.limit = max(self.limit // 2, _LEAST) if seconds > _LATE_SECONDS else min(self.limit + 2, _MOST)
        self._give()

    async def take(self) -> None:
        """Wait for a turn; TurnsTaken when none becomes free soon."""
        if self._taken < self.limit:  # then nobody waits
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came just then
                self.give_back()
            if isinstance(error, TimeoutError):
                raise TurnsTaken from None
            raise

    def give_back(self) -> None:
        """Let the next one have it."""
        self._taken -= 1
        self._give()

    def _give(self) -> None:
        while self._waiting and self._taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._taken += 1
