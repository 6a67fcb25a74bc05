"""Which price was in force for a model at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

from spillway.ledger.v1 import ledger_pb2 as ledgerpb

FAMILY = "*"
"""Ends the name of a family of models."""
ESTIMATED_MARK = "+estimated"
"""Ends the version of a price that is no list price of the model, so that it is seen wherever a version is."""


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens."""

    input: Decimal
    output: Decimal
    # None: such tokens cost what other input, or other output, costs.
    provider_cache_read_input: Decimal | None = None
    provider_cache_write_input: Decimal | None = None
    reasoning_output: Decimal | None = None
    # None: such tokens are unpriced. They cost more than others where they are sold, so nothing else stands for them.
    provider_cache_write_1h_input: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None

    @classmethod
    def from_proto(cls, message: ledgerpb.Rates) -> Self:
        """Read the message; an empty string becomes None."""
        more = {name: _decimal_or_none(getattr(message, name)) for name in _OPTIONAL_RATES}
        return cls(input=Decimal(message.input), output=Decimal(message.output), **more)

    def to_proto(self) -> ledgerpb.Rates:
        """Write the message; None becomes an empty string."""
        return ledgerpb.Rates(**{name: _text(getattr(self, name)) for name in RATES})


RATES = tuple(field.name for field in fields(Rates))
_OPTIONAL_RATES = RATES[2:]


