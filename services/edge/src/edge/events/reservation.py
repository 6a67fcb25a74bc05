"""What a request has taken in Redis that is corrected when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge.events.redis import Command


class Reservation(Protocol):
    """Taken at admission."""

    def settle(self, tokens: int | None) -> Sequence[Command]:
        """Return the commands that make it right, given the tokens that were used; None: it has not run at all."""
