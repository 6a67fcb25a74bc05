"""Requests, attempts and corrections as named records: how their rows are written, read and counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from cost_ledger.columns import NO_USAGE, USAGE, columns_of, token_counts, usage_in
from pricing.usage import Usage


class Cost(NamedTuple):
    """What usage cost in USD (None: unpriced) and by which row of the price book (empty: by none)."""

    usd: Decimal | None
    price_version: str = ""


class RequestFacts(NamedTuple):
    """Who asked for what: columns of `requests`."""

    request_id: UUID
    tenant: str
    user_id: str
    key_id: str
    tier: str
    endpoint: str
    requested_model: str
    is_streaming: bool
    admitted_at: datetime
    # Empty when the request was not made from one.
    template: str
    # The client's own id: any text, not unique; None when it sent none.
    client_request_id: str | None


class RequestEnd(NamedTuple):
    """How a request ended: columns of `requests`."""

    outcome: str
    finish_reason: str
    error_code: str
    cache_status: str
    cache_bypass_reason: str
    settled_at: datetime
    duration: timedelta
    time_to_first_token: timedelta | None
    cost_usd: Decimal | None
    # What was asked instead of the requested model, and because of which budget; both empty: nothing.
    economy_model: str
    budget: str


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """The answer that a cache hit replayed."""

    provider: str
    target_model: str
    usage: Usage


NOTHING_SAVED = Cost(None)
_NOT_ENDED = tuple("" if kind == "text" else None for kind in columns_of(RequestEnd).values())
END_COLUMNS = {
    **columns_of(RequestEnd),
    "saved_provider": "text",
    "saved_target_model": "text",
    **columns_of(Usage, prefix="saved_"),
    "saved_cost_usd": "numeric",
    "saved_price_version": "text",
}
REQUEST_COLUMNS = {**columns_of(RequestFacts), "state": "text", **END_COLUMNS}


class RequestRow(NamedTuple):
    """One row of `requests`; `end` is None unless the request is settled."""

    facts: RequestFacts
    state: str
    end: RequestEnd | None = None
    saved: SavedAnswer | None = None
    saved_cost: Cost = NOTHING_SAVED

    def values(self) -> tuple[Any, ...]:
        """Return the values of REQUEST_COLUMNS."""
        end, saved = self.end or _NOT_ENDED, self.saved
        if saved is None:
            return (*self.facts, self.state, *end, "", "", *NO_USAGE, *self.saved_cost)
        counts = token_counts(saved.usage)
        return (*self.facts, self.state, *end, saved.provider, saved.target_model, *counts, *self.saved_cost)

    @classmethod
    def read(cls, row: asyncpg.Record) -> RequestRow:
        """Read a row that has REQUEST_COLUMNS."""
        end = saved = None
        if row["state"] == "settled":
            end = RequestEnd(**{name: row[name] for name in RequestEnd._fields})
        if row["saved_target_model"]:
            saved = SavedAnswer(row["saved_provider"], row["saved_target_model"], usage_in(row, prefix="saved_"))
        return cls(
            facts=RequestFacts(**{name: row[name] for name in RequestFacts._fields}),
            state=row["state"],
            end=end,
            saved=saved,
            saved_cost=Cost(row["saved_cost_usd"], row["saved_price_version"]),
        )


class AttemptFacts(NamedTuple):
    """One call to one target: columns of `attempts`."""

    attempt_number: int
    event_id: UUID
    target: str
    provider: str
    target_model: str
    response_model: str
    outcome: str
    error_code: str
    usage_source: str
    started_at: datetime
    duration: timedelta
    time_to_first_chunk: timedelta | None
    http_status: int
    provider_request_id: str
    finish_reason: str
    # The fields of the request that the target was not told, one a line; empty: none.
    dropped: str


ATTEMPT_COLUMNS = {
    "request_id": "uuid",
    **columns_of(AttemptFacts),
    "has_usage": "bool",
    **USAGE,
    "cost_usd": "numeric",
    "price_version": "text",
}


class AttemptRow(NamedTuple):
    """One row of `attempts`; `usage` is None when the provider did no billable work."""

    request_id: UUID
    facts: AttemptFacts
    usage: Usage | None
    cost: Cost

    def values(self) -> tuple[Any, ...]:
        """Return the values of ATTEMPT_COLUMNS."""
        counts = NO_USAGE if self.usage is None else token_counts(self.usage)
        return (self.request_id, *self.facts, self.usage is not None, *counts, *self.cost)

    @classmethod
    def read(cls, row: asyncpg.Record) -> AttemptRow:
        """Read a row that has ATTEMPT_COLUMNS."""
        return cls(
            request_id=row["request_id"],
            facts=AttemptFacts(**{name: row[name] for name in AttemptFacts._fields}),
            usage=usage_in(row) if row["has_usage"] else None,
            cost=Cost(row["cost_usd"], row["price_version"]),
        )


class CorrectionRow(NamedTuple):
    """One row of `corrections`: a cost that was found to be another one."""

    request_id: UUID
    attempt_number: int
    correction_number: int
    tenant: str
    before_cost_usd: Decimal | None
    before_price_version: str
    cost_usd: Decimal | None
    price_version: str
    reason: str


CORRECTION_COLUMNS = columns_of(CorrectionRow)

# What counts of an attempt `a`: its newest correction, joined as `c`, else the cost as it was recorded.
JOIN_NEWEST_CORRECTION = """
LEFT JOIN LATERAL (
    SELECT correction_number, cost_usd, price_version FROM corrections
    WHERE corrections.request_id = a.request_id AND corrections.attempt_number = a.attempt_number
    ORDER BY correction_number DESC LIMIT 1
) AS c ON true
"""
COUNTING_COST = "CASE WHEN c.correction_number IS NULL THEN a.cost_usd ELSE c.cost_usd END"
COUNTING_VERSION = "coalesce(c.price_version, a.price_version)"
