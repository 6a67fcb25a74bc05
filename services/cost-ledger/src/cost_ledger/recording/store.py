"""Step 9 of the request path: a batch of cost events becomes rows, each fact once however often it is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from typing import NamedTuple
from uuid import UUID

import asyncpg

from cost_ledger.columns import by_column, insert_rows
from cost_ledger.connections import Connection, borrowed
from cost_ledger.recording.event import AdmittedEvent
from cost_ledger.recording.price import PricedAttempt, PricedSettled
from cost_ledger.rows import ATTEMPT_COLUMNS, END_COLUMNS, REQUEST_COLUMNS, AttemptRow, RequestEnd, RequestRow
from cost_ledger.spend_daily import SpendKey, SpendSums, add_spend
from pricing.cost import FREE

# Beyond the time of its statements: a transaction that failed is rolled back, by a server that answers.
_ROLLBACK_SECONDS = 2.0
# ON CONFLICT goes by one unique index. When two writers make the same row of `spend_daily` at one moment, its other
# one, kept until no code of revision 0001 writes any more, refuses the second; a moment later the row is found.
_TRIES = 5
# One sweep must end within its timeout, also when an outage left very many.
_MAX_GIVEN_UP = 10_000
_CACHE_COLUMN = {"hit": "cache_hits", "miss": "cache_misses", "bypass": "cache_bypasses"}

# A settled row never changes again; one that is only admitted, or was given up as unsettled, gets its end.
_INSERT_REQUESTS = insert_rows(
    "requests",
    REQUEST_COLUMNS,
    "ON CONFLICT (request_id) DO UPDATE SET state = 'settled', "
    + ", ".join(f"{column} = excluded.{column}" for column in END_COLUMNS)
    + " WHERE requests.state <> 'settled' AND excluded.state = 'settled' RETURNING request_id",
)
_INSERT_ATTEMPTS = insert_rows(
    "attempts",
    ATTEMPT_COLUMNS,
    "ON CONFLICT (request_id, attempt_number) DO NOTHING RETURNING request_id, attempt_number",
)
# A row that a consumer has locked is being settled right now. Both times are by PostgreSQL's clock: that of the edge
# may be wrong, or jump.
_GIVE_UP = """
UPDATE requests SET state = 'unsettled' WHERE request_id IN (
    SELECT request_id FROM requests
    WHERE state = 'admitted' AND recorded_at < now() - make_interval(secs => $1)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING request_id
"""


class AttemptId(NamedTuple):
    """The primary key of `attempts`."""

    request_id: UUID
    attempt_number: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """The part of a batch that was new."""

    admitted: set[UUID]
    settled: set[UUID]
    attempts: Sequence[PricedAttempt]


class Store:
    """Writes cost events."""

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout = timeout_seconds

    async def record(
        self, admitted: Sequence[AdmittedEvent], settled: Sequence[PricedSettled], *, dry_run: bool = False
    ) -> Recorded:
        """Write a batch in one transaction and return what of it was new; a dry run takes everything back.

        Raises what asyncpg raises, and TimeoutError; then nothing of the batch is written.
        """
        endings = {priced.event.request.request_id: priced for priced in reversed(settled)}
        rows = {event.request.request_id: RequestRow(event.request, "admitted") for event in admitted}
        rows |= {request_id: _settled_row(priced) for request_id, priced in endings.items()}
        for _ in range(_TRIES - 1):
            with suppress(asyncpg.UniqueViolationError):
                return await self._record(rows, endings, admitted, dry_run=dry_run)
        return await self._record(rows, endings, admitted, dry_run=dry_run)

    async def give_up(self, after_seconds: float) -> int:
        """Mark requests that were recorded longer ago than this and never settled; return how many, 10,000 at most."""
        async with borrowed(self._pool, self._timeout) as connection:
            return len(await connection.fetch(_GIVE_UP, after_seconds, _MAX_GIVEN_UP, timeout=self._timeout))

    async def _record(
        self,
        rows: Mapping[UUID, RequestRow],
        endings: Mapping[UUID, PricedSettled],
        admitted: Sequence[AdmittedEvent],
        *,
        dry_run: bool,
    ) -> Recorded:
        async with (
            asyncio.timeout(self._timeout + _ROLLBACK_SECONDS),
            borrowed(self._pool, self._timeout) as connection,
            _transaction(connection, takes_back=dry_run),
        ):
            # Consumers that write the same rows lock them in the same order: requests by id, then spend by key. Hence
            # one statement for beginnings and ends; two could deadlock.
            values = [rows[request_id].values() for request_id in sorted(rows)]
            written = await connection.fetch(_INSERT_REQUESTS, *by_column(values), timeout=self._timeout)
            new = {row["request_id"] for row in written}
            ended = {request_id: priced for request_id, priced in endings.items() if request_id in new}
            attempts = await self._record_attempts(connection, ended)
            await add_spend(connection, spend_of(ended, attempts), self._timeout)
        return Recorded(
            admitted={event.request.request_id for event in admitted} & new,
            settled=set(ended),
            attempts=list(attempts.values()),
        )

    async def _record_attempts(
        self, connection: Connection, ended: Mapping[UUID, PricedSettled]
    ) -> dict[AttemptId, PricedAttempt]:
        """Write the attempts of the requests that ended; return those that are new."""
        attempts = {
            AttemptId(request_id, attempt.facts.attempt_number): attempt
            for request_id, priced in ended.items()
            for attempt in priced.attempts
        }
        if not attempts:
            return {}
        values = [_attempt_row(key.request_id, attempts[key]).values() for key in sorted(attempts)]
        written = await connection.fetch(_INSERT_ATTEMPTS, *by_column(values), timeout=self._timeout)
        new = (AttemptId(row["request_id"], row["attempt_number"]) for row in written)
        return {key: attempts[key] for key in new}


@asynccontextmanager
async def _transaction(connection: Connection, *, takes_back: bool) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if takes_back else transaction.commit())


def spend_of(
    ended: Mapping[UUID, PricedSettled], attempts: Mapping[AttemptId, PricedAttempt]
) -> dict[SpendKey, SpendSums]:
    """Return what these requests and attempts add to spend_daily.

    An attempt counts under its own provider and model; the request under those of its last attempt, a cache hit
    under those of the answer that it replayed.
    """
    sums: dict[SpendKey, SpendSums] = {}
    for priced in ended.values():
        row = sums.setdefault(_request_key(priced), SpendSums())
        row.requests += 1
        column = _CACHE_COLUMN.get(priced.event.cache_status)
        if column is not None:
            setattr(row, column, getattr(row, column) + 1)
        row.saved_cost_usd += priced.saved_cost.usd or FREE
    for key, attempt in attempts.items():
        facts = attempt.facts
        row = sums.setdefault(_spend_key(ended[key.request_id], facts.provider, facts.target_model), SpendSums())
        row.attempts += 1
        row.unpriced_attempts += attempt.is_unpriced
        row.cost_usd += attempt.cost.usd or FREE
        if attempt.usage is not None:
            row.input_tokens += attempt.usage.input_tokens or 0
            row.output_tokens += attempt.usage.output_tokens or 0
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
    return SpendKey(
        tenant=request.tenant,
        day=request.admitted_at.astimezone(UTC).date(),
        user_id=request.user_id,
        key_id=request.key_id,
        requested_model=request.requested_model,
        provider=provider,
        target_model=target_model,
        template=request.template,
    )


def _settled_row(priced: PricedSettled) -> RequestRow:
    event = priced.event
    end = RequestEnd(
        outcome=event.outcome,
        finish_reason=event.finish_reason,
        error_code=event.error_code,
        cache_status=event.cache_status,
        cache_bypass_reason=event.cache_bypass_reason,
        settled_at=event.settled_at,
        duration=event.duration,
        time_to_first_token=event.time_to_first_token,
        cost_usd=priced.cost_usd,
        economy_model=event.economy_model,
        budget=event.budget,
    )
    return RequestRow(event.request, "settled", end, event.saved, priced.saved_cost)


def _attempt_row(request_id: UUID, attempt: PricedAttempt) -> AttemptRow:
    return AttemptRow(request_id, attempt.facts, attempt.usage, attempt.cost)
