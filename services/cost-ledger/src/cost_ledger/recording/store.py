"""Step 9 of the request path: a batch of cost events becomes rows, each fact once however often it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, date
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID

import asyncpg

from cost_ledger.connections import borrowed
from cost_ledger.recording.event import AdmittedEvent, AttemptFacts, RequestFacts
from cost_ledger.recording.price import PricedAttempt, PricedSettled
from pricing.cost import FREE
from pricing.usage import Usage

# Beyond the time of its statements: a transaction that failed is rolled back, by a server that answers.
_ROLLBACK_SECONDS = 2.0
# ON CONFLICT goes by one unique index. When two writers make the same row of `spend_daily` at one moment, its other
# one, there until revision 0001 is not written for any more, refuses the second; a moment later the row is found.
_TRIES = 5
# After a catastrophe too, one turn of the sweep ends within its timeout.
_MOST_GIVEN_UP = 10_000
_USAGE = tuple(Usage.__slots__)
_REQUEST = tuple(field.name for field in fields(RequestFacts))
_FACTS = tuple(field.name for field in fields(AttemptFacts) if field.name != "usage")
# `dataclasses.astuple` copies every value; these only read them.
_values, _facts, _counts = attrgetter(*_REQUEST), attrgetter(*_FACTS), attrgetter(*_USAGE)
_SETTLED = (
    "outcome",
    "finish_reason",
    "error_code",
    "cache_status",
    "cache_bypass_reason",
    "settled_at",
    "duration",
    "time_to_first_token",
    "cost_usd",
    "saved_provider",
    "saved_target_model",
    *(f"saved_{count}" for count in _USAGE),
    "saved_cost_usd",
    "saved_price_version",
)
_ATTEMPT = (
    "request_id",
    *_FACTS,
    "has_usage",
    *_USAGE,
    "cost_usd",
    "price_version",
)
_TYPES = {
    "request_id": "uuid",
    "event_id": "uuid",
    "is_streaming": "bool",
    "has_usage": "bool",
    "attempt_number": "int4",
    "http_status": "int4",
    "admitted_at": "timestamptz",
    "settled_at": "timestamptz",
    "started_at": "timestamptz",
    "duration": "interval",
    "time_to_first_token": "interval",
    "time_to_first_chunk": "interval",
    "cost_usd": "numeric",
    "saved_cost_usd": "numeric",
    "day": "date",
    **dict.fromkeys(_USAGE, "int8"),
    **{f"saved_{count}": "int8" for count in _USAGE},
}


@dataclass(slots=True)
class Recorded:
    """What of a batch was new."""

    admitted: set[UUID]
    settled: set[UUID]
    attempts: list[PricedAttempt]


@dataclass(frozen=True, slots=True, order=True)
class SpendKey:
    """One row of spend_daily."""

    tenant: str
    day: date
    user_id: str
    key_id: str
    requested_model: str
    provider: str
    target_model: str
    template: str


@dataclass(slots=True)
class SpendSums:
    """What is added to it."""

    requests: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = FREE
    unpriced_attempts: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bypasses: int = 0
    saved_cost_usd: Decimal = FREE


_KEY_COLUMNS = tuple(field.name for field in fields(SpendKey))
_SUM_COLUMNS = tuple(field.name for field in fields(SpendSums))
_key, _sums = attrgetter(*_KEY_COLUMNS), attrgetter(*_SUM_COLUMNS)
_TYPES |= {column: "int8" for column in _SUM_COLUMNS if not column.endswith("_usd")}
_CACHE_COLUMN = {"hit": "cache_hits", "miss": "cache_misses", "bypass": "cache_bypasses"}


def _insert(table: str, columns: Sequence[str], constants: dict[str, str], conflict: str) -> str:
    """Return a statement that inserts rows given as one array per column; all words in it are our own."""
    arrays = ", ".join(f"${number}::{_TYPES.get(column, 'text')}[]" for number, column in enumerate(columns, 1))
    names = ", ".join((*columns, *constants))
    values = ", ".join(("*", *constants.values()))
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) {conflict}"  # noqa: S608


# A settled row never changes again; one that is only admitted, or was given up as unsettled, gets its end.
_REQUESTS = _insert(
    "requests",
    (*_REQUEST, "state", *_SETTLED),
    {},
    "ON CONFLICT (request_id) DO UPDATE SET state = 'settled', "
    + ", ".join(f"{column} = excluded.{column}" for column in _SETTLED)
    + " WHERE requests.state <> 'settled' AND excluded.state = 'settled' RETURNING request_id",
)
_ATTEMPTS = _insert(
    "attempts", _ATTEMPT, {}, "ON CONFLICT (request_id, attempt_number) DO NOTHING RETURNING request_id, attempt_number"
)
_SPEND = _insert(
    "spend_daily",
    (*_KEY_COLUMNS, *_SUM_COLUMNS),
    {},
    f"ON CONFLICT ({', '.join(_KEY_COLUMNS)}) DO UPDATE SET "
    + ", ".join(f"{column} = spend_daily.{column} + excluded.{column}" for column in _SUM_COLUMNS),
)
# A row that a consumer holds is getting its end right now. Both moments are by PostgreSQL's clock: that of the edge may
# be wrong, or jump.
_GIVE_UP = """
UPDATE requests SET state = 'unsettled' WHERE request_id IN (
    SELECT request_id FROM requests
    WHERE state = 'admitted' AND recorded_at < now() - make_interval(secs => $1)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING request_id
"""


class Store:
    """Writes cost events."""

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout = timeout_seconds

    async def record(self, admitted: Sequence[AdmittedEvent], settled: Sequence[PricedSettled]) -> Recorded:
        """Write a batch in one transaction and tell what of it was new.

        Raises what asyncpg raises, and TimeoutError; then nothing of the batch is written.
        """
        endings = {priced.event.request.request_id: priced for priced in reversed(settled)}
        rows = {event.request.request_id: _admitted_row(event) for event in admitted}
        rows |= {request_id: _settled_row(priced) for request_id, priced in endings.items()}
        for _ in range(_TRIES - 1):
            with suppress(asyncpg.UniqueViolationError):
                return await self._record(rows, endings, admitted)
        return await self._record(rows, endings, admitted)

    async def give_up(self, after_seconds: float) -> int:
        """Mark requests that were recorded longer ago than this and never settled; return how many, 10,000 at most."""
        async with borrowed(self._pool, self._timeout) as connection:
            return len(await connection.fetch(_GIVE_UP, after_seconds, _MOST_GIVEN_UP, timeout=self._timeout))

    async def _record(
        self, rows: Mapping[UUID, list[Any]], endings: Mapping[UUID, PricedSettled], admitted: Sequence[AdmittedEvent]
    ) -> Recorded:
        async with (
            asyncio.timeout(self._timeout + _ROLLBACK_SECONDS),
            borrowed(self._pool, self._timeout) as connection,
            connection.transaction(),
        ):
            # Consumers that write the same rows take their locks in the same order: requests by id, then spend by
            # key. Hence one statement for beginnings and ends; two of them would wait for each other in a circle.
            written = await self._fetch(connection, _REQUESTS, [rows[request_id] for request_id in sorted(rows)])
            new = {row["request_id"] for row in written}
            attempts = await self._record_attempts(connection, [endings[each] for each in sorted(endings.keys() & new)])
        return Recorded({event.request.request_id for event in admitted} & new, endings.keys() & new, attempts)

    async def _record_attempts(
        self, connection: asyncpg.pool.PoolConnectionProxy, endings: Sequence[PricedSettled]
    ) -> list[PricedAttempt]:
        pairs = [(priced, attempt) for priced in endings for attempt in priced.attempts]
        pairs.sort(key=lambda pair: (pair[0].event.request.request_id, pair[1].facts.attempt_number))
        new: set[tuple[UUID, int]] = set()
        if pairs:
            rows = [_attempt_row(priced.event.request.request_id, attempt) for priced, attempt in pairs]
            new = {tuple(row) for row in await self._fetch(connection, _ATTEMPTS, rows)}
        recorded = [pair for pair in pairs if (pair[0].event.request.request_id, pair[1].facts.attempt_number) in new]
        sums = spend_of(endings, recorded)
        if sums:
            await self._fetch(connection, _SPEND, [[*_key(key), *_sums(sums[key])] for key in sorted(sums)])
        return [attempt for _, attempt in recorded]

    async def _fetch(
        self, connection: asyncpg.pool.PoolConnectionProxy, statement: str, rows: Sequence[Sequence[Any]]
    ) -> list[asyncpg.Record]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        return await connection.fetch(statement, *columns, timeout=self._timeout)


def spend_of(
    endings: Sequence[PricedSettled], attempts: Sequence[tuple[PricedSettled, PricedAttempt]]
) -> dict[SpendKey, SpendSums]:
    """Return what these requests and attempts add to spend_daily.

    An attempt counts under its own provider and model; the request under those of its last attempt, a cache hit
    under those of the answer that it replayed.
    """
    sums: dict[SpendKey, SpendSums] = {}
    for priced in endings:
        row = sums.setdefault(_request_key(priced), SpendSums())
        row.requests += 1
        column = _CACHE_COLUMN.get(priced.event.cache_status)
        if column is not None:
            setattr(row, column, getattr(row, column) + 1)
        if priced.saved is not None and priced.saved.usd is not None:
            row.saved_cost_usd += priced.saved.usd
    for priced, attempt in attempts:
        row = sums.setdefault(_spend_key(priced, attempt.facts.provider, attempt.facts.target_model), SpendSums())
        row.attempts += 1
        row.unpriced_attempts += attempt.is_unpriced
        row.cost_usd += attempt.cost.usd or FREE
        if attempt.facts.usage is not None:
            row.input_tokens += attempt.facts.usage.input_tokens or 0
            row.output_tokens += attempt.facts.usage.output_tokens or 0
    return sums


def _request_key(priced: PricedSettled) -> SpendKey:
    if priced.event.saved is not None:
        return _spend_key(priced, priced.event.saved.provider, priced.event.saved.target_model)
    if priced.attempts:
        last = priced.attempts[-1].facts
        return _spend_key(priced, last.provider, last.target_model)
    return _spend_key(priced, "", "")


def _spend_key(priced: PricedSettled, provider: str, target_model: str) -> SpendKey:
    request = priced.event.request
    day = request.admitted_at.astimezone(UTC).date()
    return SpendKey(
        tenant=request.tenant,
        day=day,
        user_id=request.user_id,
        key_id=request.key_id,
        requested_model=request.requested_model,
        provider=provider,
        target_model=target_model,
        template=request.template,
    )


_NO_USAGE = (None,) * len(_USAGE)
# The columns of _SETTLED while there is no end: texts are empty, figures and times unknown.
_NOT_SETTLED = ("", "", "", "", "", None, None, None, None, "", "", *_NO_USAGE, None, "")


def _admitted_row(event: AdmittedEvent) -> list[Any]:
    return [*_values(event.request), "admitted", *_NOT_SETTLED]


def _settled_row(priced: PricedSettled) -> list[Any]:
    event, saved = priced.event, priced.event.saved
    return [
        *_values(event.request),
        "settled",
        event.outcome,
        event.finish_reason,
        event.error_code,
        event.cache_status,
        event.cache_bypass_reason,
        event.settled_at,
        event.duration,
        event.time_to_first_token,
        priced.cost_usd,
        saved.provider if saved else "",
        saved.target_model if saved else "",
        *(_counts(saved.usage) if saved else _NO_USAGE),
        priced.saved.usd if priced.saved else None,
        priced.saved.price_version if priced.saved else "",
    ]


def _attempt_row(request_id: UUID, attempt: PricedAttempt) -> list[Any]:
    usage = attempt.facts.usage
    return [
        request_id,
        *_facts(attempt.facts),
        usage is not None,
        *(_NO_USAGE if usage is None else _counts(usage)),
        attempt.cost.usd,
        attempt.cost.price_version,
    ]
