"""Windows in this process, for the time that Redis is away: the same rule as in `admission.lua`."""

from __future__ import annotations

import time
from collections import OrderedDict, deque

# As in admission.lua: what counts is at least the window and at most one part more.
PARTS = 120
_MAX_WINDOWS = 10_000


class _Window:
    __slots__ = ("parts", "total")

    def __init__(self) -> None:
        self.parts: deque[list[int]] = deque()  # number and amount, oldest first
        self.total = 0


class LocalWindows:
    """Counts by key; those that were used longest ago are forgotten when there are too many."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def room(self, key: str, amount: int, window_ms: int) -> tuple[int, float]:
        """Return how much is left of `amount`, and in how many seconds the oldest leaves the window."""
        window, part, width = self._window(key, window_ms)
        wait_ms = (window.parts[0][0] + PARTS + 1) * width - _now_ms() if window.parts else 0.0
        return amount - window.total, wait_ms / 1000 if part else 0.0

    def add(self, key: str, cost: int, window_ms: int) -> None:
        """Count now; a negative cost takes back what was too much."""
        window, part, _ = self._window(key, window_ms)
        cost = max(cost, -window.total)
        window.total += cost
        if window.parts and window.parts[-1][0] == part:
            window.parts[-1][1] += cost
        else:
            window.parts.append([part, cost])

    def _window(self, key: str, window_ms: int) -> tuple[_Window, int, float]:
        width = window_ms / PARTS
        part = int(_now_ms() / width)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _MAX_WINDOWS:
                self._windows.popitem(last=False)
            window = self._windows[key] = _Window()
        self._windows.move_to_end(key)
        while window.parts and window.parts[0][0] < part - PARTS:
            window.total -= window.parts.popleft()[1]
        return window, part, width


def _now_ms() -> float:
    return time.monotonic() * 1000
