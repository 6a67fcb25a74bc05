"""Whatever happens to requests, in whatever order events come, the tables hold what a few lines of Python compute."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.ledger.cost_events import admitted, attempt, hit, request, settled
from kit.ledger.process import Parts
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

# USD per million input and output tokens, from price_book.yaml of the tests; `mystery` is in no book.
RATES = {("openai", "gpt-test"): (Decimal("2.506"), Decimal("20.014")), ("mystery", "m1"): None}
MILLION = 10**6

# Provider and model, and what was used there: None when no work was done.
Attempt = tuple[tuple[str, str], tuple[int, int] | None]


@dataclass(frozen=True)
class Story:
    """What happened to one request."""

    user: str
    attempts: tuple[Attempt, ...]
    is_hit: bool
    is_admitted: bool
    is_settled: bool


tokens = st.tuples(st.integers(0, 5000), st.integers(0, 5000))
any_story = st.builds(
    Story,
    user=st.sampled_from(["ada", "bob"]),
    attempts=st.lists(st.tuples(st.sampled_from(sorted(RATES)), st.none() | tokens), max_size=3).map(tuple),
    is_hit=st.booleans(),
    is_admitted=st.booleans(),
    is_settled=st.booleans(),
)


def cost_of(used: Attempt) -> Decimal | None:
    """Return what an attempt costs, None when that is unknown."""
    rates, usage = RATES[used[0]], used[1]
    if usage is None:
        return Decimal(0)
    if rates is None:
        return None
    return (usage[0] * rates[0] + usage[1] * rates[1]) / MILLION


def events_of(story: Story, asked: ledgerpb.Request) -> list[ledgerpb.CostEvent]:
    """Return what the edge says of it."""
    events = []
    if story.is_admitted:
        events.append(admitted(asked))
    if story.is_settled and story.is_hit:
        events.append(hit(asked, routerpb.Usage(input_tokens=10, output_tokens=10)))
    elif story.is_settled:
        attempts = [
            attempt(number, *target, usage and routerpb.Usage(input_tokens=usage[0], output_tokens=usage[1]))
            for number, (target, usage) in enumerate(story.attempts, 1)
        ]
        events.append(settled(asked, attempts))
    return events


def expected_requests(stories: dict[str, Story]) -> list[tuple[object, ...]]:
    """Return id, state and cost of each request."""
    rows: list[tuple[object, ...]] = []
    for request_id, story in stories.items():
        if story.is_settled:
            costs = [] if story.is_hit else [cost_of(each) for each in story.attempts]
            known = [cost for cost in costs if cost is not None]
            rows.append((request_id, "settled", sum(known, Decimal(0)) if len(known) == len(costs) else None))
        elif story.is_admitted:
            rows.append((request_id, "admitted", None))
    return sorted(rows, key=str)


def expected_attempts(stories: dict[str, Story]) -> list[tuple[object, ...]]:
    """Return request, number, provider and cost of each attempt."""
    rows: list[tuple[object, ...]] = []
    for request_id, story in stories.items():
        if story.is_settled and not story.is_hit:
            rows += [(request_id, number, each[0][0], cost_of(each)) for number, each in enumerate(story.attempts, 1)]
    return sorted(rows, key=str)


def expected_spend(stories: dict[str, Story]) -> Counter[tuple[str, ...]]:
    """Return the day's sums, each by user, provider and the name of its column."""
    sums: Counter[tuple[str, ...]] = Counter()
    for story in stories.values():
        if not story.is_settled:
            continue
        last = "openai" if story.is_hit else story.attempts[-1][0][0] if story.attempts else ""
        sums[story.user, last, "requests"] += 1
        sums[story.user, last, "cache_hits" if story.is_hit else "cache_misses"] += 1
        for each in () if story.is_hit else story.attempts:
            usage, cost = each[1] or (0, 0), cost_of(each)
            sums[story.user, each[0][0], "attempts"] += 1
            sums[story.user, each[0][0], "input_tokens"] += usage[0]
            sums[story.user, each[0][0], "output_tokens"] += usage[1]
            sums[story.user, each[0][0], "unpriced_attempts"] += cost is None
            # In nano-USD, which is what the column holds: a Counter counts whole things.
            sums[story.user, each[0][0], "cost_usd"] += int((cost or Decimal(0)) * 10**9)
    return +sums


@settings(max_examples=settings().max_examples // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(any_story, min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
    times=st.integers(1, 3),
    readers=st.integers(1, 2),
)
async def test_the_tables_hold_what_happened(
    parts: Parts, history: list[Story], seed: int, times: int, readers: int
) -> None:
    """Any requests, their events delivered repeatedly and shuffled, read by one consumer or by two at a time."""
    await parts.empty()
    rng = random.Random(seed)
    asked = [request(user=story.user) for story in history]
    events = [event for story, each in zip(history, asked, strict=True) for event in events_of(story, each)]
    first_events = rng.sample(events, len(events) // 2) + rng.choices(events, k=len(events)) if events else []
    for delivery in [first_events, *([events] * times)]:
        await parts.send(*rng.sample(delivery, len(delivery)))
        await parts.consume_all(*("one", "two")[:readers])

    stories = {each.request_id: story for story, each in zip(history, asked, strict=True)}
    requests = await parts.pool.fetch("SELECT request_id::text, state, cost_usd FROM requests")
    attempts = await parts.pool.fetch("SELECT request_id::text, attempt_number, provider, cost_usd FROM attempts")
    assert [] == await parts.dead()
    assert expected_requests(stories) == sorted(map(tuple, requests), key=str)
    assert expected_attempts(stories) == sorted(map(tuple, attempts), key=str)
    sums: Counter[tuple[str, ...]] = Counter()
    for row in await parts.pool.fetch("SELECT * FROM spend_daily"):
        for column in ("requests", "attempts", "input_tokens", "output_tokens", "unpriced_attempts", "cache_hits"):
            sums[row["user_id"], row["provider"], column] += row[column]
        sums[row["user_id"], row["provider"], "cache_misses"] += row["cache_misses"]
        sums[row["user_id"], row["provider"], "cost_usd"] += int(row["cost_usd"] * 10**9)
    assert expected_spend(stories) == +sums
