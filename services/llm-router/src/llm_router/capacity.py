"""How many calls run at once: what is too much is refused before it is read, so that the rest goes on as it should."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from llm_router.failures import overloaded
from llm_router.metrics import Metrics

log = structlog.get_logger()

_SECONDS_BETWEEN_WARNINGS = 10.0


class Capacity:
    """The places of one router."""

    def __init__(self, max_calls: int, max_held_bytes: int, metrics: Metrics) -> None:
        """`max_held_bytes` is for the bodies of all calls that run; one body by itself is never too large."""
        self._max_calls = max_calls
        self._max_held_bytes = max_held_bytes
        self._refused = metrics.calls_refused
        self._calls = 0
        self._held_bytes = 0
        self._next_warning = 0.0

    @contextmanager
    def place(self, size_bytes: int) -> Iterator[None]:
        """Take a place for a call of this size while the block runs; CompletionFailed when there is none."""
        if self._calls >= self._max_calls:
            self._refuse("too_many_calls")
        if self._calls and self._held_bytes + size_bytes > self._max_held_bytes:
            self._refuse("too_many_bytes")
        self._calls += 1
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._calls -= 1
            self._held_bytes -= size_bytes

    def _refuse(self, reason: str) -> None:
        self._refused.labels(reason).inc()
        now = time.monotonic()
        if now >= self._next_warning:  # the counter has the number; a line for each would be work as well
            self._next_warning = now + _SECONDS_BETWEEN_WARNINGS
            log.warning("router_overloaded", reason=reason, calls=self._calls, held_bytes=self._held_bytes)
        raise overloaded()
