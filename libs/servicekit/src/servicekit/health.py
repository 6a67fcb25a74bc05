"""Liveness and readiness of a process, as its kubelet asks for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEAT_SECONDS = 0.5


class Health:
    """The state of one process; its event loop writes it, and the thread that answers probes reads it.

    Dependencies are left out: one that is down must not take all processes out of service at once.
    """

    def __init__(self, stop: asyncio.Event, *, hung_after_seconds: float = 10.0) -> None:
        """`stop` is set when the process is asked to end.

        An event loop that did not run for `hung_after_seconds` is hung; a busy one pauses for tenths of a second.
        """
        self._stop = stop
        self._hung_after = hung_after_seconds
        self._last_beat = time.monotonic()
        self.is_serving = False
        """Whether the process accepts calls; its `__main__` sets it when everything they need is there."""

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Record during the block that the event loop runs."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def liveness(self) -> str:
        """Return `ok`, or `hung` when only a restart can help."""
        return "hung" if time.monotonic() - self._last_beat > self._hung_after else "ok"

    def readiness(self) -> str:
        """Return `ok` while calls should be sent here, else the reason: `starting`, `draining`, `hung`."""
        if self._stop.is_set():
            return "draining"
        return self.liveness() if self.is_serving else "starting"
