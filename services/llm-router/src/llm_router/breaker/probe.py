"""The probe of one target in this process."""

from __future__ import annotations

from collections import deque

# A process has one probe at a time; only one without Redis, which reports none, collects more tokens than a few.
_MAX_RELEASED = 8


class ProbeSlot:
    """Room for one probe at a time, and the leases that Redis has to be asked to renew or to release."""

    def __init__(self) -> None:
        self._token = ""
        self.lease = ""
        """The token of the probe that is under way; empty when there is none."""
        self._released: deque[str] = deque(maxlen=_MAX_RELEASED)

    @property
    def is_free(self) -> bool:
        """Whether no probe of this process is under way or waits for its lease."""
        return not self._token

    def reserve(self, token: str) -> None:
        """Keep other probes of this process away while the lease is asked for."""
        self._token = token

    def start(self) -> None:
        """Mark the reserved probe as under way; its lease is renewed until it ends."""
        self.lease = self._token

    def cancel(self) -> None:
        """Give the reservation up: another process holds the lease."""
        self._token = ""

    def end(self, token: str) -> None:
        """Make room for the next probe, in all processes."""
        if self._token == token:
            self._token = self.lease = ""
        self._released.append(token)

    def take_released(self) -> list[str]:
        """Return the tokens of ended probes, once."""
        released = list(self._released)
        self._released.clear()
        return released
