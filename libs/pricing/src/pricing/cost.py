"""Step 8 of the request path: what one attempt cost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

from pricing.price_book import Price, Rates
from pricing.usage import Usage

# Costs are kept to the nano-dollar: NUMERIC(18,9) in the ledger's tables.
NANO_USD = Decimal("0.000000001")
FREE = Decimal("0.000000000")
_PER_MILLION = Decimal(1_000_000)


def cost_of(usage: Usage, price: Price | None) -> Decimal | None:
    """Price one attempt, in USD rounded half-even to the nano-dollar.

    None (unpriced) when no price was in force or when the input or output count is unknown.
    """
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    rates = _rates_for(usage.input_tokens, price)
    cache_read = usage.provider_cache_read_input_tokens or 0
    cache_write = usage.provider_cache_write_input_tokens or 0
    reasoning = usage.reasoning_output_tokens or 0
    # The totals are inclusive; a provider that breaks that rule must not make the remainder negative.
    plain_input = max(usage.input_tokens - cache_read - cache_write, 0)
    plain_output = max(usage.output_tokens - reasoning, 0)
    total = (
        plain_input * rates.input
        + cache_read * _rate(rates.provider_cache_read_input, rates.input)
        + cache_write * _rate(rates.provider_cache_write_input, rates.input)
        + plain_output * rates.output
        + reasoning * _rate(rates.reasoning_output, rates.output)
    )
    return (total / _PER_MILLION).quantize(NANO_USD, rounding=ROUND_HALF_EVEN)


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


def _rates_for(input_tokens: int, price: Price) -> Rates:
    if price.long_prompt is not None and input_tokens > price.long_prompt.above_input_tokens:
        return price.long_prompt.rates
    return price.rates


def _rate(own: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if own is None else own
