"""Compares the ledger with what the provider delivered and what the clients received: everything once.

Seen from outside: an answered request has to be in the ledger; one whose end the client received has to be settled
there, with every attempt that the provider saw for it. A request without an end may be unsettled, but it must exist.
Where no response came, the ledger may have the request under an id that the client does not know, so those requests are
found by the client's API key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from kit.load.provider import Seen
from kit.load.reading import Transcript, read
from kit.load.records import LedgerRequest, describe, gaps_of

PoolConnection = asyncpg.pool.PoolConnectionProxy
# Compares every figure of spend_daily with the sum of its rows, over provider and model: one row per difference.
_SPEND_DIFFERENCES = """
WITH asked AS (
    SELECT tenant, (admitted_at AT TIME ZONE 'UTC')::date AS day, user_id, key_id, requested_model,
        count(*) AS requests
    FROM requests WHERE state = 'settled' GROUP BY 1, 2, 3, 4, 5
), done AS (
    SELECT tenant, (admitted_at AT TIME ZONE 'UTC')::date AS day, user_id, key_id, requested_model,
        count(*) AS attempts, coalesce(sum(input_tokens), 0) AS input_tokens,
        coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(attempts.cost_usd), 0) AS cost_usd
    FROM attempts JOIN requests USING (request_id) GROUP BY 1, 2, 3, 4, 5
), recorded AS (
    SELECT tenant, day, user_id, key_id, requested_model, sum(requests) AS requests, sum(attempts) AS attempts,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
    FROM spend_daily GROUP BY 1, 2, 3, 4, 5
)
SELECT key_id, requested_model,
    coalesce(recorded.requests, 0) - coalesce(asked.requests, 0) AS requests,
    coalesce(recorded.attempts, 0) - coalesce(done.attempts, 0) AS attempts,
    coalesce(recorded.input_tokens, 0) - coalesce(done.input_tokens, 0) AS input_tokens,
    coalesce(recorded.output_tokens, 0) - coalesce(done.output_tokens, 0) AS output_tokens,
    coalesce(recorded.cost_usd, 0) - coalesce(done.cost_usd, 0) AS cost_usd
FROM recorded
FULL JOIN asked USING (tenant, day, user_id, key_id, requested_model)
FULL JOIN done USING (tenant, day, user_id, key_id, requested_model)
"""


@dataclass
class Verdict:
    """The result of the comparison."""

    requests: int = 0
    attempts: int = 0
    lost: int = 0
    doubled: int = 0
    unsettled: int = 0
    faults: list[str] = field(default_factory=list)

    def find_lost(self, count: int, fault: str) -> None:
        """Add missing requests or attempts."""
        self.lost += count
        self.faults.append(f"lost: {fault}")

    def find_doubled(self, count: int, fault: str) -> None:
        """Add requests or attempts that are counted more than once."""
        self.doubled += count
        self.faults.append(f"doubled: {fault}")

    @property
    def is_good(self) -> bool:
        """Whether there were attempts, none of them lost or doubled."""
        return self.attempts > 0 and self.lost == 0 and self.doubled == 0

    def __str__(self) -> str:
        return (
            f"torture: {self.requests} requests, {self.attempts} attempts, lost {self.lost}, doubled {self.doubled},"
            f" unsettled {self.unsettled}"
        )


@dataclass(frozen=True)
class Question:
    """Everything known about one question, which its client may have sent more than once."""

    tag: str
    transcripts: Sequence[Transcript]
    entries: Sequence[LedgerRequest]
    seen: Sequence[Seen]

    @property
    def unanswered(self) -> int:
        """The number of its requests that may be in the ledger under an id that no client received."""
        return sum(transcript.status == 0 for transcript in self.transcripts) if self.is_short else 0

    @property
    def is_short(self) -> bool:
        """Whether the ledger has fewer requests of it under known ids than were sent."""
        return len(self.entries) < len(self.transcripts)


def judge(
    asked: Mapping[str, Sequence[Transcript]],
    key_ids: Mapping[str, str],
    ledger: Mapping[str, LedgerRequest],
    seen: Mapping[str, Sequence[Seen]],
) -> Verdict:
    """Compare, client by client: `asked` and `key_ids` by the client's name, `seen` by the tag of the question."""
    verdict = Verdict(requests=len(ledger), attempts=sum(map(len, seen.values())))
    for entry in ledger.values():
        verdict.unsettled += entry.state == "unsettled"
    for request_id, entry in ledger.items():
        if entry.state == "admitted":
            verdict.find_lost(1, f"{request_id} is neither settled nor unsettled")
    for client, transcripts in asked.items():
        known = {transcript.request_id for transcript in transcripts}
        others = [
            entry for request_id, entry in ledger.items() if entry.key_id == key_ids[client] and request_id not in known
        ]
        _judge_client(transcripts, others, ledger, seen, verdict)
    tags = {transcript.question.tag for transcripts in asked.values() for transcript in transcripts}
    for tag in seen.keys() - tags:
        verdict.find_lost(len(seen[tag]), f"{tag}: {len(seen[tag])} attempts of a question that no client sent")
    return verdict


