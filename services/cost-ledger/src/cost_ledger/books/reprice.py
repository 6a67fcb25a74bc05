"""Derives costs again from usage and the price in force; what differs becomes a correction beside the attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg

from cost_ledger.books.corrections import COUNTING_COST, COUNTING_VERSION, JOIN_NEWEST
from cost_ledger.errors import CommandRefused
from cost_ledger.prices.book import read_prices
from pricing.cost import FREE, cost_of
from pricing.price_book import PriceBook
from pricing.usage import Usage

# Any constant; two at the same time would both correct what they both read.
_LOCK = 0x5B111A7C
# The first that NUMERIC(18,9) cannot hold.
_TOO_LARGE = Decimal(10) ** 9
_USAGE = tuple(Usage.__slots__)
_KEY = ("tenant", "day", "user_id", "key_id", "requested_model", "provider", "target_model", "template")

# Every provider and model that was used, each found by one look into the index.
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
    SELECT request_id, attempt_number, started_at, {", ".join(_USAGE)}, cost_usd, price_version FROM attempts
    WHERE provider = $1 AND target_model = $2 AND has_usage
        AND (started_at, request_id, attempt_number) > ($3, $4, $5) AND started_at < $6
    ORDER BY started_at, request_id, attempt_number LIMIT $7
)
SELECT a.*, {COUNTING_COST} AS counting_cost, {COUNTING_VERSION} AS counting_version,
    coalesce(c.correction_number, 0) AS corrections,
    r.tenant, (r.admitted_at AT TIME ZONE 'UTC')::date AS day, r.user_id, r.key_id, r.requested_model, r.template
FROM batch AS a LEFT JOIN requests AS r USING (request_id) {JOIN_NEWEST}
ORDER BY a.started_at, a.request_id, a.attempt_number
"""  # noqa: S608 - words of our own
_CORRECT = """
INSERT INTO corrections (request_id, attempt_number, correction_number, tenant, before_cost_usd, before_price_version,
    cost_usd, price_version, reason)
SELECT *, 'reprice' FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[], $5::numeric[], $6::text[],
    $7::numeric[], $8::text[])
"""
_SPEND = f"""
INSERT INTO spend_daily ({", ".join(_KEY)}, cost_usd, unpriced_attempts, requests, attempts, input_tokens,
    output_tokens, cache_hits, cache_misses, cache_bypasses, saved_cost_usd)
SELECT *, 0, 0, 0, 0, 0, 0, 0, 0 FROM unnest($1::text[], $2::date[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::numeric[], $10::int8[])
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    cost_usd = spend_daily.cost_usd + excluded.cost_usd,
    unpriced_attempts = spend_daily.unpriced_attempts + excluded.unpriced_attempts
"""  # noqa: S608 - words of our own


@dataclass(frozen=True, slots=True)
class RepriceScope:
    """Which attempts: those of these UTC days by their start, both included; None: any."""

    first: date | None = None
    last: date | None = None
    provider: str | None = None
    target_model: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class SpendPlace:
    """The row of spend_daily that an attempt counts in."""

    tenant: str
    day: date
    user_id: str
    key_id: str
    requested_model: str
    provider: str
    target_model: str
    template: str


@dataclass(slots=True)
class Difference:
    """Sums over the attempts of one provider, model and day whose cost is another one; unpriced counts as nothing."""

    attempts: int = 0
    before_usd: Decimal = FREE
    after_usd: Decimal = FREE
    newly_priced: int = 0
    newly_unpriced: int = 0


@dataclass(frozen=True, slots=True)
class _Correction:
    place: SpendPlace
    request_id: UUID
    attempt_number: int
    correction_number: int
    before_usd: Decimal | None
    before_version: str
    after_usd: Decimal | None
    after_version: str


