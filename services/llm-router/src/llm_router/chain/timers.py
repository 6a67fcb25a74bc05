"""The clock of one attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from llm_router.errors import DeadlineReached, ProviderTimeout
from llm_router.target import Timeouts

T = TypeVar("T")


class Timers:
    """When an attempt began, when its first content came, and when it is given up."""

    def __init__(self, timeouts: Timeouts, deadline: float) -> None:
        """The attempt begins now; `deadline`, that of the whole request, is on the event loop's clock."""
        self._timeouts = timeouts
        self._deadline = deadline
        self._now = asyncio.get_running_loop().time
        self.started_ns = time.time_ns()
        self._started = self._now()
        self._first_content: float | None = None
        self._content_due = self._started + timeouts.first_content_seconds
        self._end_due = self._started + timeouts.stream_seconds

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return self._now() - self._started

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the start to the first content; None when none came."""
        return None if self._first_content is None else self._first_content - self._started

    def received(self) -> None:
        """Note that the target sent something: from now on the gap between two chunks is bounded."""
        self._content_due = self._now() + self._timeouts.gap_seconds

    def mark_first_content(self) -> bool:
        """Note that content came; return whether it was the first."""
        if self._first_content is not None:
            return False
        self._first_content = self._now()
        return True

    def expect_whole(self) -> None:
        """Wait for the first content as long as for the whole answer, because it comes with it."""
        self._content_due = self._end_due

    def expect_within(self, seconds: float) -> None:
        """Give up after `seconds`, unless a timer ends earlier."""
        self._content_due = min(self._content_due, self._now() + seconds)

    async def limit(self, awaitable: Awaitable[T], message: str = "") -> T:
        """Await until the first timer ends; then ProviderTimeout, by default with the `message` that fits the state."""
        try:
            async with asyncio.timeout_at(self.due):
                return await awaitable
        except TimeoutError as error:
            raise self.timeout(message) from error

    @property
    def due(self) -> float:
        """When the first timer ends, on the loop's clock."""
        return min(self._content_due, self._end_due, self._deadline)

    def timeout(self, message: str = "") -> ProviderTimeout:
        """Return the error for the timer that has ended."""
        if self._end_due < self._content_due:
            message = "the answer took longer than this target may take"
        elif not message:
            message = "no content in time" if self._first_content is None else "it stalled"
        # The request's own clock is no fault of the target's.
        is_deadline = self._deadline < min(self._content_due, self._end_due)
        return DeadlineReached(message) if is_deadline else ProviderTimeout(message)
