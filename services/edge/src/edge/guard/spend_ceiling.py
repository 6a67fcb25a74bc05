"""The ceiling on the spend of one day, over all tenants: a fuse against a runaway client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from edge.guard.check import Asked, Grant, Reply, Slot
from edge.problems import Problem

_NANO_USD = 10**9
# Published by the cost-ledger, in nano-USD; its publish_spend.py has the format.
_KEY = "{{spillway:cost-events}}:spend:all:{day}"
# Of a ledger of a former version, which knew no Cluster.
_FORMER_KEY = "spillway:spend:all:{day}"


class SpendCeiling:
    """Refuses requests once the spend that the ledger has published for the UTC day reaches the ceiling.

    What runs at that moment is not known to the figure, so the spend ends somewhat above the ceiling.
    """

    def __init__(self, max_usd_per_day: Decimal, *, is_cluster: bool = False) -> None:
        self._max_usd_per_day = max_usd_per_day
        self._keys = [_KEY] if is_cluster else [_KEY, _FORMER_KEY]

    def question(self, _asked: Asked) -> SpendCeiling:
        """It is the same for every request."""
        return self

    @property
    def slots(self) -> Sequence[Slot]:
        """Compare today's figure with the ceiling."""
        day = datetime.now(UTC).date().isoformat()
        return [Slot("ceiling", [key.format(day=day) for key in self._keys], [int(self._max_usd_per_day * _NANO_USD)])]

    def grant(self, _replies: Mapping[int, Reply]) -> Grant:
        """Nothing is to be said or given back."""
        return Grant()

    def decide_alone(self) -> None:
        """Let every request pass while Redis is away."""
        return

    def refuse(self, _number: int, reply: Reply) -> None:
        """Problem (429): the next day begins at midnight UTC."""
        spent = Decimal(int(reply[0])) / _NANO_USD
        now = datetime.now(UTC)
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        raise Problem(
            "spend_limit_reached",
            f"this gateway has spent {spent:.2f} USD today and may spend {self._max_usd_per_day} USD a day; "
            "it takes requests again at midnight UTC",
            retry_after_seconds=(midnight - now).total_seconds(),
        )
