"""Step 8 of the request path: the price in force when each attempt started, NULL where there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cost_ledger.recording.event import AttemptFacts, SettledEvent
from pricing.cost import FREE, cost_of, total_of
from pricing.price_book import Price, PriceBook
from pricing.usage import Usage

_HOUR_SECONDS = 3600.0
_MOST_MODELS = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """What usage cost in USD (None: unpriced) and by which row of the price book (empty: by none)."""

    usd: Decimal | None
    price_version: str = ""


@dataclass(frozen=True, slots=True)
class PricedAttempt:
    """An attempt and its cost."""

    facts: AttemptFacts
    cost: Cost

    @property
    def is_unpriced(self) -> bool:
        """Whether the provider did billable work that nobody can price."""
        return self.cost.usd is None


@dataclass(frozen=True, slots=True)
class PricedSettled:
    """A settled request, its attempts and its sums."""

    event: SettledEvent
    attempts: tuple[PricedAttempt, ...]
    cost_usd: Decimal | None
    # None unless it was a cache hit.
    saved: Cost | None


def price_settled(event: SettledEvent, book: PriceBook) -> PricedSettled:
    """Price every attempt of `event`, and what a cache hit saved."""
    attempts = tuple(PricedAttempt(attempt, _attempt_cost(attempt, book)) for attempt in event.attempts)
    saved = None
    if event.saved is not None:
        saved = _cost(
            event.saved.usage, book, event.saved.provider, event.saved.target_model, event.request.admitted_at
        )
    return PricedSettled(event, attempts, total_of(attempt.cost.usd for attempt in attempts), saved)


def _attempt_cost(attempt: AttemptFacts, book: PriceBook) -> Cost:
    if attempt.usage is None:
        return Cost(FREE)
    return _cost(attempt.usage, book, attempt.provider, attempt.target_model, attempt.started_at)


def _cost(usage: Usage, book: PriceBook, provider: str, target_model: str, moment: datetime) -> Cost:
    price = book.price_at(provider, target_model, moment)
    usd = cost_of(usage, price)
    return Cost(usd, price.price_version if price is not None and usd is not None else "")


class UnpricedModels:
    """Says when a log line about a model without a price is due: once per model and hour, not once per attempt."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}
        self._attempts: dict[tuple[str, str], int] = {}

    def count(self, provider: str, target_model: str, now_seconds: float) -> int | None:
        """Count one attempt; return how many there were since the last line when the next one is due, else None.

        `now_seconds` is of any clock that only goes forward.
        """
        model = (provider, target_model)
        attempts = self._attempts.pop(model, 0) + 1
        if now_seconds < self._due.get(model, now_seconds):
            self._attempts[model] = attempts
            return None
        if len(self._due) >= _MOST_MODELS:
            # Names come from routes, which are few; whatever invents them must not fill the memory.
            self._due.clear()
            self._attempts.clear()
        self._due[model] = now_seconds + _HOUR_SECONDS
        return attempts


class PriceList:
    """The price book as the `prices` table had it when it was last read."""

    def __init__(self, read_prices: Callable[[], Awaitable[list[Price]]]) -> None:
        self._read_prices = read_prices
        self._prices: list[Price] | None = None
        self._book = PriceBook(())

    async def refresh(self) -> None:
        """Read the table again; on an error the prices read before stay."""
        self._prices = await self._read_prices()
        self._book = PriceBook(self._prices)

    async def prices(self) -> list[Price]:
        """Return all rows, reading them first if that has never succeeded."""
        if self._prices is None:
            await self.refresh()
        return self._prices or []

    async def book(self) -> PriceBook:
        """Return the book, reading it first if that has never succeeded: nothing is priced by an unread book."""
        await self.prices()
        return self._book