def _judge_client(
    transcripts: Iterable[Transcript],
    others: Sequence[LedgerRequest],
    ledger: Mapping[str, LedgerRequest],
    seen: Mapping[str, Sequence[Seen]],
    verdict: Verdict,
) -> None:
    by_tag: dict[str, list[Transcript]] = defaultdict(list)
    for transcript in transcripts:
        by_tag[transcript.question.tag].append(transcript)
        fault = _fault_of(transcript, ledger.get(transcript.request_id))
        if fault:
            verdict.find_lost(1, f"{transcript.question.tag} {transcript.request_id}: {fault}")
    pool: list[Question] = []
    for tag, asked in by_tag.items():
        entries = [ledger[each.request_id] for each in asked if each.request_id in ledger]
        question = Question(tag, asked, entries, seen.get(tag, ()))
        if others and question.unanswered:
            pool.append(question)  # some of its attempts may be in one of `others`
        else:
            _compare(tag, question.entries, question.seen, verdict)
    if others:
        _judge_pool(pool, others, verdict)


def _judge_pool(pool: Sequence[Question], others: Sequence[LedgerRequest], verdict: Verdict) -> None:
    """Compare all unanswered questions together with the requests whose ids no client received."""
    tags = " ".join(question.tag for question in pool)
    too_many = len(others) - sum(question.unanswered for question in pool)
    if too_many > 0:
        verdict.find_doubled(too_many, f"{too_many} requests more than were sent, beside {tags}")
    reached = sum(not question.entries and bool(question.seen) for question in pool)
    if reached > len(others):
        verdict.find_lost(
            reached - len(others), f"{reached} questions reached the provider, {len(others)} are there: {tags}"
        )
    entries = [entry for question in pool for entry in question.entries] + list(others)
    _compare(tags, entries, [attempt for question in pool for attempt in question.seen], verdict)


def _fault_of(transcript: Transcript, entry: LedgerRequest | None) -> str:
    """Return what is wrong with the ledger's entry of a request whose id the client received."""
    if entry is None:
        # A rejection before anything is spent has an error status and is not recorded.
        return "answered, and not in the ledger" if transcript.status == 200 else ""
    if entry.state != "settled" and transcript.status and transcript.end == "complete":
        reading = read(transcript)
        if reading.is_success or reading.error_code:
            return f"its client received {reading.finish_reason or reading.error_code}, the ledger has {entry.state}"
    return ""


def _compare(tags: str, entries: Sequence[LedgerRequest], seen: Sequence[Seen], verdict: Verdict) -> None:
    recorded = [attempt for entry in entries for attempt in entry.attempts]
    # The attempts of a request that was cut off are unknown: it is unsettled instead.
    is_known = all(entry.state == "settled" for entry in entries)
    if seen and not entries:
        verdict.find_lost(len(seen), f"{tags}: {len(seen)} attempts of a request that is not in the ledger")
        return
    for gap in gaps_of(recorded, seen):
        where = f"{tags}: target {gap.place}: the provider saw {gap.seen}, the ledger has {describe(recorded)}"
        if gap.missing and is_known:
            verdict.find_lost(gap.missing, where)
        if gap.too_many:
            verdict.find_doubled(gap.too_many, where)


async def judge_spend(connection: asyncpg.Connection[asyncpg.Record] | PoolConnection, verdict: Verdict) -> None:
    """Compare spend_daily with the sum of its rows; a difference is something lost or counted twice."""
    for row in await connection.fetch(_SPEND_DIFFERENCES):
        figures = {name: row[name] for name in ("requests", "attempts", "input_tokens", "output_tokens", "cost_usd")}
        if not any(figures.values()):
            continue
        count = max(abs(int(row["requests"])), abs(int(row["attempts"])), 1)
        fault = f"spend_daily of {row['key_id']} {row['requested_model']} differs from its rows by {figures}"
        if any(value < 0 for value in figures.values()):
            verdict.find_lost(count, fault)
        else:
            verdict.find_doubled(count, fault)
