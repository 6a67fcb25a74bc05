"""The rows of the ledger, and their comparison with the attempts that the provider saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from fault_provider.plan import parse_model
from kit.load.provider import Seen

_NEVER_ANSWERED = frozenset({"target_unreachable", "connection_stale", "hedge_lost", "timeout", "router_lost"})


@dataclass(frozen=True)
class LedgerAttempt:
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
class LedgerRequest:
    """A request in the ledger."""

    state: str
    outcome: str
    attempts: Sequence[LedgerAttempt]
    key_id: str = ""


@dataclass(frozen=True)
class Gap:
    """A target of a question with different numbers of attempts in the ledger and at the provider."""

    place: int
    seen: int
    min_recorded: int
    max_recorded: int
    """Includes those that may have ended before the provider had read them."""

    @property
    def missing(self) -> int:
        """The number of attempts missing from the ledger."""
        return max(self.seen - self.max_recorded, 0)

    @property
    def too_many(self) -> int:
        """The number of attempts in the ledger that never happened."""
        return max(self.min_recorded - self.seen, 0)


def gaps_of(recorded: Sequence[LedgerAttempt], seen: Sequence[Seen]) -> Iterator[Gap]:
    """Compare target by target: both sides have no other common name for the attempts of a question."""
    real = Counter(attempt.place for attempt in seen)
    certain = Counter(attempt.place for attempt in recorded if not attempt.may_be_unseen)
    doubtful = Counter(attempt.place for attempt in recorded if attempt.may_be_unseen)
    for place in sorted({*real, *certain, *doubtful}):
        gap = Gap(place, real[place], certain[place], certain[place] + doubtful[place])
        if gap.missing or gap.too_many:
            yield gap


def describe(attempts: Iterable[LedgerAttempt]) -> str:
    """Return target, outcome and error of each attempt in one line."""
    return (
        ", ".join(f"{attempt.place} {attempt.outcome} {attempt.error_code}".strip() for attempt in attempts) or "none"
    )


async def read_entries(
    connection: asyncpg.Connection[asyncpg.Record], request_ids: Sequence[str] | None = None
) -> dict[str, LedgerRequest]:
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
    recorded: dict[str, list[LedgerAttempt]] = defaultdict(list)
    for row in attempts:
        recorded[row["id"]].append(LedgerAttempt(*(row[name] for name in LedgerAttempt.__dataclass_fields__)))
    return {
        row["id"]: LedgerRequest(row["state"], row["outcome"], recorded[row["id"]], row["key_id"]) for row in requests
    }
