"""Checks the books against themselves: every cost from usage and its recorded price, every sum from its rows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from cost_ledger.books.rollup import DIFFERENCES, KEY, SUMS
from cost_ledger.prices.book import read_prices
from cost_ledger.schema.partitions import lowest_id
from pricing.cost import FREE, cost_of, total_of
from pricing.price_book import Price
from pricing.usage import Usage

_BATCH = 1000
# An id is minted within minutes of the admission, or is a client's own of about then; two days are far from that.
_ID_MARGIN = timedelta(days=2)
_FIRST_ID, _LAST_ID = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
_FIRST_DAY, _LAST_DAY = date(1, 1, 2), date(9999, 12, 30)
_USAGE = tuple(Usage.__slots__)

_REQUESTS = f"""
SELECT request_id, tenant, state, admitted_at, cost_usd, saved_cost_usd, saved_price_version,
    {", ".join(f"saved_{count}" for count in _USAGE)}
FROM requests
WHERE request_id > $1 AND request_id BETWEEN $2 AND $3
    AND admitted_at >= $4::date AT TIME ZONE 'UTC' AND admitted_at < ($5::date + 1) AT TIME ZONE 'UTC'
ORDER BY request_id LIMIT {_BATCH}
"""  # noqa: S608 - words of our own
_ATTEMPTS = f"""
SELECT request_id, attempt_number, event_id, provider, target_model, has_usage, {", ".join(_USAGE)}, cost_usd,
    price_version
FROM attempts WHERE request_id BETWEEN $1 AND $2 ORDER BY request_id, attempt_number
"""  # noqa: S608 - words of our own
_CORRECTIONS = """
SELECT * FROM corrections WHERE request_id BETWEEN $1 AND $2 ORDER BY request_id, attempt_number, correction_number
"""
_ATTEMPTS_ALONE = """
SELECT request_id, attempt_number FROM attempts
WHERE request_id BETWEEN $1 AND $2
    AND NOT EXISTS (SELECT FROM requests WHERE requests.request_id = attempts.request_id)
ORDER BY request_id, attempt_number
"""
# A correction outlives its attempt when the attempt's partition is dropped: only months that are kept can be checked.
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


class Verification:
    """One check of the days from `first` to `last` (UTC, by admission, both included; None: no bound).

    It sees the books as they are at one moment, however long it takes and whatever the ledger writes meanwhile.
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
        after = self._low
        # The first id itself is looked at too.
        after = uuid.UUID(int=max(after.int - 1, 0))
        while True:
            requests = await self._connection.fetch(_REQUESTS, after, self._low, self._high, self._first, self._last)
            if not requests:
                return
            span = (requests[0]["request_id"], requests[-1]["request_id"])
            attempts = _by_request(await self._connection.fetch(_ATTEMPTS, *span))
            corrections = _by_request(await self._connection.fetch(_CORRECTIONS, *span))
            for request in requests:
                request_id = request["request_id"]
                self.requests += 1
                self.attempts += len(attempts[request_id])
                self.corrections += len(corrections[request_id])
                for mismatch in self._of_request(request, attempts[request_id], corrections[request_id]):
                    yield mismatch
            after = span[1]

    def _of_request(
        self, request: asyncpg.Record, attempts: Sequence[asyncpg.Record], corrections: Sequence[asyncpg.Record]
    ) -> Iterator[Mismatch]:
        where = f"request {request['request_id']}"
        for attempt in attempts:
            of_attempt = [each for each in corrections if each["attempt_number"] == attempt["attempt_number"]]
            yield from self._of_attempt(f"{where} attempt {attempt['attempt_number']}", attempt)
            yield from self._of_corrections(request, attempt, of_attempt)
        if request["state"] != "settled":
            if attempts or request["cost_usd"] is not None:
                yield Mismatch("request_state", where, f"{request['state']} with attempts or a cost", "settled")
            return
        total = total_of(attempt["cost_usd"] for attempt in attempts)
        if request["cost_usd"] != total:
            yield Mismatch("request_cost", where, _usd(request["cost_usd"]), f"{_usd(total)}, the sum of its attempts")
        yield from self._of_saved(where, request)

    def _of_attempt(self, where: str, attempt: asyncpg.Record) -> Iterator[Mismatch]:
        event_id = uuid.uuid5(attempt["request_id"], str(attempt["attempt_number"]))
        if attempt["event_id"] != event_id:
            yield Mismatch("event_id", where, str(attempt["event_id"]), f"{event_id}; another one may stand twice")
        usage = Usage(*(attempt[count] for count in _USAGE))
        if not attempt["has_usage"]:
            if attempt["cost_usd"] != FREE or attempt["price_version"]:
                found = f"{_usd(attempt['cost_usd'])} {attempt['price_version']}"
                yield Mismatch("attempt_cost", where, found, f"{_usd(FREE)} without a price: it used nothing")
            return
        model = (attempt["provider"], attempt["target_model"])
        yield from self._of_cost("attempt_cost", where, usage, attempt["cost_usd"], attempt["price_version"], model)

    def _of_cost(
        self,
        kind: str,
        where: str,
        usage: Usage,
        found: Decimal | None,
        price_version: str,
        model: tuple[str, str] | None = None,
    ) -> Iterator[Mismatch]:
        """Compare a cost with what its usage costs by its price version."""
        if not price_version:
            if found is not None:
                yield Mismatch(kind, where, f"{_usd(found)} without a price version", "unpriced")
            return
        price = self._prices.get(price_version)
        if price is None or (model is not None and model != (price.provider, price.target_model)):
            yield Mismatch("price_version", where, price_version, "a recorded price of its provider and model")
            return
        expected = cost_of(usage, price)
        if found != expected:
            yield Mismatch(kind, where, _usd(found), f"{_usd(expected)} by {price_version}")

    def _of_corrections(
        self, request: asyncpg.Record, attempt: asyncpg.Record, corrections: Sequence[asyncpg.Record]
    ) -> Iterator[Mismatch]:
        before = (attempt["cost_usd"], attempt["price_version"])
        usage = Usage(*(attempt[count] for count in _USAGE))
        model = (attempt["provider"], attempt["target_model"])
        for number, each in enumerate(corrections, 1):
            where = f"request {request['request_id']} attempt {attempt['attempt_number']} correction {number}"
            found = (each["correction_number"], each["tenant"], each["before_cost_usd"], each["before_price_version"])
            expected = (number, request["tenant"], *before)
            if found != expected:
                yield Mismatch("correction", where, _words(found), f"{_words(expected)}, as what it corrects has it")
            yield from self._of_cost("correction", where, usage, each["cost_usd"], each["price_version"], model)
            before = (each["cost_usd"], each["price_version"])

    def _of_saved(self, where: str, request: asyncpg.Record) -> Iterator[Mismatch]:
        usage = Usage(*(request[f"saved_{count}"] for count in _USAGE))
        yield from self._of_cost("saved_cost", where, usage, request["saved_cost_usd"], request["saved_price_version"])

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


def _by_request(rows: Sequence[asyncpg.Record]) -> defaultdict[uuid.UUID, list[asyncpg.Record]]:
    grouped: defaultdict[uuid.UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        grouped[row["request_id"]].append(row)
    return grouped


def _usd(value: Decimal | None) -> str:
    return "unpriced" if value is None else f"{value:.9f}"


def _words(values: Sequence[Any]) -> str:
    return " ".join(_usd(value) if value is None or isinstance(value, Decimal) else str(value) for value in values)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _id_of(moment: datetime) -> uuid.UUID:
    """Return the smallest UUIDv7 of `moment`."""
    return uuid.UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)
