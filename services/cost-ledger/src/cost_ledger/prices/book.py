"""The price book in the table `prices`: what an import changes, which attempts that affects, and the import itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

import asyncpg
from google.protobuf import json_format

from cost_ledger.connections import Connection
from cost_ledger.errors import PriceChanged, PriceGap, PricesBackdated
from pricing.price_book import FAMILY, NO_USES, LongPromptRates, Price, PriceBook, Rates
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

_model = attrgetter("provider", "target_model")


@dataclass(frozen=True, slots=True)
class ChangedTime:
    """A period in which another price is in force after an import than before it."""

    provider: str
    target_model: str
    start: datetime
    end: datetime | None
    before: Price | None
    after: Price | None


@dataclass(frozen=True)
class ImportPlan:
    """The changes that an import makes to the table."""

    new: list[Price]
    moved: list[tuple[Price, datetime | None]]
    """Recorded prices that get another end, and that end."""
    times: list[ChangedTime]


@dataclass(frozen=True, slots=True)
class Touched:
    """Recorded attempts with usage whose cost changes; `reprice` is due when there are any."""

    time: ChangedTime
    attempts: int
    priced_attempts: int
    """Those that have a cost already."""


@dataclass(frozen=True)
class Import:
    """What an import did, or would do."""

    plan: ImportPlan
    touched: list[Touched]

    @property
    def changed(self) -> int:
        """How many rows are new or got another end."""
        return len(self.plan.new) + len(self.plan.moved)


def plan_import(recorded: Sequence[Price], prices: Sequence[Price]) -> ImportPlan:
    """Return what importing `prices` into a table that holds `recorded` changes.

    A price holds until its own end or until the next one of its model begins, whichever comes first; so a new price
    closes the one before it. PriceChanged when a recorded version would get other figures, with which costs were
    computed. PriceGap when a model would lose its price for a period without the file saying so.
    """
    by_version = {price.price_version: price for price in recorded}
    stated = {price.price_version for price in prices}
    changed = [
        price.price_version for price in prices if _has_other_figures(by_version.get(price.price_version), price)
    ]
    if changed:
        raise PriceChanged(changed)
    merged = dict(by_version)
    for price in prices:
        known = by_version.get(price.price_version)
        merged[price.price_version] = price if known is None else replace(known, effective_to=price.effective_to)
    after = _end_where_the_next_begins(merged.values())
    times = _changed_times(recorded, after)
    for time in times:
        if time.before is not None and time.after is None and time.before.price_version not in stated:
            raise PriceGap(time.before.price_version, time.start)
    return ImportPlan(
        new=[price for price in after if price.price_version not in by_version],
        moved=[
            (by_version[price.price_version], price.effective_to)
            for price in after
            if price.price_version in by_version and by_version[price.price_version].effective_to != price.effective_to
        ],
        times=times,
    )


async def import_price_book(
    connection: Connection, prices: Sequence[Price], *, may_backdate: bool, dry_run: bool = False
) -> Import:
    """Import `prices`, or only return what that would do; a second import finds nothing to do.

    Raises what `plan_import` raises, and PricesBackdated when recorded costs would change without `may_backdate`.
    """
    async with connection.transaction():
        # Two imports at the same time would each leave the other's prices without an end.
        await connection.execute("LOCK TABLE prices IN SHARE ROW EXCLUSIVE MODE")
        plan = plan_import(await read_prices(connection), prices)
        touched = [each for time in plan.times if (each := await _touched(connection, time)).attempts]
        if not may_backdate and (versions := [_version_of(each) for each in touched if each.priced_attempts]):
            raise PricesBackdated(versions, sum(each.priced_attempts for each in touched))
        if not dry_run:
            # Ends first, so that no model ever has two prices without an end.
            for price, end in plan.moved:
                await connection.execute(
                    "UPDATE prices SET effective_to = $2 WHERE price_version = $1", price.price_version, end
                )
            for price in plan.new:
                await connection.execute(_INSERT, *_row_of(price))
    return Import(plan, touched)


async def read_prices(connection: Connection) -> list[Price]:
    """Return every row of the table."""
    return [price_of(row) for row in await connection.fetch("SELECT * FROM prices ORDER BY effective_from")]


def _has_other_figures(recorded: Price | None, price: Price) -> bool:
    return recorded is not None and recorded.figures != price.figures


def _end_where_the_next_begins(prices: Iterable[Price]) -> list[Price]:
    after = []
    for _, of_model in groupby(sorted(prices, key=lambda price: (*_model(price), price.effective_from)), _model):
        versions = list(of_model)
        for price, following in pairwise(versions):
            end = price.effective_to
            after.append(replace(price, effective_to=min(end or following.effective_from, following.effective_from)))
        after.append(versions[-1])
    return after


def _changed_times(before: Sequence[Price], after: Sequence[Price]) -> list[ChangedTime]:
    """Return the periods of each model in which another version is in force, in their order."""
    old, new = PriceBook(before), PriceBook(after)
    times = []
    for (provider, target_model), of_model in groupby(sorted([*before, *after], key=_model), _model):
        moments = {moment for price in of_model for moment in (price.effective_from, price.effective_to) if moment}
        bounds: list[datetime | None] = [*sorted(moments), None]
        for start, end in pairwise(bounds):
            assert start is not None  # noqa: S101 - only the last bound is None
            was, will_be = (book.price_at(provider, target_model, start) for book in (old, new))
            if (was and was.price_version) != (will_be and will_be.price_version):
                times.append(ChangedTime(provider, target_model, start, end, was, will_be))
    return times


def _version_of(touched: Touched) -> str:
    price = touched.time.after or touched.time.before
    return price.price_version if price is not None else ""


_TOUCHED = """
SELECT count(*) AS attempts, count(*) FILTER (WHERE cost_usd IS NOT NULL OR EXISTS (
    SELECT FROM corrections
    WHERE corrections.request_id = attempts.request_id AND corrections.attempt_number = attempts.attempt_number
)) AS priced_attempts
FROM attempts
WHERE provider = $1 AND started_at >= $3 AND ($4::timestamptz IS NULL OR started_at < $4) AND has_usage
"""
_OF_MODEL = " AND target_model = $2"
# A family's price is that of models that have none of their own.
_OF_FAMILY = """ AND starts_with(target_model, $2) AND NOT EXISTS (
    SELECT FROM prices WHERE prices.provider = attempts.provider AND prices.target_model = attempts.target_model
        AND effective_from <= started_at AND (effective_to IS NULL OR started_at < effective_to)
)
"""


async def _touched(connection: Connection, time: ChangedTime) -> Touched:
    is_family = time.target_model.endswith(FAMILY)
    query = _TOUCHED + (_OF_FAMILY if is_family else _OF_MODEL)
    row = await connection.fetchrow(query, time.provider, time.target_model.removesuffix(FAMILY), time.start, time.end)
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY is always one row
    return Touched(time, row["attempts"], row["priced_attempts"])


_RATES = ("input", "output", "provider_cache_read_input", "provider_cache_write_input", "reasoning_output")
_COLUMNS = (
    "price_version",
    "provider",
    "target_model",
    "effective_from",
    "effective_to",
    *_RATES,
    "above_input_tokens",
    *(f"long_prompt_{rate}" for rate in _RATES),
    "source",
    "source_date",
    "more",
)
_INSERT = (
    f"INSERT INTO prices ({', '.join(_COLUMNS)}) "  # noqa: S608 - column names of our own
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))})"
)


def _row_of(price: Price) -> list[Any]:
    long_prompt = price.long_prompt
    return [
        price.price_version,
        price.provider,
        price.target_model,
        price.effective_from,
        price.effective_to,
        *(getattr(price.rates, rate) for rate in _RATES),
        None if long_prompt is None else long_prompt.above_input_tokens,
        *(None if long_prompt is None else getattr(long_prompt.rates, rate) for rate in _RATES),
        price.source,
        date.fromisoformat(price.source_date),
        _more(price),
    ]


def _more(price: Price) -> str | None:
    """Return the whole price as JSON when the other columns do not say all of it."""
    return None if _by_columns(price) == price else json_format.MessageToJson(price.to_proto(), indent=None)


def _by_columns(price: Price) -> Price:
    """Return what the columns of revision 0001 say of a price."""
    long_prompt = price.long_prompt
    return replace(
        price,
        rates=_first_rates(price.rates),
        long_prompt=None if long_prompt is None else replace(long_prompt, rates=_first_rates(long_prompt.rates)),
        service_tiers={},
        uses=NO_USES,
        is_estimated=False,
    )


def _first_rates(rates: Rates) -> Rates:
    return Rates(*(getattr(rates, rate) for rate in _RATES))


def price_of(row: asyncpg.Record) -> Price:
    """Read one row of the table."""
    if row["more"] is not None:
        # What a newer version of this program wrote is read as far as it is understood: reprice corrects the rest.
        message = json_format.Parse(row["more"], ledgerpb.Price(), ignore_unknown_fields=True)
        return replace(Price.from_proto(message), effective_to=row["effective_to"])
    long_prompt = None
    if row["above_input_tokens"] is not None:
        rates = Rates(*(row[f"long_prompt_{rate}"] for rate in _RATES))
        long_prompt = LongPromptRates(row["above_input_tokens"], rates)
    return Price(
        price_version=row["price_version"],
        provider=row["provider"],
        target_model=row["target_model"],
        effective_from=row["effective_from"],
        effective_to=row["effective_to"],
        rates=Rates(*(row[rate] for rate in _RATES)),
        long_prompt=long_prompt,
        source=row["source"],
        source_date=row["source_date"].isoformat(),
    )
