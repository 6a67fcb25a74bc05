"""The table of sums by day: what a row is keyed by, what it adds up, and the one statement that adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from cost_ledger.columns import by_column, columns_of, insert_rows
from cost_ledger.connections import Connection
from pricing.cost import FREE


class SpendKey(NamedTuple):
    """One row of spend_daily."""

    tenant: str
    day: date
    user_id: str
    key_id: str
    requested_model: str
    provider: str
    target_model: str
    template: str


@dataclass(slots=True)
class SpendSums:
    """What a row adds up; unpriced attempts are in no cost."""

    requests: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = FREE
    unpriced_attempts: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bypasses: int = 0
    saved_cost_usd: Decimal = FREE


KEY = tuple(columns_of(SpendKey))
SUMS = tuple(columns_of(SpendSums))
MONEY = frozenset(name for name, kind in columns_of(SpendSums).items() if kind == "numeric")

_sums = attrgetter(*SUMS)
_ADD = insert_rows(
    "spend_daily",
    {**columns_of(SpendKey), **columns_of(SpendSums)},
    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET "
    + ", ".join(f"{column} = spend_daily.{column} + excluded.{column}" for column in SUMS),
)


async def add_spend(
    connection: Connection, sums: Mapping[SpendKey, SpendSums], timeout_seconds: float | None = None
) -> None:
    """Add `sums` to their rows, by key: transactions that lock the same rows in the same order never deadlock."""
    if sums:
        rows = [(*key, *_sums(sums[key])) for key in sorted(sums)]
        await connection.execute(_ADD, *by_column(rows), timeout=timeout_seconds)
