"""What a receipt says a request costs, before the ledger has recorded it: same prices, same formula."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import structlog

from edge.ledger.client import LedgerClient
from edge.metrics import Metrics
from edge.problems import Problem
from pricing.cost import FREE, cost_of
from pricing.price_book import Price, PriceBook
from pricing.usage import Usage
from servicekit.rpc_token import refusal_in
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

_REFRESH_INTERVAL_SECONDS = 15.0
_FIRST_INTERVAL_SECONDS = 0.5
# A ledger that is started together with the edge has its price book by then.
_FIRST_BOOK_SECONDS = 30.0


class Quotes:
    """Prices attempts with the ledger's price book."""

    def __init__(self, ledger: LedgerClient, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._book: PriceBook | None = None
        self._give_up_at = time.monotonic() + _FIRST_BOOK_SECONDS

    @property
    def is_ready(self) -> bool:
        """Whether costs can be quoted; after some time also when they cannot: no ledger must not mean no edge."""
        return self._book is not None or time.monotonic() >= self._give_up_at

    async def keep_fresh(self) -> None:
        """Fetch the price book again and again, often until there is one; runs until cancelled."""
        while True:
            await self._refresh()
            await asyncio.sleep(_FIRST_INTERVAL_SECONDS if self._book is None else _REFRESH_INTERVAL_SECONDS)

    async def _refresh(self) -> None:
        """Fetch the price book; when the ledger does not answer, the last one stays in use."""
        try:
            self._book = await self._ledger.price_book()
        except Problem as problem:
            self._metrics.price_book_failures.inc()
            log.warning("price_book_refresh_failed", reason=refusal_in(problem.__cause__) or problem.code)

    def attempt_costs(self, attempts: Sequence[routerpb.Attempt]) -> list[Decimal | None]:
        """Return the cost of each attempt in USD; None when it is unpriced."""
        return [self._attempt_cost(attempt) for attempt in attempts]

    def price_versions(self, attempts: Sequence[routerpb.Attempt]) -> list[str]:
        """Return the version of each attempt's price; empty when none is in force or nothing was billed."""
        prices = [self._price_of(attempt) if attempt.HasField("usage") else None for attempt in attempts]
        return ["" if price is None else price.price_version for price in prices]

    def saved_cost(self, provider: str, target_model: str, usage: Usage | None) -> Decimal | None:
        """Return what an answer would cost now."""
        if self._book is None or usage is None:
            return None
        return cost_of(usage, self._book.price_at(provider, target_model, datetime.now(UTC)))

    def _attempt_cost(self, attempt: routerpb.Attempt) -> Decimal | None:
        if not attempt.HasField("usage"):
            return FREE
        cost = cost_of(Usage.from_proto(attempt.usage), self._price_of(attempt))
        if cost is None:
            self._metrics.unquoted_attempts.labels(attempt.provider).inc()
        return cost

    def _price_of(self, attempt: routerpb.Attempt) -> Price | None:
        if self._book is None:
            return None
        started_at = attempt.started_at.ToDatetime(tzinfo=UTC)
        return self._book.price_at(attempt.provider, attempt.target_model, started_at)
