"""The price book in memory, as the `prices` table had it when it was last read."""

from __future__ import annotations

import asyncpg

from cost_ledger.connections import borrowed
from cost_ledger.prices.book import read_prices
from pricing.price_book import Price, PriceBook


class PriceList:
    """All recorded prices, and the book made of them."""

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout = timeout_seconds
        self._prices: list[Price] | None = None
        self._book = PriceBook(())

    async def refresh(self) -> None:
        """Read the table again; on an error the prices read before stay."""
        async with borrowed(self._pool, self._timeout) as connection:
            prices = await read_prices(connection)
        # Both at once, after the last await: a caller in between would price by a book that was not read.
        self._prices, self._book = prices, PriceBook(prices)

    async def prices(self) -> list[Price]:
        """Return all rows, reading them first if that has never succeeded."""
        if self._prices is None:
            await self.refresh()
        return self._prices or []

    async def book(self) -> PriceBook:
        """Return the book, reading it first if that has never succeeded: no cost comes from an unread book."""
        await self.prices()
        return self._book
