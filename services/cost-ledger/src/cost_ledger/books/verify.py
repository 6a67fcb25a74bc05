"""Checks the books: every cost against usage and its recorded price, every sum against its rows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeVar

import asyncpg

from cost_ledger.books.rollup import DIFFERENCES
from cost_ledger.columns import USAGE, usage_in
from cost_ledger.prices.book import read_prices
from cost_ledger.rows import ATTEMPT_COLUMNS, CORRECTION_COLUMNS, AttemptRow, CorrectionRow, Cost
from cost_ledger.schema.partitions import lowest_id
from cost_ledger.spend_daily import KEY, SUMS
from pricing.cost import FREE, cost_of, total_of
from pricing.price_book import Price
from pricing.usage import Usage

_BATCH = 1000
# An id is minted within minutes of the admission; two days are far more.
_ID_MARGIN = timedelta(days=2)
_FIRST_ID, _LAST_ID = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
_FIRST_DAY, _LAST_DAY = date(1, 1, 2), date(9999, 12, 30)

_REQUESTS = f"""
SELECT request_id, tenant, state, admitted_at, cost_usd, saved_cost_usd, saved_price_version,
    {", ".join(f"saved_{count}" for count in USAGE)}
FROM requests
WHERE request_id > $1 AND request_id BETWEEN $2 AND $3
    AND admitted_at >= $4::date AT TIME ZONE 'UTC' AND admitted_at < ($5::date + 1) AT TIME ZONE 'UTC'
ORDER BY request_id LIMIT {_BATCH}
"""  # noqa: S608 - columns of our own
_ATTEMPTS = f"""
SELECT {", ".join(ATTEMPT_COLUMNS)} FROM attempts
WHERE request_id BETWEEN $1 AND $2 ORDER BY request_id, attempt_number
"""  # noqa: S608 - columns of our own
_CORRECTIONS = f"""
SELECT {", ".join(CORRECTION_COLUMNS)} FROM corrections
WHERE request_id BETWEEN $1 AND $2 ORDER BY request_id, attempt_number, correction_number
"""  # noqa: S608 - columns of our own
_ATTEMPTS_ALONE = """
SELECT request_id, attempt_number FROM attempts
WHERE request_id BETWEEN $1 AND $2
    AND NOT EXISTS (SELECT FROM requests WHERE requests.request_id = attempts.request_id)
ORDER BY request_id, attempt_number
"""
# A correction outlives its attempt when the attempt's partition is dropped: only months that are there can be checked.
_CORRECTIONS_ALONE = """
SELECT request_id, attempt_number, correction_number FROM corrections
WHERE request_id BETWEEN greatest($1::uuid, $3::uuid) AND $2 AND NOT EXISTS (
    SELECT FROM attempts
    WHERE attempts.request_id = corrections.request_id AND attempts.attempt_number = corrections.attempt_number
)
ORDER BY request_id, attempt_number, correction_number
"""
_OLDEST_PARTITION = """
SELECT min(substring(relname FROM '^requests_(\\d{4}_\\d{2})$')) FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'requests'::regclass
"""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One figure that is not what it must be; `kind` is one of a closed set."""

    kind: str
    where: str
    found: str
    expected: str


class _Request(NamedTuple):
    """What a check needs of a request."""

    request_id: uuid.UUID
    tenant: str
    state: str
    cost_usd: Decimal | None
    saved: Usage
    saved_cost: Cost


class _Model(NamedTuple):
    """What a price must be of; None: any model."""

    provider: str
    target_model: str