@dataclass(frozen=True, slots=True)
class LongPromptRates:
    """The rates of every token of an attempt whose input is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates

    @classmethod
    def from_proto(cls, message: ledgerpb.LongPromptRates) -> Self:
        """Read the message."""
        return cls(message.above_input_tokens, Rates.from_proto(message.rates))

    def to_proto(self) -> ledgerpb.LongPromptRates:
        """Write the message."""
        return ledgerpb.LongPromptRates(above_input_tokens=self.above_input_tokens, rates=self.rates.to_proto())


@dataclass(frozen=True, slots=True)
class ServiceTier:
    """What tokens cost at a tier, speed or region other than the standard: own rates, or a multiple of the standard's.

    Both may be given; then the own rates are multiplied.
    """

    multiplier: Decimal = Decimal(1)
    rates: Rates | None = None
    long_prompt: LongPromptRates | None = None
    """Only beside own rates; None: a prompt that is long by the standard is unpriced."""

    @classmethod
    def from_proto(cls, message: ledgerpb.ServiceTier) -> Self:
        """Read the message."""
        return cls(
            multiplier=Decimal(message.multiplier or 1),
            rates=Rates.from_proto(message.rates) if message.HasField("rates") else None,
            long_prompt=LongPromptRates.from_proto(message.long_prompt) if message.HasField("long_prompt") else None,
        )

    def to_proto(self) -> ledgerpb.ServiceTier:
        """Write the message."""
        return ledgerpb.ServiceTier(
            multiplier=str(self.multiplier),
            rates=None if self.rates is None else self.rates.to_proto(),
            long_prompt=None if self.long_prompt is None else self.long_prompt.to_proto(),
        )


@dataclass(frozen=True, slots=True)
class UseRates:
    """USD for what is billed by use; None: unpriced."""

    web_search: Decimal | None = None
    """One search."""
    code_execution_hour: Decimal | None = None

    @classmethod
    def from_proto(cls, message: ledgerpb.UseRates) -> Self:
        """Read the message; an empty string becomes None."""
        return cls(_decimal_or_none(message.web_search), _decimal_or_none(message.code_execution_hour))

    def to_proto(self) -> ledgerpb.UseRates:
        """Write the message; None becomes an empty string."""
        return ledgerpb.UseRates(web_search=_text(self.web_search), code_execution_hour=_text(self.code_execution_hour))


NO_USES = UseRates()


@dataclass(frozen=True, slots=True)
class Price:
    """One row of the price book, in force in the half-open time [effective_from, effective_to)."""

    price_version: str
    provider: str
    target_model: str
    """A model's name, or `PREFIX*`: every model whose name begins so and that has no price of its own."""
    effective_from: datetime
    effective_to: datetime | None
    rates: Rates
    long_prompt: LongPromptRates | None
    source: str
    source_date: str
    service_tiers: Mapping[str, ServiceTier] = field(default_factory=dict, hash=False)
    uses: UseRates = NO_USES
    is_estimated: bool = False
    """The figures hold for a family of models, or were inferred, and are no list price of this model."""

    def in_force(self, moment: datetime) -> bool:
        """Tell whether this price applies at `moment` (timezone-aware)."""
        return self.effective_from <= moment and (self.effective_to is None or moment < self.effective_to)

    def covers(self, provider: str, target_model: str) -> bool:
        """Tell whether this may be a price of that model."""
        if provider != self.provider:
            return False
        return target_model == self.target_model or (
            self.target_model.endswith(FAMILY) and target_model.startswith(self.target_model[:-1])
        )

    @property
    def figures(self) -> tuple[object, ...]:
        """All that costs are computed from: two prices with the same figures make the same costs."""
        return self.rates, self.long_prompt, dict(self.service_tiers), self.uses

    @classmethod
    def from_proto(cls, message: ledgerpb.Price) -> Self:
        """Read the message."""
        return cls(
            price_version=message.price_version,
            provider=message.provider,
            target_model=message.target_model,
            effective_from=message.effective_from.ToDatetime(tzinfo=UTC),
            effective_to=message.effective_to.ToDatetime(tzinfo=UTC) if message.HasField("effective_to") else None,
            rates=Rates.from_proto(message.rates),
            long_prompt=LongPromptRates.from_proto(message.long_prompt) if message.HasField("long_prompt") else None,
            source=message.source,
            source_date=message.source_date,
            service_tiers={name: ServiceTier.from_proto(tier) for name, tier in message.service_tiers.items()},
            uses=UseRates.from_proto(message.uses) if message.HasField("uses") else NO_USES,
            is_estimated=message.is_estimated,
        )

    def to_proto(self) -> ledgerpb.Price:
        """Write the message."""
        message = ledgerpb.Price(
            price_version=self.price_version,
            provider=self.provider,
            target_model=self.target_model,
            rates=self.rates.to_proto(),
            long_prompt=None if self.long_prompt is None else self.long_prompt.to_proto(),
            source=self.source,
            source_date=self.source_date,
            service_tiers={name: tier.to_proto() for name, tier in self.service_tiers.items()},
            uses=None if self.uses == NO_USES else self.uses.to_proto(),
            is_estimated=self.is_estimated,
        )
        message.effective_from.FromDatetime(self.effective_from)
        if self.effective_to is not None:
            message.effective_to.FromDatetime(self.effective_to)
        return message


class PriceBook:
    """All prices, past and future."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[tuple[str, str], list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.effective_from, reverse=True):
            self._by_model.setdefault((price.provider, price.target_model), []).append(price)
        families = [key for key in self._by_model if key[1].endswith(FAMILY)]
        self._families = [
            (provider, name[:-1], self._by_model[provider, name])
            for provider, name in sorted(families, key=lambda key: len(key[1]), reverse=True)
        ]

    def price_at(self, provider: str, target_model: str, moment: datetime) -> Price | None:
        """Return the price in force at `moment` (timezone-aware); None: the model is unpriced.

        A model without a price of its own has that of its family, the one with the longest name if there are several.
        """
        for price in self._by_model.get((provider, target_model), ()):
            if price.in_force(moment):
                return price
        for family_provider, prefix, prices in self._families:
            if family_provider == provider and target_model.startswith(prefix):
                for price in prices:
                    if price.in_force(moment):
                        return price
        return None


def _decimal_or_none(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _text(value: Decimal | None) -> str:
    return "" if value is None else str(value)
