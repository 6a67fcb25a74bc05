"""Derives costs again from usage and the price in force; a cost that differs becomes a correction of the attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg

from cost_ledger.columns import USAGE, by_column, insert_rows, usage_in
from cost_ledger.errors import CommandRefused
from cost_ledger.prices.book import read_prices
from cost_ledger.rows import (
    CORRECTION_COLUMNS,
    COUNTING_COST,
    COUNTING_VERSION,
    JOIN_NEWEST_CORRECTION,
    CorrectionRow,
)
from cost_ledger.spend_daily import SpendKey, SpendSums, add_spend
from pricing.cost import FREE, cost_of
from pricing.price_book import PriceBook

# Any constant. Two runs at the same time would correct the same attempts twice.
_LOCK = 0x5B111A7C
# The first that NUMERIC(18,9) cannot hold.
_TOO_LARGE = Decimal(10) ** 9

# Every provider and model that was used, each found by one index look-up.
_MODELS = """
WITH RECURSIVE models AS (
    (SELECT provider, target_model FROM attempts ORDER BY provider, target_model LIMIT 1)
    UNION ALL
    SELECT following.provider, following.target_model FROM models CROSS JOIN LATERAL (
        SELECT provider, target_model FROM attempts
        WHERE (provider, target_model) > (models.provider, models.target_model)
        ORDER BY provider, target_model LIMIT 1
    ) AS following
)
SELECT provider, target_model FROM models
WHERE ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR target_model = $2)
"""
_NEXT = f"""
WITH batch AS MATERIALIZED (
    SELECT request_id, attempt_number, started_at, {", ".join(USAGE)}, cost_usd, price_version FROM attempts
    WHERE provider = $1 AND target_model = $2 AND has_usage
        AND (started_at, request_id, attempt_number) > ($3, $4, $5) AND started_at < $6
    ORDER BY started_at, request_id, attempt_number LIMIT $7
)
SELECT a.*, {COUNTING_COST} AS counting_cost, {COUNTING_VERSION} AS counting_version,
    coalesce(c.correction_number, 0) AS corrections,
    r.tenant, (r.admitted_at AT TIME ZONE 'UTC')::date AS day, r.user_id, r.key_id, r.requested_model, r.template
