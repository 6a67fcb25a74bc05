"""The price book as a file: read, checked, and kept in the table `prices`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cost_ledger.connections import Connection
from cost_ledger.errors import PriceBookInvalid, PriceChanged
from pricing.price_book import LongPromptRates, Price, Rates

# YAML reads 0.1 as a float; its shortest text is what was written, and that is the price.
Usd = Annotated[Decimal, BeforeValidator(str), Field(ge=0, le=100_000, decimal_places=9)]


class _RatesEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: Usd
    output: Usd
    provider_cache_read_input: Usd | None = None
    provider_cache_write_input: Usd | None = None
    reasoning_output: Usd | None = None

    def to_rates(self) -> Rates:
        return Rates(**self.model_dump())


class _LongPromptEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    above_input_tokens: Annotated[int, Field(gt=0)]
    rates: _RatesEntry


class _PriceEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: Annotated[str, Field(min_length=1)]
    target_model: Annotated[str, Field(min_length=1)]
    effective_from: date
    effective_to: date | None = None
    rates: _RatesEntry
    long_prompt: _LongPromptEntry | None = None
    source: Annotated[str, Field(min_length=1)]
    source_date: date

    def to_price(self) -> Price:
        long_prompt = self.long_prompt
        return Price(
            price_version=f"{self.provider}/{self.target_model}@{self.effective_from}",
            provider=self.provider,
            target_model=self.target_model,
            effective_from=_midnight(self.effective_from),
            effective_to=None if self.effective_to is None else _midnight(self.effective_to),
            rates=self.rates.to_rates(),
            long_prompt=None
            if long_prompt is None
            else LongPromptRates(long_prompt.above_input_tokens, long_prompt.rates.to_rates()),
            source=self.source,
            source_date=self.source_date.isoformat(),
        )


class _PriceFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prices: Annotated[list[_PriceEntry], Field(min_length=1)]


def load_price_book(path: Path) -> list[Price]:
    """Read the price book in `path`; PriceBookInvalid names the file, the entry and the fault."""
    try:
        file = _PriceFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PriceBookInvalid(f"{path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise PriceBookInvalid(f"{path}: {line}not YAML: {error.problem}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise PriceBookInvalid(f"{path}: {where}: {fault['msg']}") from error
    except (yaml.YAMLError, ValueError) as error:
        # PyYAML lets the errors of values through as they are, e.g. of a 30 February.
        raise PriceBookInvalid(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    prices = [entry.to_price() for entry in file.prices]
    _check_times(path, prices)
    return prices


async def import_price_book(connection: Connection, prices: Sequence[Price]) -> int:
    """Bring `prices` into the table; return how many rows were new or got an end.

    PriceChanged when a recorded version would get other figures: costs were computed with them.
    """
    changed = 0
    async with connection.transaction():
        for price in prices:
            recorded = await connection.fetchrow("SELECT * FROM prices WHERE price_version = $1", price.price_version)
            if recorded is None:
                await connection.execute(_INSERT, *_row_of(price))
                changed += 1
            else:
                changed += await _update(connection, price_of(recorded), price)
    return changed


async def read_prices(connection: Connection) -> list[Price]:
    """Return every row of the table."""
    return [price_of(row) for row in await connection.fetch("SELECT * FROM prices ORDER BY effective_from")]


async def _update(connection: Connection, recorded: Price, price: Price) -> int:
    if (recorded.rates, recorded.long_prompt) != (price.rates, price.long_prompt):
        raise PriceChanged(
            f"{price.price_version} is recorded with other figures; a price change is a new entry with a later "
            "effective_from"
        )
    if recorded.effective_to == price.effective_to:
        return 0
    await connection.execute(
        "UPDATE prices SET effective_to = $2 WHERE price_version = $1", price.price_version, price.effective_to
    )
    return 1


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
    ]


def price_of(row: asyncpg.Record) -> Price:
    """Read one row of the table."""
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


def _check_times(path: Path, prices: Sequence[Price]) -> None:
    """Refuse two prices of one model in force at the same time, and one that ends before it begins."""
    ordered = sorted(prices, key=lambda price: (price.provider, price.target_model, price.effective_from))
    for price in ordered:
        if price.effective_to is not None and price.effective_to <= price.effective_from:
            raise PriceBookInvalid(f"{path}: {price.price_version}: effective_to is not after effective_from")
    for earlier, later in pairwise(ordered):
        same = (earlier.provider, earlier.target_model) == (later.provider, later.target_model)
        if same and (earlier.effective_to is None or earlier.effective_to > later.effective_from):
            raise PriceBookInvalid(
                f"{path}: {earlier.price_version} is still in force when {later.price_version} begins; "
                "give it an effective_to"
            )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
