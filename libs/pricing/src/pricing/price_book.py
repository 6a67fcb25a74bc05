"""Which price was in force for a model at a moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

from spillway.ledger.v1 import ledger_pb2 as ledgerpb


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens; None: such tokens cost what other input, or other output, costs."""

    input: Decimal
    output: Decimal
    provider_cache_read_input: Decimal | None = None
    provider_cache_write_input: Decimal | None = None
    reasoning_output: Decimal | None = None

    @classmethod
    def from_proto(cls, message: ledgerpb.Rates) -> Self:
        """Read the message; an empty string becomes None."""
        return cls(
            input=Decimal(message.input),
            output=Decimal(message.output),
            provider_cache_read_input=_decimal_or_none(message.provider_cache_read_input),
            provider_cache_write_input=_decimal_or_none(message.provider_cache_write_input),
            reasoning_output=_decimal_or_none(message.reasoning_output),
        )

    def to_proto(self) -> ledgerpb.Rates:
        """Write the message; None becomes an empty string."""
        return ledgerpb.Rates(
            input=str(self.input),
            output=str(self.output),
            provider_cache_read_input=_text(self.provider_cache_read_input),
            provider_cache_write_input=_text(self.provider_cache_write_input),
            reasoning_output=_text(self.reasoning_output),
        )


@dataclass(frozen=True, slots=True)
class LongPromptRates:
    """The rates of every token of an attempt whose input is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """One row of the price book, in force in the half-open time [effective_from, effective_to)."""

    price_version: str
    provider: str
    target_model: str
    effective_from: datetime
    effective_to: datetime | None
    rates: Rates
    long_prompt: LongPromptRates | None
    source: str
    source_date: str

    def in_force(self, moment: datetime) -> bool:
        """Tell whether this price applies at `moment` (timezone-aware)."""
        return self.effective_from <= moment and (self.effective_to is None or moment < self.effective_to)

    @classmethod
    def from_proto(cls, message: ledgerpb.Price) -> Self:
        """Read the message."""
        long_prompt = None
        if message.HasField("long_prompt"):
            long_prompt = LongPromptRates(
                message.long_prompt.above_input_tokens, Rates.from_proto(message.long_prompt.rates)
            )
        return cls(
            price_version=message.price_version,
            provider=message.provider,
            target_model=message.target_model,
            effective_from=message.effective_from.ToDatetime(tzinfo=UTC),
            effective_to=message.effective_to.ToDatetime(tzinfo=UTC) if message.HasField("effective_to") else None,
            rates=Rates.from_proto(message.rates),
            long_prompt=long_prompt,
            source=message.source,
            source_date=message.source_date,
        )

    def to_proto(self) -> ledgerpb.Price:
        """Write the message."""
        message = ledgerpb.Price(
            price_version=self.price_version,
            provider=self.provider,
            target_model=self.target_model,
            rates=self.rates.to_proto(),
            source=self.source,
            source_date=self.source_date,
        )
        message.effective_from.FromDatetime(self.effective_from)
        if self.effective_to is not None:
            message.effective_to.FromDatetime(self.effective_to)
        if self.long_prompt is not None:
            message.long_prompt.above_input_tokens = self.long_prompt.above_input_tokens
            message.long_prompt.rates.CopyFrom(self.long_prompt.rates.to_proto())
        return message


class PriceBook:
    """All prices, past and future."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[tuple[str, str], list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.effective_from, reverse=True):
            self._by_model.setdefault((price.provider, price.target_model), []).append(price)

    def price_at(self, provider: str, target_model: str, moment: datetime) -> Price | None:
        """Return the price in force at `moment` (timezone-aware); None: the model is unpriced."""
        for price in self._by_model.get((provider, target_model), ()):
            if price.in_force(moment):
                return price
        return None


def _decimal_or_none(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _text(value: Decimal | None) -> str:
    return "" if value is None else str(value)
