"""Step 8 of the request path: what one attempt cost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

from pricing.price_book import LongPromptRates, Price, Rates
from pricing.usage import Usage

# Costs are kept to the nano-dollar: NUMERIC(18,9) in the ledger's tables.
NANO_USD = Decimal("0.000000001")
FREE = Decimal("0.000000000")
_PER_MILLION = Decimal(1_000_000)
_NOTHING = Decimal(0)
_ONE = Decimal(1)
_SECONDS_PER_HOUR = 3600


class Unpriced(Exception):
    """There is no cost; the message says which unit has no price."""


def cost_of(usage: Usage, price: Price | None) -> Decimal | None:
    """Price one attempt, in USD rounded half-even to the nano-dollar.

    None (unpriced) when no price was in force, when the input or output count is unknown, and when the vendor bills
    anything that the price does not know: a smaller number would read as the whole cost.
    """
    try:
        return price_usage(usage, price)
    except Unpriced:
        return None


def price_usage(usage: Usage, price: Price | None) -> Decimal:
    """Do as `cost_of`; Unpriced says why there is no cost."""
    if price is None:
        raise Unpriced("no price")
    if usage.input_tokens is None or usage.output_tokens is None:
        raise Unpriced("no count of tokens")
    if usage.unpriced_units:
        raise Unpriced(f"units without a count: {usage.unpriced_units}")
    rates, multiplier = price.rates, _ONE
    if usage.service_tier:
        rates, multiplier = _rates_of_tier(usage.service_tier, usage.input_tokens, price)
    elif price.long_prompt is not None and usage.input_tokens > price.long_prompt.above_input_tokens:
        rates = price.long_prompt.rates
    cost = _cost_of_tokens(usage, rates) / _PER_MILLION
    if multiplier is not _ONE:
        cost *= multiplier
    if usage.web_search_requests or usage.code_execution_seconds:
        cost += _cost_of_uses(usage, price)
    return cost.quantize(NANO_USD, rounding=ROUND_HALF_EVEN)


def total_of(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Add up the costs of a request's attempts, FREE when there is none; None when any of them is unpriced.

    A sum without the unpriced part would read as the whole.
    """
    total = FREE
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def _cost_of_tokens(usage: Usage, rates: Rates) -> Decimal:
    """Return a million times the cost of all tokens.

    Which of the cached tokens are audio or images is not told. They are taken for text, whose discount is the smallest
    in dollars, so that the cost is never below the bill.
    """
    assert usage.input_tokens is not None  # noqa: S101 - checked by the caller
    assert usage.output_tokens is not None  # noqa: S101
    cache_read = usage.provider_cache_read_input_tokens or 0
    cache_write = usage.provider_cache_write_input_tokens or 0
    reasoning = usage.reasoning_output_tokens or 0
    plain_input = usage.input_tokens - cache_read - cache_write
    plain_output = usage.output_tokens - reasoning
    total = _NOTHING
    if hour_write := usage.provider_cache_write_1h_input_tokens:
        total += hour_write * _required(rates.provider_cache_write_1h_input, "cache writes of one hour")
        cache_write = max(cache_write - hour_write, 0)
    if audio := usage.audio_input_tokens:
        total += audio * _required(rates.audio_input, "audio input")
        plain_input -= audio
    if images := usage.image_input_tokens:
        total += images * _required(rates.image_input, "image input")
        plain_input -= images
    if audio := usage.audio_output_tokens:
        total += audio * _required(rates.audio_output, "audio output")
        plain_output -= audio
    if images := usage.image_output_tokens:
        total += images * _required(rates.image_output, "image output")
        plain_output -= images
    # The totals are inclusive; a provider that breaks that rule must not make the remainder negative.
    return (
        total
        + max(plain_input, 0) * rates.input
        + cache_read * _rate(rates.provider_cache_read_input, rates.input)
        + cache_write * _rate(rates.provider_cache_write_input, rates.input)
        + max(plain_output, 0) * rates.output
        + reasoning * _rate(rates.reasoning_output, rates.output)
    )


def _rates_of_tier(service_tier: str, input_tokens: int, price: Price) -> tuple[Rates, Decimal]:
    """Return the rates of one or several tiers joined by `+`, and what they are multiplied by."""
    rates, long_prompt, multiplier = price.rates, price.long_prompt, _ONE
    for name in service_tier.split("+"):
        tier = price.service_tiers.get(name)
        if tier is None:
            raise Unpriced(f"service tier {name!r}")
        multiplier *= tier.multiplier
        if tier.rates is not None:
            if rates is not price.rates:
                raise Unpriced(f"service tiers {service_tier!r} together")
            rates, long_prompt = tier.rates, _long_prompt_of_tier(tier.long_prompt, price.long_prompt, input_tokens)
    if long_prompt is not None and input_tokens > long_prompt.above_input_tokens:
        rates = long_prompt.rates
    return rates, multiplier


def _long_prompt_of_tier(
    own: LongPromptRates | None, standard: LongPromptRates | None, input_tokens: int
) -> LongPromptRates | None:
    """Return a tier's rates for long prompts; Unpriced when such a prompt has rates by the standard only."""
    if own is None and standard is not None and input_tokens > standard.above_input_tokens:
        raise Unpriced("a long prompt at this service tier")
    return own


def _cost_of_uses(usage: Usage, price: Price) -> Decimal:
    cost = _NOTHING
    if usage.web_search_requests:
        cost += usage.web_search_requests * _required(price.uses.web_search, "web searches")
    if usage.code_execution_seconds:
        hourly = _required(price.uses.code_execution_hour, "code execution")
        cost += usage.code_execution_seconds * hourly / _SECONDS_PER_HOUR
    return cost


def _required(rate: Decimal | None, unit: str) -> Decimal:
    if rate is None:
        raise Unpriced(unit)
    return rate


def _rate(own: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if own is None else own
