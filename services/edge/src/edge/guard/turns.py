"""Turns: how many requests may begin at the same time, fewer when it takes them long."""

from __future__ import annotations

import asyncio
from collections import deque

_MOST, _LEAST = 16, 6
# So that one in ten takes longer than this: then there are as many at a time as can be begun.
_LONG_SECONDS, _FEWER, _MORE = 0.05, 1.0, 0.1
# A burst that is no longer than this is worth waiting for; in a longer queue nobody waits for that long.
_BURST, _LONGEST_WAIT_IN_BURST_SECONDS = 36, 0.4
# Of which the time counts that a request has been here already; who sends its body slowly shall wait a little, too.
_LONGEST_WAIT_SECONDS, _SHORTEST_WAIT_SECONDS = 0.25, 0.1
# More do not get a turn in that time: one process begins with about 200 a second.
_MOST_WAITING = 64


class TurnsTaken(Exception):
    """No turn became free while it was worth waiting."""


class Turns:
    """Given in order; each is given back."""

    def __init__(self) -> None:
        self.limit = float(_MOST)
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_queue_full(self) -> bool:
        """Whether one more would wait in vain."""
        return len(self._waiting) >= _MOST_WAITING

    async def take(self, waited_seconds: float = 0.0) -> None:
        """Wait for a turn; TurnsTaken when none becomes free soon, or too many wait.

        The request has waited for so long already.
        """
        if self._taken < self.limit:  # then nobody waits
            self._taken += 1
            return
        if self.is_queue_full:
            raise TurnsTaken
        turn = asyncio.get_running_loop().create_future()
        longest = _LONGEST_WAIT_IN_BURST_SECONDS if len(self._waiting) < _BURST else _LONGEST_WAIT_SECONDS
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(max(longest - waited_seconds, _SHORTEST_WAIT_SECONDS)):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():  # it came just then
                self._taken -= 1
                self._give()
            if isinstance(error, TimeoutError):
                raise TurnsTaken from None
            raise

    def give_back(self, seconds: float) -> None:
        """Let the next one have it; this one has had it for so long."""
        self._taken -= 1
        if seconds > _LONG_SECONDS:
            self.limit = max(self.limit - _FEWER, _LEAST)
        else:
            self.limit = min(self.limit + _MORE, _MOST)
        self._give()

    def _give(self) -> None:
        while self._waiting and self._taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._taken += 1
