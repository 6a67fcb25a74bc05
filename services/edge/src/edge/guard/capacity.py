"""How many requests run at once: what is too much is refused at once, so that the rest is answered in time.

A limit on their number alone would have to fit the machine. So there is also one on those that begin: from the moment
when a request could run until a router has begun with it. That takes milliseconds while there is time for it, and
longer as soon as this process or the routers have too much to do; then fewer begin at the same time, a queue forms, and
who has waited in it for a while is refused. Who finds it full is refused before his body is read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from edge.guard.turns import Turns, TurnsTaken
from edge.problems import Problem

_RETRY_AFTER_SECONDS = 1.0
_TOO_MANY = "more requests come than can be begun"


class Place:
    """The place of one request."""

    def __init__(self, capacity: Capacity, key_id: str) -> None:
        self._capacity = capacity
        self._key_id = key_id
        self._since: float | None = None  # when it got its turn to begin; None: it has none
        self.held_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Keep a body of this size until the request ends.

        Problem: 503 when all bodies together are too large, 429 when those of its key are.
        """
        self._capacity.hold(self._key_id, size_bytes)
        self.held_bytes += size_bytes

    async def begin(self, accepted: float) -> None:
        """Wait for the turn of this request to begin; Problem (503) when that takes too long.

        `accepted` is when it came, in monotonic seconds.
        """
        try:
            await self._capacity.turns.take(time.monotonic() - accepted)
        except TurnsTaken as error:
            raise _overloaded(_TOO_MANY) from error
        self._since = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[None]:
        """Let another request have the turn while this one waits for somebody else; Problem (503) as `begin`."""
        self.has_begun()
        yield
        await self.begin(time.monotonic())

    def has_begun(self) -> None:
        """Let the next request begin."""
        if self._since is not None:
            seconds, self._since = asyncio.get_running_loop().time() - self._since, None
            self._capacity.turns.give_back(seconds)


class Capacity:
    """The places of one edge."""

    def __init__(
        self, max_requests: int, max_requests_per_key: int, max_held_bytes: int, max_held_bytes_per_key: int
    ) -> None:
        """`max_held_bytes` is for the bodies of all requests that run."""
        self._max_requests = max_requests
        self._max_requests_per_key = max_requests_per_key
        self._max_held_bytes = max_held_bytes
        self._max_held_bytes_per_key = max_held_bytes_per_key
        self.turns = Turns()
        """Of requests that begin."""
        self._by_key: Counter[str] = Counter()
        self._bytes_by_key: Counter[str] = Counter()
        self._requests = 0
        self._held_bytes = 0

    @contextmanager
    def place(self, key_id: str) -> Iterator[Place]:
        """Take a place for the block; Problem, 503 when there is none, 429 when the key has as many as it may."""
        if self._requests >= self._max_requests:
            raise _overloaded(f"this edge answers {self._requests} requests already")
        if self._by_key[key_id] >= self._max_requests_per_key:
            raise Problem(
                "too_many_requests",
                f"this API key has {self._max_requests_per_key} requests in progress, as many as it may have at once",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        place = Place(self, key_id)
        self._requests += 1
        self._by_key[key_id] += 1
        try:
            yield place
        finally:
            place.has_begun()
            self._requests -= 1
            self._held_bytes -= place.held_bytes
            self._bytes_by_key[key_id] -= place.held_bytes
            self._by_key[key_id] -= 1
            if not self._by_key[key_id]:
                del self._by_key[key_id], self._bytes_by_key[key_id]

    def require_room(self) -> None:
        """Problem (503) when a request that comes now would not get its turn to begin."""
        if self.turns.is_queue_full:
            raise _overloaded(_TOO_MANY)

    def hold(self, key_id: str, size_bytes: int) -> None:
        """Count a body; Problem, 503 when all of them are too large, 429 when those of the key are."""
        if self._bytes_by_key[key_id] + size_bytes > self._max_held_bytes_per_key:
            raise Problem(
                "too_many_requests",
                f"the requests in progress of this API key may have {self._max_held_bytes_per_key} bytes together",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        if self._held_bytes + size_bytes > self._max_held_bytes:
            raise _overloaded("the requests in progress are too long together")
        self._held_bytes += size_bytes
        self._bytes_by_key[key_id] += size_bytes


def _overloaded(what: str) -> Problem:
    return Problem("overloaded", f"{what}; try again in a moment", retry_after_seconds=_RETRY_AFTER_SECONDS)
