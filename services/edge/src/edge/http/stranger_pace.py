"""How fast strangers are refused: one address that asks for nothing good must not keep the edge from everybody else."""

from __future__ import annotations

import time

_REFUSALS_PER_SECOND = 100
_BURST = 200
# A connection that waits costs little, and a person with a typo behind the same proxy should not wait for long.
MAX_DELAY_SECONDS = 2.0
_MAX_ADDRESSES = 10_000


class StrangerPace:
    """Tells for how long a refusal is to be held back, by the address that it goes to."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}  # when the next refusal to an address would be on time
        self._next_look = 0.0

    def delay(self, address: str) -> float:
        """Return for how many seconds the next refusal to this address waits; it counts as sent."""
        now = time.monotonic()
        if address not in self._due and len(self._due) >= _MAX_ADDRESSES:
            address = self._place_for(address, now)
        earliest = now - _BURST / _REFUSALS_PER_SECOND
        due = max(self._due.get(address, earliest), earliest) + 1 / _REFUSALS_PER_SECOND
        self._due[address] = due = min(due, now + MAX_DELAY_SECONDS)
        return max(0.0, due - now)

    def _place_for(self, address: str, now: float) -> str:
        """Forget those that are as good as new; return the address, or that which all share when there is no place."""
        if now >= self._next_look:
            self._next_look = now + 1.0
            earliest = now - _BURST / _REFUSALS_PER_SECOND
            self._due = {each: due for each, due in self._due.items() if due > earliest}
        return address if len(self._due) < _MAX_ADDRESSES else ""
