"""Models that were used and are in no cost: their price, their counts or the price of a billed unit is unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

import asyncpg

from cost_ledger.connections import Connection
from cost_ledger.prices.book import read_prices
from cost_ledger.rows import COUNTING_COST, JOIN_NEWEST_CORRECTION
from pricing.cost import Unpriced, price_usage
from pricing.price_book import Price, PriceBook
from pricing.usage import FIELDS, TEXT_FIELDS, Usage

_MAX_REASONS = 5
# Besides the totals, which are always priced.
_COUNTS = [name for name in FIELDS if name not in TEXT_FIELDS and name not in {"input_tokens", "output_tokens"}]
_MOST = ", ".join(f"max(a.{name}) AS {name}" for name in _COUNTS)
# spend_daily has the models and days in question, so that only their attempts are read.
_MISSING = f"""
WITH models AS (
    SELECT provider, target_model, min(day) AS first_day, max(day) AS last_day FROM spend_daily
    WHERE unpriced_attempts > 0 AND ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
    GROUP BY provider, target_model
)
SELECT a.provider, a.target_model, count(*) AS attempts,
    count(*) FILTER (WHERE a.input_tokens IS NULL OR a.output_tokens IS NULL) AS uncounted_attempts,
    coalesce(sum(a.input_tokens), 0)::int8 AS input_tokens, coalesce(sum(a.output_tokens), 0)::int8 AS output_tokens,
    max(a.input_tokens) AS longest_input, {_MOST},
    array_agg(DISTINCT a.service_tier) AS service_tiers,
    (array_agg(DISTINCT a.unpriced_units) FILTER (WHERE a.unpriced_units <> ''))[1:{_MAX_REASONS}] AS unpriced_units,
    min(a.started_at) AS first_used, max(a.started_at) AS last_used
FROM models JOIN attempts AS a ON a.provider = models.provider AND a.target_model = models.target_model
    AND a.started_at >= models.first_day::timestamp AT TIME ZONE 'UTC'
    AND a.started_at < (models.last_day + 2)::timestamp AT TIME ZONE 'UTC'
{JOIN_NEWEST_CORRECTION}
WHERE a.has_usage AND ({COUNTING_COST}) IS NULL
GROUP BY a.provider, a.target_model ORDER BY a.provider, a.target_model
"""  # noqa: S608 - columns of our own


@dataclass(frozen=True, slots=True)
class MissingPrice:
    """A model with attempts that are in no cost."""

    provider: str
    target_model: str
    attempts: int
    uncounted_attempts: int
    """Those without an input or output count: no price makes a cost of them."""
    input_tokens: int
    output_tokens: int
    first_used: date
    last_used: date
    has_price: bool
    """Whether a price was in force when it was last used."""
    without_rate: tuple[str, ...]
    """What that price does not know and was billed; empty: `reprice` is due."""


async def missing_prices(connection: Connection, first: date | None, last: date | None) -> list[MissingPrice]:
    """Return such models of requests admitted on these UTC days, both included; None: any."""
    book = PriceBook(await read_prices(connection))
    return [_missing_price(row, book) for row in await connection.fetch(_MISSING, first, last)]


def _missing_price(row: asyncpg.Record, book: PriceBook) -> MissingPrice:
    price = book.price_at(row["provider"], row["target_model"], row["last_used"])
    return MissingPrice(
        provider=row["provider"],
        target_model=row["target_model"],
        attempts=row["attempts"],
        uncounted_attempts=row["uncounted_attempts"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        first_used=row["first_used"].date(),
        last_used=row["last_used"].date(),
        has_price=price is not None,
        without_rate=() if price is None else tuple(dict.fromkeys(_without_rate(row, price)))[:_MAX_REASONS],
    )


def _without_rate(row: asyncpg.Record, price: Price) -> Iterator[str]:
    """Yield what no cost can be made of: each count and tier alone, so that one does not hide another."""
    yield from row["unpriced_units"] or ()
    whole = Usage(row["longest_input"] or 0, 0)
    alone = [replace(whole, **{name: row[name]}) for name in _COUNTS if row[name]]
    alone += [replace(whole, service_tier=tier) for tier in row["service_tiers"] if tier]
    for usage in alone:
        try:
            price_usage(usage, price)
        except Unpriced as reason:
            yield str(reason)
