"""Step 8 of the request path: the price in force when each attempt started, NULL where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from cost_ledger.recording.event import Attempt, SettledEvent
from cost_ledger.rows import NOTHING_SAVED, AttemptFacts, Cost
from pricing.cost import FREE, Unpriced, price_usage, total_of
from pricing.price_book import PriceBook
from pricing.usage import Usage

_HOUR_SECONDS = 3600.0
_MAX_MODELS = 1000


class PricedAttempt(NamedTuple):
    """An attempt and its cost."""

    facts: AttemptFacts
    usage: Usage | None
    cost: Cost
    unpriced_because: str = ""
    """Empty unless it is unpriced."""

    @property
    def is_unpriced(self) -> bool:
        """Whether the provider did billable work that has no price."""
        return self.cost.usd is None


@dataclass(frozen=True, slots=True)
class PricedSettled:
    """A settled request, its attempts and its sums."""

    event: SettledEvent
    attempts: tuple[PricedAttempt, ...]
    cost_usd: Decimal | None
    saved_cost: Cost


def price_settled(event: SettledEvent, book: PriceBook) -> PricedSettled:
    """Price every attempt of `event`, and what a cache hit saved."""
    attempts = tuple(_priced(attempt, book) for attempt in event.attempts)
    saved, saved_cost = event.saved, NOTHING_SAVED
    if saved is not None:
        saved_cost, _ = _cost(saved.usage, book, saved.provider, saved.target_model, event.request.admitted_at)
    return PricedSettled(event, attempts, total_of(attempt.cost.usd for attempt in attempts), saved_cost)


def _priced(attempt: Attempt, book: PriceBook) -> PricedAttempt:
    facts, usage = attempt
    if usage is None:
        return PricedAttempt(facts, None, Cost(FREE))
    cost, unpriced_because = _cost(usage, book, facts.provider, facts.target_model, facts.started_at)
    return PricedAttempt(facts, usage, cost, unpriced_because)


def _cost(usage: Usage, book: PriceBook, provider: str, target_model: str, moment: datetime) -> tuple[Cost, str]:
    """Return the cost, and why there is none."""
    price = book.price_at(provider, target_model, moment)
    try:
        usd = price_usage(usage, price)
    except Unpriced as reason:
        return Cost(None), str(reason)
    return Cost(usd, price.price_version if price is not None else ""), ""


class UnpricedModels:
    """Limits the log lines about a model without a price to one per model and hour."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}
        self._attempts: dict[tuple[str, str], int] = {}

    def count(self, provider: str, target_model: str, now_seconds: float) -> int | None:
        """Count one attempt; return how many there were since the last line if the next one is due, else None.

        `now_seconds` is from a monotonic clock.
        """
        model = (provider, target_model)
        attempts = self._attempts.pop(model, 0) + 1
        if now_seconds < self._due.get(model, now_seconds):
            self._attempts[model] = attempts
            return None
        if len(self._due) >= _MAX_MODELS:
            # Names come from routes, which are few; a source of endless names must not fill the memory.
            self._due.clear()
            self._attempts.clear()
        self._due[model] = now_seconds + _HOUR_SECONDS
        return attempts
