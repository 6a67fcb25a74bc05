"""What a request has taken in Redis that is corrected when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.events.redis import Command


@dataclass(frozen=True, slots=True)
class Used:
    """What all attempts of a request have used."""

    tokens: int
    """Read and written."""
    output_tokens: int
    """Those of them that were written."""
    cost_nano_usd: int
    """Of what has a price."""
    is_priced: bool
    """Whether all of it has one."""


class Reservation(Protocol):
    """Taken at admission."""

    def settle(self, used: Used | None) -> Sequence[Command]:
        """Return the commands that make it right, given what was used; None: it has not run at all."""