FROM batch AS a LEFT JOIN requests AS r USING (request_id) {JOIN_NEWEST_CORRECTION}
ORDER BY a.started_at, a.request_id, a.attempt_number
"""  # noqa: S608 - columns of our own
_INSERT_CORRECTIONS = insert_rows("corrections", CORRECTION_COLUMNS)


@dataclass(frozen=True, slots=True)
class RepriceScope:
    """Which attempts: those that started on these UTC days, both included; None: any."""

    first: date | None = None
    last: date | None = None
    provider: str | None = None
    target_model: str | None = None


@dataclass(slots=True)
class Difference:
    """Sums over the attempts of one provider, model and day whose cost is another one; unpriced counts as nothing."""

    attempts: int = 0
    before_usd: Decimal = FREE
    after_usd: Decimal = FREE
    newly_priced: int = 0
    newly_unpriced: int = 0


class RepricedModel(NamedTuple):
    """What differences are added up by; the day is that of admission."""

    provider: str
    target_model: str
    day: date


class _Position(NamedTuple):
    """The attempt that a batch ended with; the next one begins after it."""

    started_at: datetime
    request_id: UUID
    attempt_number: int


class _Repriced(NamedTuple):
    """A correction and the row of spend_daily that its attempt counts in."""

    correction: CorrectionRow
    spend: SpendKey


class Reprice:
    """One run over the attempts of a scope. Run again after an interruption it does what is left, and nothing twice."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        scope: RepriceScope,
        *,
        dry_run: bool,
        report: Callable[[str], None],
        batch: int = 500,
    ) -> None:
        """`report` gets a line of progress after each transaction of `batch` attempts; a dry run writes nothing."""
        self._connection = connection
        self._scope = scope
        self._dry_run = dry_run
        self._report = report
        self._batch = batch
        self._book = PriceBook(())
        self.seen = 0
        self.differences: dict[RepricedModel, Difference] = {}
        self.without_request = 0
        """Attempts whose request is missing: it is unknown in whose sums they count, so they stay as they are."""
        self.too_large = 0
        """Attempts that would cost a billion or more, which no row can hold: they stay as they are."""

    async def run(self) -> None:
        """Go over all attempts of the scope; CommandRefused when another run is under way."""
        if not await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            raise CommandRefused("another reprice is under way on this database; wait for its end")
        # The lock goes with the connection.
        self._book = PriceBook(await read_prices(self._connection))
        for row in await self._connection.fetch(_MODELS, self._scope.provider, self._scope.target_model):
            await self._model(row["provider"], row["target_model"])

    async def _model(self, provider: str, target_model: str) -> None:
        first = self._scope.first or date(1, 1, 2)
        # Just before the first moment.
        position = _Position(_midnight(first) - timedelta(microseconds=1), UUID(int=2**128 - 1), 2**31 - 1)
        last = self._scope.last or date(9999, 12, 30)
        until = _midnight(last) + timedelta(days=1)
        while True:
            async with self._connection.transaction():
                rows = await self._connection.fetch(_NEXT, provider, target_model, *position, until, self._batch)
                found = [each for row in rows if (each := self._compare(row, provider, target_model))]
                if found and not self._dry_run:
                    await self._write(found)
            self._count(len(rows), found)
            if rows:
                position = _Position(**{name: rows[-1][name] for name in _Position._fields})
                self._report(
                    f"{provider}/{target_model} to {position.started_at:%Y-%m-%d %H:%M}: {self.seen:,} attempts"
                )
            if len(rows) < self._batch:
                return

    def _compare(self, row: asyncpg.Record, provider: str, target_model: str) -> _Repriced | None:
        price = self._book.price_at(provider, target_model, row["started_at"])
        cost = cost_of(usage_in(row), price)
        if cost == row["counting_cost"]:
            return None
        if cost is not None and cost >= _TOO_LARGE:
            self.too_large += 1
            return None
        if row["tenant"] is None:
            self.without_request += 1
            return None
        correction = CorrectionRow(
            request_id=row["request_id"],
            attempt_number=row["attempt_number"],
            correction_number=row["corrections"] + 1,
            tenant=row["tenant"],
            before_cost_usd=row["counting_cost"],
            before_price_version=row["counting_version"],
            cost_usd=cost,
            price_version=price.price_version if price is not None and cost is not None else "",
            reason="reprice",
        )
        spend = SpendKey(
            tenant=row["tenant"],
            day=row["day"],
            user_id=row["user_id"],
            key_id=row["key_id"],
            requested_model=row["requested_model"],
            provider=provider,
            target_model=target_model,
            template=row["template"],
        )
        return _Repriced(correction, spend)

    async def _write(self, repriced: Sequence[_Repriced]) -> None:
        await self._connection.execute(_INSERT_CORRECTIONS, *by_column([each.correction for each in repriced]))
        sums: dict[SpendKey, SpendSums] = {}
        for correction, spend in repriced:
            row = sums.setdefault(spend, SpendSums())
            row.cost_usd += (correction.cost_usd or FREE) - (correction.before_cost_usd or FREE)
            row.unpriced_attempts += (correction.cost_usd is None) - (correction.before_cost_usd is None)
        await add_spend(self._connection, sums)

    def _count(self, seen: int, repriced: Sequence[_Repriced]) -> None:
        """Add up what was compared and, unless it is a dry run, is committed."""
        self.seen += seen
        for correction, spend in repriced:
            key = RepricedModel(spend.provider, spend.target_model, spend.day)
            difference = self.differences.setdefault(key, Difference())
            difference.attempts += 1
            difference.before_usd += correction.before_cost_usd or FREE
            difference.after_usd += correction.cost_usd or FREE
            difference.newly_priced += correction.before_cost_usd is None
            difference.newly_unpriced += correction.cost_usd is None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
