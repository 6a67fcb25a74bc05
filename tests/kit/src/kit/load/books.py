"""The rows of the ledger, and their comparison with the attempts that the provider saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from fault_provider.plan import parse_model
from kit.load.provider import Seen

_NEVER_ANSWERED = frozenset({"target_unreachable", "hedge_lost", "timeout", "router_lost"})


@dataclass(frozen=True)
class Booked:
    """An attempt in the ledger."""

    provider: str
    target_model: str
    outcome: str
    error_code: str
    http_status: int

    @property
    def place(self) -> int:
        """The number of the target in the question."""
        return parse_model(self.target_model).place

    @property
    def may_be_unseen(self) -> bool:
        """Whether it may have ended before the provider had read it, since there was no response."""
        return self.http_status == 0 and (self.outcome == "client_cancelled" or self.error_code in _NEVER_ANSWERED)


@dataclass(frozen=True)
class Entry:
    """A request in the ledger."""

    state: str
    outcome: str
    attempts: Sequence[Booked]
    key_id: str = ""


@dataclass(frozen=True)
class Gap:
    """A target of a question with different numbers of attempts in the ledger and at the provider."""

    place: int
    seen: int
    min_booked: int
    max_booked: int
    """Includes those that may have ended before the provider had read them."""

    @property
    def missing(self) -> int:
        """The number of attempts missing from the ledger."""
        return max(self.seen - self.max_booked, 0)

    @property
    def too_many(self) -> int:
        """The number of attempts in the ledger that never happened."""
        return max(self.min_booked - self.seen, 0)


def gaps_of(booked: Sequence[Booked], seen: Sequence[Seen]) -> Iterator[Gap]:
    """Compare target by target: both sides have no other common name for the attempts of a question."""
    real = Counter(attempt.place for attempt in seen)
    certain = Counter(attempt.place for attempt in booked if not attempt.may_be_unseen)
    doubtful = Counter(attempt.place for attempt in booked if attempt.may_be_unseen)
    for place in sorted({*real, *certain, *doubtful}):
        gap = Gap(place, real[place], certain[place], certain[place] + doubtful[place])
        if gap.missing or gap.too_many:
            yield gap


async def read_entries(
    connection: asyncpg.Connection[asyncpg.Record], request_ids: Sequence[str] | None = None
) -> dict[str, Entry]:
    """Return what the ledger has of these requests, or of all, by the clients' own ids; by ours where there is none."""
    requests = await connection.fetch(
        "SELECT coalesce(client_request_id, request_id::text) AS id, key_id, state, outcome FROM requests"
        " WHERE $1::text[] IS NULL OR client_request_id = ANY($1::text[])",
        request_ids,
    )
    attempts = await connection.fetch(
        "SELECT coalesce(client_request_id, request_id::text) AS id, provider, target_model, attempts.outcome,"
        " attempts.error_code, http_status FROM attempts JOIN requests USING (request_id)"
        " WHERE $1::text[] IS NULL OR client_request_id = ANY($1::text[]) ORDER BY attempt_number",
        request_ids,
    )
    booked: dict[str, list[Booked]] = defaultdict(list)
    for row in attempts:
        booked[row["id"]].append(Booked(*(row[name] for name in Booked.__dataclass_fields__)))
    return {row["id"]: Entry(row["state"], row["outcome"], booked[row["id"]], row["key_id"]) for row in requests}
