"""Reads and checks a price book in YAML; every fault is reported with its line.

    prices:
      - provider: openai                   # as in the routes file
        target_model: MODEL                # the provider's name for it
        also: [MODEL-2026-09-22]           # further names of it: each becomes a price of its own
        effective_from: 2026-09-22         # the first UTC day of this price
        effective_to: 2026-12-01           # the first UTC day it no longer holds; default: until the next one begins
        currency: USD                      # the default, and the only one: costs are recorded in USD
        rates:                             # per million tokens, with at most nine decimal places
          input: 0.10
          output: 0.50
          provider_cache_read_input: 0.01  # default: what other input costs
          provider_cache_write_input: 0.125
          reasoning_output: 0.50           # default: what other output costs
          provider_cache_write_1h_input: 0.20  # this and the following: default none; such tokens are unpriced
          audio_input: 10
          audio_output: 20
          image_input: 0.10
          image_output: 30
        long_prompt:                       # for every token of an attempt whose input is longer than this
          above_input_tokens: 272000
          rates: {input: 0.20, output: 0.75}
        service_tiers:                     # tokens served by another tier, speed or region; without its entry: unpriced
          flex: {multiplier: 0.5}          # of the rates above, also those of long prompts
          priority:                        # or rates of its own
            rates: {input: 0.20, output: 1}
            long_prompt: {above_input_tokens: 272000, rates: {input: 0.40, output: 1.50}}
        uses:                              # USD; default none: unpriced
          web_search: 0.01                 # one search
          code_execution_hour: 0.05
        estimated: true                    # no list price of this model: `+estimated` ends its version
 the page it was read from
        source_date: 2026-09-24            # and the day

`PROVIDER/MODEL@EFFECTIVE_FROM` is the price's version. Any other field is refused.

A `target_model` that ends with `*` is a family: every model whose name begins so and that has no price of its own. Such
a price must be `estimated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cost_ledger.errors import PriceBookInvalid
from pricing.price_book import (
    ESTIMATED_MARK,
    FAMILY,
    NO_USES,
    LongPromptRates,
    Price,
    Rates,
    ServiceTier,
    UseRates,
)
from servicekit.lined_yaml import LinedYaml, NotYaml, Where


def _is_usd(currency: str) -> str:
    if currency != "USD":
        raise ValueError(f"{currency!r} is not supported: costs are recorded in USD, so give the price in USD")
    return currency


# YAML parses 0.1 as a float; its shortest text is what was written, and that is the price.
_Usd = Annotated[Decimal, BeforeValidator(str), Field(ge=0, le=100_000, decimal_places=9)]
_Tier = Annotated[str, Field(pattern=r"^[a-z0-9_.:-]{1,40}$")]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]


class _RatesEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: _Usd
    output: _Usd
    provider_cache_read_input: _Usd | None = None
    provider_cache_write_input: _Usd | None = None
    reasoning_output: _Usd | None = None
    provider_cache_write_1h_input: _Usd | None = None
    audio_input: _Usd | None = None
    audio_output: _Usd | None = None
    image_input: _Usd | None = None
    image_output: _Usd | None = None

    def to_rates(self) -> Rates:
        return Rates(**self.model_dump())


class _LongPromptEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    above_input_tokens: Annotated[int, Field(gt=0, lt=2**63)]
    rates: _RatesEntry

    def to_rates(self) -> LongPromptRates:
        return LongPromptRates(self.above_input_tokens, self.rates.to_rates())


class _TierEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    multiplier: Annotated[Decimal, BeforeValidator(str), Field(ge=0, le=1000, decimal_places=9)] | None = None
    rates: _RatesEntry | None = None
    long_prompt: _LongPromptEntry | None = None

    @model_validator(mode="after")
    def _require_figures(self) -> Self:
        if self.multiplier is None and self.rates is None:
            raise ValueError("give a multiplier or rates")
        if self.long_prompt is not None and self.rates is None:
            raise ValueError("long_prompt needs rates beside it; a multiplier holds for long prompts as well")
        return self

    def to_tier(self) -> ServiceTier:
        return ServiceTier(
            multiplier=Decimal(1) if self.multiplier is None else self.multiplier,
            rates=None if self.rates is None else self.rates.to_rates(),
            long_prompt=None if self.long_prompt is None else self.long_prompt.to_rates(),
        )


class _UsesEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    web_search: _Usd | None = None
    code_execution_hour: _Usd | None = None

    def to_uses(self) -> UseRates:
        return UseRates(self.web_search, self.code_execution_hour)


class _PriceEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: _Name
    target_model: _Name
    also: list[_Name] = []
    effective_from: date
    effective_to: date | None = None
    currency: Annotated[str, AfterValidator(_is_usd)] = "USD"
    rates: _RatesEntry
    long_prompt: _LongPromptEntry | None = None
    service_tiers: dict[_Tier, _TierEntry] = {}
    uses: _UsesEntry | None = None
    estimated: bool = False
    source: Annotated[str, Field(min_length=1)]
    source_date: date

    @model_validator(mode="after")
    def _mark_family(self) -> Self:
        for name in (self.target_model, *self.also):
            if FAMILY in name[:-1] or name == FAMILY:
                raise ValueError("`*` is only allowed at the end of a name, for a family of models")
            if name.endswith(FAMILY) and not self.estimated:
                raise ValueError("the price of a family of models must be `estimated: true`")
        return self

    def to_prices(self) -> list[Price]:
        return [self._to_price(name) for name in (self.target_model, *self.also)]

    def _to_price(self, target_model: str) -> Price:
        version = f"{self.provider}/{target_model}@{self.effective_from}"
        return Price(
            price_version=version + ESTIMATED_MARK if self.estimated else version,
            provider=self.provider,
            target_model=target_model,
            effective_from=_midnight(self.effective_from),
            effective_to=None if self.effective_to is None else _midnight(self.effective_to),
            rates=self.rates.to_rates(),
            long_prompt=None if self.long_prompt is None else self.long_prompt.to_rates(),
            source=self.source,
            source_date=self.source_date.isoformat(),
            service_tiers={name: tier.to_tier() for name, tier in self.service_tiers.items()},
            uses=NO_USES if self.uses is None else self.uses.to_uses(),
            is_estimated=self.estimated,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prices: Annotated[list[_PriceEntry], Field(min_length=1)]


@dataclass(frozen=True)
class PriceFile:
    """The prices of one file, in its order."""

    path: Path
    prices: list[Price]
    lines: dict[str, int]
    """On which line each price version begins."""

    def place_of(self, price_version: str) -> str:
        """Return `FILE:LINE` of a version, the file alone when it is not in it."""
        line = self.lines.get(price_version)
        return str(self.path) if line is None else f"{self.path}:{line}"


def load_price_file(path: Path) -> PriceFile:
    """Read the price book in `path`; PriceBookInvalid names file, line, entry and reason of every fault."""
    try:
        document = LinedYaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PriceBookInvalid([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise PriceBookInvalid([f"{path}: not UTF-8 text"]) from error
    except NotYaml as error:
        raise PriceBookInvalid([f"{path}:{error.line}: not YAML: {' '.join(str(error).split())}"]) from error
    faults = [(line, f"{_dotted(where)}: {reason}") for where, line, reason in document.faults]
    entries: list[_PriceEntry] = []
    try:
        entries = _File.model_validate(document.data).prices
    except ValidationError as error:
        # What YAML could not parse was reported with its reason; here it would be reported as missing.
        reported = {where for where, _, _ in document.faults}
        faults += [
            (document.line_of(fault["loc"]), f"{_dotted(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}")
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
            if fault["loc"] not in reported
        ]
    of_entries = [entry.to_prices() for entry in entries]
    prices = [price for of_entry in of_entries for price in of_entry]
    lines = {
        price.price_version: document.line_of(("prices", n))
        for n, of_entry in reversed([*enumerate(of_entries)])
        for price in of_entry
    }
    faults += [(lines[version], f"{version}: {reason}") for version, reason in _faults_of_times(prices)]
    if faults:
        raise PriceBookInvalid([f"{path}:{line}: {reason}" for line, reason in sorted(faults)])
    return PriceFile(path, prices, lines)


def _faults_of_times(prices: list[Price]) -> list[tuple[str, str]]:
    """Find prices of one model that are in force at the same time, and prices that end before they begin."""
    ordered = sorted(prices, key=lambda price: (price.provider, price.target_model, price.effective_from))
    faults = [
        (price.price_version, "effective_to is not after effective_from")
        for price in ordered
        if price.effective_to is not None and price.effective_to <= price.effective_from
    ]
    for earlier, later in pairwise(ordered):
        same = (earlier.provider, earlier.target_model) == (later.provider, later.target_model)
        if same and (earlier.effective_to is None or earlier.effective_to > later.effective_from):
            reason = f"is still in force when {later.price_version} begins; give it an effective_to"
            faults.append((earlier.price_version, reason))
    return faults


def _dotted(where: Where) -> str:
    return ".".join(str(part) for part in where) or "the file"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