class Reprice:
    """One run over the attempts of a scope. Run again after an interruption it does what is left, and nothing twice."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        scope: RepriceScope,
        *,
        dry_run: bool,
        told: Callable[[str], None],
        batch: int = 500,
    ) -> None:
        """`told` gets a line of progress after each transaction of `batch` attempts; a dry run writes nothing."""
        self._connection = connection
        self._scope = scope
        self._dry_run = dry_run
        self._told = told
        self._batch = batch
        self._book = PriceBook(())
        self.seen = 0
        self.differences: dict[tuple[str, str, date], Difference] = {}
        self.without_request = 0
        """Attempts whose request is missing: nobody knows where they count, so they stay as they are."""
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
        # Just before the first moment: the next is what comes after.
        place: tuple[datetime, UUID, int] = (
            _midnight(first) - timedelta(microseconds=1),
            UUID(int=2**128 - 1),
            2**31 - 1,
        )
        last = self._scope.last or date(9999, 12, 30)
        until = _midnight(last) + timedelta(days=1)
        while True:
            async with self._connection.transaction():
                rows = await self._connection.fetch(_NEXT, provider, target_model, *place, until, self._batch)
                corrections = [found for row in rows if (found := self._compare(row, provider, target_model))]
                if corrections and not self._dry_run:
                    await self._write(corrections)
            self._count(len(rows), corrections)
            if rows:
                self._told(
                    f"{provider}/{target_model} to {rows[-1]['started_at']:%Y-%m-%d %H:%M}: {self.seen:,} attempts"
                )
            if len(rows) < self._batch:
                return
            place = (rows[-1]["started_at"], rows[-1]["request_id"], rows[-1]["attempt_number"])

    def _compare(self, row: asyncpg.Record, provider: str, target_model: str) -> _Correction | None:
        price = self._book.price_at(provider, target_model, row["started_at"])
        cost = cost_of(Usage(*(row[count] for count in _USAGE)), price)
        if cost == row["counting_cost"]:
            return None
        if cost is not None and cost >= _TOO_LARGE:
            self.too_large += 1
            return None
        if row["tenant"] is None:
            self.without_request += 1
            return None
        return _Correction(
            place=SpendPlace(
                **{name: row[name] for name in _KEY if name not in {"provider", "target_model"}},
                provider=provider,
                target_model=target_model,
            ),
            request_id=row["request_id"],
            attempt_number=row["attempt_number"],
            correction_number=row["corrections"] + 1,
            before_usd=row["counting_cost"],
            before_version=row["counting_version"],
            after_usd=cost,
            after_version=price.price_version if price is not None and cost is not None else "",
        )

    async def _write(self, corrections: Sequence[_Correction]) -> None:
        rows = [
            (
                each.request_id,
                each.attempt_number,
                each.correction_number,
                each.place.tenant,
                each.before_usd,
                each.before_version,
                each.after_usd,
                each.after_version,
            )
            for each in corrections
        ]
        await self._connection.execute(_CORRECT, *(list(column) for column in zip(*rows, strict=True)))
        sums: dict[SpendPlace, tuple[Decimal, int]] = {}
        for each in corrections:
            usd, unpriced = sums.get(each.place, (FREE, 0))
            usd += (each.after_usd or FREE) - (each.before_usd or FREE)
            sums[each.place] = (usd, unpriced + (each.after_usd is None) - (each.before_usd is None))
        # The order in which the consumers lock the same rows (store.py).
        spend = [(*(getattr(place, field.name) for field in fields(place)), *sums[place]) for place in sorted(sums)]
        await self._connection.execute(_SPEND, *(list(column) for column in zip(*spend, strict=True)))

    def _count(self, seen: int, corrections: Sequence[_Correction]) -> None:
        """Add up what was compared and, unless it is a dry run, is committed."""
        self.seen += seen
        for each in corrections:
            key = (each.place.provider, each.place.target_model, each.place.day)
            difference = self.differences.setdefault(key, Difference())
            difference.attempts += 1
            difference.before_usd += each.before_usd or FREE
            difference.after_usd += each.after_usd or FREE
            difference.newly_priced += each.before_usd is None
            difference.newly_unpriced += each.after_usd is None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
