"""What a request will cost and how long its answer will be: moving averages of what requests of its model had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from edge.conversation import Content, Conversation
from edge.events.reservation import Used
from pricing.usage import Usage

# What an answer may have is not known before; most are shorter than what is asked for at most.
_FIRST_OUTPUT_TOKENS = 500.0
# The share of the newest request in an average: about the last twenty count.
_NEWEST = 0.1
_NANO_USD = 10**9

Quote = Callable[[str, Usage], Decimal | None]
"""Prices usage of a public model by its first target; None: it has no price."""


@dataclass(slots=True)
class _Average:
    output_tokens: float = _FIRST_OUTPUT_TOKENS
    nano_usd_per_token: float | None = None


class Expectation:
    """Learns from requests that have ended; one for each public model, in this process."""

    def __init__(self, quote: Quote) -> None:
        """`quote` is asked as long as no request of a model has ended."""
        self._quote = quote
        self._averages: dict[str, _Average] = {}

    def learn(self, model: str, used: Used) -> None:
        """Count a request that has called a provider."""
        if not used.tokens:
            return
        average = self._averages.setdefault(model, _Average())
        average.output_tokens += _NEWEST * (used.output_tokens - average.output_tokens)
        if not used.is_priced:
            return
        rate = used.cost_nano_usd / used.tokens
        before = average.nano_usd_per_token
        average.nano_usd_per_token = rate if before is None else before + _NEWEST * (rate - before)

    def tokens(self, model: str, content: Content) -> int:
        """Return how many tokens the request will read and write."""
        return content.estimated_input_tokens + self._output_tokens(model, content)

    def cost_nano_usd(self, model: str, content: Content) -> int:
        """Return what the request will cost; 0 when its model has no price."""
        average = self._averages.get(model)
        if average is not None and average.nano_usd_per_token is not None:
            return round(average.nano_usd_per_token * self.tokens(model, content))
        cost = self._quote(model, Usage(content.estimated_input_tokens, self._output_tokens(model, content)))
        return 0 if cost is None else int(cost * _NANO_USD)

    def _output_tokens(self, model: str, content: Content) -> int:
        if not isinstance(content, Conversation):
            return 0
        average = self._averages.get(model)
        return round(_FIRST_OUTPUT_TOKENS if average is None else average.output_tokens)