class Verification:
    """One check of the days from `first` to `last` (UTC, by admission, both included; None: no bound).

    It reads one snapshot of the books, however long it takes and whatever the ledger writes meanwhile.
    """

    def __init__(self, connection: asyncpg.Connection, first: date | None, last: date | None) -> None:
        self._connection = connection
        self._first, self._last = first or _FIRST_DAY, last or _LAST_DAY
        # Bounds of the ids, so that a check of a day reads the partitions of that day.
        self._low = _FIRST_ID if first is None else _id_of(_midnight(first) - _ID_MARGIN)
        self._high = _LAST_ID if last is None else _id_of(_midnight(last) + timedelta(days=1) + _ID_MARGIN)
        self._prices: Mapping[str, Price] = {}
        self.requests = 0
        self.attempts = 0
        self.corrections = 0
        self.sums_from: date = self._first
        """The first day whose sums can be checked: of older ones rows may have been dropped by retention."""

    async def mismatches(self) -> AsyncGenerator[Mismatch, None]:
        """Yield every mismatch, rows first, then sums; memory does not grow with their number."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            self._prices = {price.price_version: price for price in await read_prices(self._connection)}
            oldest = await self._oldest_month()
            async for mismatch in self._rows():
                yield mismatch
            async for mismatch in self._alone(oldest):
                yield mismatch
            async for mismatch in self._sums(oldest):
                yield mismatch

    async def _oldest_month(self) -> date | None:
        found = await self._connection.fetchval(_OLDEST_PARTITION)
        return None if found is None else datetime.strptime(found, "%Y_%m").replace(tzinfo=UTC).date()

    async def _rows(self) -> AsyncIterator[Mismatch]:
        # The next batch comes after an id, and the first one begins with the lowest id itself.
        after = uuid.UUID(int=max(self._low.int - 1, 0))
        while rows := await self._connection.fetch(_REQUESTS, after, self._low, self._high, self._first, self._last):
            requests = [_request(row) for row in rows]
            first, after = requests[0].request_id, requests[-1].request_id
            attempts = _by_request(
                [AttemptRow.read(row) for row in await self._connection.fetch(_ATTEMPTS, first, after)]
            )
            corrections = _by_request(
                [CorrectionRow(**row) for row in await self._connection.fetch(_CORRECTIONS, first, after)]
            )
            for request in requests:
                of_request = attempts[request.request_id], corrections[request.request_id]
                self.requests += 1
                self.attempts += len(of_request[0])
                self.corrections += len(of_request[1])
                for mismatch in self._of_request(request, *of_request):
                    yield mismatch

    def _of_request(
        self, request: _Request, attempts: Sequence[AttemptRow], corrections: Sequence[CorrectionRow]
    ) -> Iterator[Mismatch]:
        where = f"request {request.request_id}"
        for attempt in attempts:
            number = attempt.facts.attempt_number
            yield from self._of_attempt(f"{where} attempt {number}", attempt)
            yield from self._of_corrections(
                request, attempt, [each for each in corrections if each.attempt_number == number]
            )
        if request.state != "settled":
            if attempts or request.cost_usd is not None:
                yield Mismatch("request_state", where, f"{request.state} with attempts or a cost", "settled")
            return
        total = total_of(attempt.cost.usd for attempt in attempts)
        if request.cost_usd != total:
            yield Mismatch("request_cost", where, _usd(request.cost_usd), f"{_usd(total)}, the sum of its attempts")
        yield from self._of_cost("saved_cost", where, request.saved, request.saved_cost)

    def _of_attempt(self, where: str, attempt: AttemptRow) -> Iterator[Mismatch]:
        facts, cost = attempt.facts, attempt.cost
        event_id = uuid.uuid5(attempt.request_id, str(facts.attempt_number))
        if facts.event_id != event_id:
            yield Mismatch("event_id", where, str(facts.event_id), f"{event_id}; with another id it may be there twice")
        if attempt.usage is not None:
            model = _Model(facts.provider, facts.target_model)
            yield from self._of_cost("attempt_cost", where, attempt.usage, cost, model)
        elif cost != Cost(FREE):
            found = f"{_usd(cost.usd)} {cost.price_version}"
            yield Mismatch("attempt_cost", where, found, f"{_usd(FREE)} without a price: it used nothing")

    def _of_cost(
        self, kind: str, where: str, usage: Usage, found: Cost, model: _Model | None = None
    ) -> Iterator[Mismatch]:
        """Compare a cost with what its usage costs by its price version."""
        if not found.price_version:
            if found.usd is not None:
                yield Mismatch(kind, where, f"{_usd(found.usd)} without a price version", "unpriced")
            return
        price = self._prices.get(found.price_version)
        if price is None or (model is not None and not price.covers(*model)):
            yield Mismatch("price_version", where, found.price_version, "a recorded price of its provider and model")
            return
        expected = cost_of(usage, price)
        if found.usd != expected:
            yield Mismatch(kind, where, _usd(found.usd), f"{_usd(expected)} by {found.price_version}")

    def _of_corrections(
        self, request: _Request, attempt: AttemptRow, corrections: Sequence[CorrectionRow]
    ) -> Iterator[Mismatch]:
        facts, before = attempt.facts, attempt.cost
        for number, found in enumerate(corrections, 1):
            where = f"request {request.request_id} attempt {facts.attempt_number} correction {number}"
            expected = found._replace(
                correction_number=number,
                tenant=request.tenant,
                before_cost_usd=before.usd,
                before_price_version=before.price_version,
            )
            if found != expected:
                words = f"{_origin(expected)}, as in what it corrects"
                yield Mismatch("correction", where, _origin(found), words)
            before = Cost(found.cost_usd, found.price_version)
            model = _Model(facts.provider, facts.target_model)
            yield from self._of_cost("correction", where, attempt.usage or Usage(), before, model)

    async def _alone(self, oldest: date | None) -> AsyncIterator[Mismatch]:
        async for row in self._connection.cursor(_ATTEMPTS_ALONE, self._low, self._high):
            where = f"request {row['request_id']} attempt {row['attempt_number']}"
            yield Mismatch("attempt_without_request", where, "no such request", "the request of each attempt")
        kept_from = _FIRST_ID if oldest is None else lowest_id(oldest)
        async for row in self._connection.cursor(_CORRECTIONS_ALONE, self._low, self._high, kept_from):
            where = f"request {row['request_id']} attempt {row['attempt_number']} correction {row['correction_number']}"
            yield Mismatch("correction_without_attempt", where, "no such attempt", "the attempt of each correction")

    async def _sums(self, oldest: date | None) -> AsyncIterator[Mismatch]:
        if oldest is not None:
            # A request of the first day may have had an id of the month before, and gone with it.
            self.sums_from = max(self._first, oldest + timedelta(days=1))
        if self.sums_from > self._last:
            return
        query = self._connection.cursor(DIFFERENCES, self.sums_from, self._last, self._low, self._high)
        async for row in query:
            differing = [column for column in SUMS if row[f"kept_{column}"] != row[f"rows_{column}"]]
            yield Mismatch(
                "spend_daily",
                " ".join(str(row[column]) or "-" for column in KEY),
                ", ".join(f"{column} {row[f'kept_{column}']}" for column in differing),
                ", ".join(f"{column} {row[f'rows_{column}']}" for column in differing) + ", the sum of the rows",
            )


_RowT = TypeVar("_RowT", AttemptRow, CorrectionRow)


def _by_request(rows: Sequence[_RowT]) -> defaultdict[uuid.UUID, list[_RowT]]:
    grouped: defaultdict[uuid.UUID, list[_RowT]] = defaultdict(list)
    for row in rows:
        grouped[row.request_id].append(row)
    return grouped


def _request(row: asyncpg.Record) -> _Request:
    return _Request(
        request_id=row["request_id"],
        tenant=row["tenant"],
        state=row["state"],
        cost_usd=row["cost_usd"],
        saved=usage_in(row, prefix="saved_"),
        saved_cost=Cost(row["saved_cost_usd"], row["saved_price_version"]),
    )


def _usd(value: Decimal | None) -> str:
    return "unpriced" if value is None else f"{value:.9f}"


def _origin(row: CorrectionRow) -> str:
    return f"{row.correction_number} {row.tenant} {_usd(row.before_cost_usd)} {row.before_price_version}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _id_of(moment: datetime) -> uuid.UUID:
    """Return the smallest UUIDv7 of `moment`."""
    return uuid.UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)
