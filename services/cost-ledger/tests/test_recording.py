"""Step 9: whatever order events come in and however often, the rows and the sums are the same."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_ledger.recording.price import price_settled
from kit.ledger.cost_events import (
    MORNING,
    admitted,
    attempt,
    hit,
    new_id,
    read_admitted,
    read_settled,
    request,
    settled,
    used,
)
from kit.ledger.process import Parts
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

# 100 in, 20 out at the rates from June on: 100 x 2.506 + 20 x 20.014 USD per million.
PLAIN_COST = Decimal("0.000650880")
SPEND = "provider, target_model, requests, attempts, input_tokens, output_tokens, cost_usd, unpriced_attempts"
CACHE = "cache_hits, cache_misses, cache_bypasses, saved_cost_usd"


def story() -> list[ledgerpb.CostEvent]:
    """Return both events of a fallback, of a cache hit, of an unpriced request and of one that never ran."""
    fallback = request(user="ada")
    replayed = request(user="bob")
    unpriced = request(user="ada", model="slow", tenant="globex")
    rejected = request(user="eve")
    return [
        admitted(fallback),
        settled(fallback, [attempt(1, "anthropic", "claude-test"), attempt(2, usage=used())]),
        admitted(replayed),
        hit(replayed, used(1000, 50)),
        admitted(unpriced),
        settled(unpriced, [attempt(1, "mystery", "m1", used()), attempt(2, usage=used(7, 3))]),
        admitted(rejected),
        settled(rejected, [], cache_status=ledgerpb.CACHE_STATUS_BYPASS),
    ]


EVENTS = story()


async def record(parts: Parts, events: list[ledgerpb.CostEvent]) -> None:
    """Record `events` as one batch."""
    book = await parts.prices.book()
    opened = [read_admitted(event) for event in events if event.HasField("admitted")]
    ended = [price_settled(read_settled(event), book) for event in events if event.HasField("settled")]
    await parts.store.record(opened, ended)


async def everything(parts: Parts) -> list[object]:
    """Return every row that cost events lead to, but for the moment it was recorded."""
    tables = ("requests", "attempts", "spend_daily")
    return [await parts.rows(f"{table} AS whole", "(to_jsonb(whole) - 'recorded_at')::text") for table in tables]


@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(len(EVENTS))),
    again=st.lists(st.integers(0, len(EVENTS) - 1), max_size=6),
    cuts=st.sets(st.integers(1, len(EVENTS) + 5), max_size=4),
)
async def test_any_order_and_any_repetition_ends_in_the_same_rows(
    parts: Parts, order: list[int], again: list[int], cuts: set[int]
) -> None:
    """Events delivered once and in order give the expected rows; shuffled batches with repetitions give the same."""
    await parts.empty()
    for event in EVENTS:
        await record(parts, [event])
    truth = await everything(parts)
    await parts.empty()

    delivered = [EVENTS[index] for index in [*order, *again]]
    bounds = [0, *sorted(cut for cut in cuts if cut < len(delivered)), len(delivered)]
    for start, end in pairwise(bounds):
        await record(parts, delivered[start:end])

    assert truth == await everything(parts)


async def test_spend_is_counted_under_who_did_the_work(parts: Parts) -> None:
    """Each attempt under its own model, the request under its last one's, a hit under the answer's that it replayed."""
    await record(parts, EVENTS)

    spend = await parts.rows("spend_daily", f"user_id, {SPEND}")
    assert [
        ("ada", "anthropic", "claude-test", 0, 1, 0, 0, 0, 0),
        ("ada", "mystery", "m1", 0, 1, 100, 20, 0, 1),
        ("ada", "openai", "gpt-test", 1, 1, 7, 3, Decimal("0.000077584"), 0),
        ("ada", "openai", "gpt-test", 1, 1, 100, 20, PLAIN_COST, 0),
        ("bob", "openai", "gpt-test", 1, 0, 0, 0, 0, 0),
        ("eve", "", "", 1, 0, 0, 0, 0, 0),
    ] == spend
    assert [
        ("ada", 0, 0, 0, 0),
        ("ada", 0, 0, 0, 0),
        ("ada", 0, 1, 0, 0),
        ("ada", 0, 1, 0, 0),
        ("bob", 1, 0, 0, Decimal("0.003506700")),
        ("eve", 0, 0, 1, 0),
    ] == await parts.rows("spend_daily", f"user_id, {CACHE}")


async def test_a_cost_is_null_when_a_part_of_it_is_unknown(parts: Parts) -> None:
    """A hit and a rejection are free; an unpriced attempt makes the request unpriced, a failed one does not."""
    await record(parts, EVENTS)

    assert [("ada", "acme", PLAIN_COST), ("bob", "acme", 0), ("eve", "acme", 0)] == await parts.rows(
        "requests WHERE cost_usd IS NOT NULL", "user_id, tenant, cost_usd"
    )
    assert [("globex",)] == await parts.rows("requests WHERE cost_usd IS NULL", "tenant")
    assert [("mystery", "", None)] == await parts.rows(
        "attempts WHERE cost_usd IS NULL", "provider, price_version, cost_usd"
    )
    assert [("anthropic", "", Decimal(0))] == await parts.rows(
        "attempts WHERE NOT has_usage", "provider, price_version, cost_usd"
    )


async def test_an_attempt_has_the_price_of_the_moment_it_started(parts: Parts) -> None:
    """A request from before a price change that settles after it costs what it cost then."""
    may = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)
    asked = request(at=may)
    await record(
        parts,
        [settled(asked, [attempt(1, usage=used(), at=may), attempt(2, usage=used(), at=may + timedelta(seconds=1))])],
    )

    assert [
        (1, "openai/gpt-test@2026-01-01", Decimal("0.000325440")),
        (2, "openai/gpt-test@2026-06-01", PLAIN_COST),
    ] == await parts.rows("attempts", "attempt_number, price_version, cost_usd")


async def test_a_second_end_changes_no_figure(parts: Parts) -> None:
    """The first Settled stands, also when another, dearer one with more attempts comes, in a batch or in the next."""
    asked = request()
    dearer = settled(asked, [attempt(1, usage=used(10**6, 10**6)), attempt(2, usage=used(5, 5))])
    await record(parts, [settled(asked), dearer])
    truth = await everything(parts)
    await record(parts, [dearer, admitted(asked)])

    assert truth == await everything(parts)
    assert [(1, PLAIN_COST)] == await parts.rows("attempts", "attempt_number, cost_usd")


async def recorded_ago(parts: Parts, asked: ledgerpb.Request, seconds: float) -> None:
    """Set the time of a recorded request to `seconds` ago."""
    await parts.pool.execute(
        "UPDATE requests SET recorded_at = now() - make_interval(secs => $2) WHERE request_id = $1",
        asked.request_id,
        seconds,
    )


async def test_a_request_without_an_end_is_given_up_and_its_late_end_still_counts(parts: Parts) -> None:
    """The sweep marks what is too old and only that, once; an end that comes later settles it."""
    old, young, ended = request(), request(), request()
    await record(parts, [admitted(old), admitted(young), settled(ended)])
    for asked, seconds in ((old, 301), (young, 250), (ended, 900)):
        await recorded_ago(parts, asked, seconds)

    assert 1 == await parts.store.give_up(300)
    assert 0 == await parts.store.give_up(300)
    states = [await parts.state_of(each.request_id) for each in (old, young, ended)]
    assert ["unsettled", "admitted", "settled"] == states

    await record(parts, [admitted(old), settled(old)])
    assert "settled" == await parts.state_of(old.request_id)
    assert [(2,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")


async def test_the_sweep_skips_what_is_being_settled(parts: Parts) -> None:
    """A row that another transaction has locked is neither waited for nor given up."""
    old = request()
    await record(parts, [admitted(old)])
    await recorded_ago(parts, old, 600)
    async with parts.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM requests WHERE request_id = $1 FOR UPDATE", old.request_id)
        assert 0 == await parts.store.give_up(300)
    assert 1 == await parts.store.give_up(300)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_clock_of_the_edge_that_jumps_costs_nothing(parts: Parts, jump: timedelta) -> None:
    """An hour back or forward, before, during or after a request: it is recorded once and not given up early."""
    now = datetime.now(UTC)
    running, jumped = request(at=now + jump), request(at=now)
    ending = settled(jumped)
    ending.settled.settled_at.FromDatetime(now + jump)
    ending.settled.duration.FromTimedelta(jump)
    ending.settled.time_to_first_token.FromTimedelta(jump)
    ending.settled.attempts[0].started_at.FromDatetime(now + jump)
    ending.settled.attempts[0].duration.FromTimedelta(jump)
    await record(parts, [admitted(running), admitted(jumped), ending])

    assert 0 == await parts.store.give_up(300)
    assert "settled" == await parts.state_of(jumped.request_id)
    assert [(1, 1, PLAIN_COST)] == await parts.rows("spend_daily", "requests, attempts, cost_usd")
    assert [(jump,)] == await parts.rows("attempts", "duration")
    await recorded_ago(parts, running, 301)
    assert 1 == await parts.store.give_up(300)


async def test_two_writers_of_the_same_events_count_each_once(parts: Parts) -> None:
    """Two transactions with the same requests, in opposite order, end in what one would have written."""
    asked = [request(user=f"user-{number % 3}") for number in range(60)]
    events = [admitted(each) for each in asked] + [settled(each) for each in asked]
    await asyncio.gather(*(record(parts, batch) for batch in (events, events[::-1], events)))

    assert [(60, 60, 60 * PLAIN_COST)] == await parts.rows(
        "(SELECT sum(requests)::int, sum(attempts)::int, sum(cost_usd) FROM spend_daily)"
    )


async def test_writers_never_deadlock(parts: Parts) -> None:
    """Each writes the beginning of a request of which the other writes the end: PostgreSQL breaks no deadlock."""
    before = await _deadlocks(parts)
    for _ in range(30):
        left, right = request(), request()
        await asyncio.gather(
            record(parts, [admitted(left), settled(right)]), record(parts, [admitted(right), settled(left)])
        )
    assert before == await _deadlocks(parts)
    assert [(60,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")


async def test_a_template_is_recorded_and_is_part_of_the_key(parts: Parts) -> None:
    """In the request and in the day's figures; one without a template has an empty one."""
    made = request(user="ada")
    made.template = "summary-v2"
    await record(parts, [admitted(made), settled(made), settled(request(user="bob"))])

    expected = [("ada", "summary-v2"), ("bob", "")]
    assert expected == await parts.rows("requests", "user_id, template")
    assert expected == await parts.rows("spend_daily", "user_id, template")


async def test_the_clients_own_id_is_recorded_whatever_it_is(parts: Parts) -> None:
    """The same id on two requests, a NUL, a text longer than allowed: recorded; an empty one is none."""
    ids = {"ada": "trace-1", "bob": "trace-1", "eve": "a\0b", "max": "ü" * 201, "zoe": ""}
    asked = [request(user=user) for user in ids]
    for each in asked:
        each.client_request_id = ids[each.user]
    await record(parts, [event for each in asked for event in (admitted(each), settled(each))])

    assert [
        ("ada", "trace-1"),
        ("bob", "trace-1"),
        ("eve", "a\N{REPLACEMENT CHARACTER}b"),
        ("max", "ü" * 200),
        ("zoe", None),
    ] == await parts.rows("requests", "user_id, client_request_id")


async def test_every_fact_of_an_attempt_has_an_id_of_its_own(parts: Parts) -> None:
    """The id of attempt n is uuid5(request id, n): it follows from the request id."""
    asked = request(new_id())
    await record(parts, [settled(asked, [attempt(1), attempt(2, usage=used())])])

    expected = [(number, uuid.uuid5(uuid.UUID(asked.request_id), str(number))) for number in (1, 2)]
    assert expected == await parts.rows("attempts", "attempt_number, event_id")


async def test_spend_belongs_to_the_utc_day_of_admission(parts: Parts) -> None:
    """A request admitted just before midnight and settled after it counts for the day before."""
    late = datetime(2026, 11, 20, 23, 59, 59, 900_000, tzinfo=UTC)
    await record(parts, [settled(request(at=late)), settled(request(at=MORNING))])

    assert ["2026-11-20", "2026-11-21"] == [str(day) for (day,) in await parts.rows("spend_daily", "day")]


async def test_unknown_token_counts_are_unpriced_and_not_zero(parts: Parts) -> None:
    """Usage without an output count cannot be priced; what is known of it is kept, what is not stays NULL."""
    await record(parts, [settled(request(), [attempt(usage=routerpb.Usage(input_tokens=9))])])

    assert [(9, None, None, None)] == await parts.rows(
        "attempts", "input_tokens, output_tokens, provider_cache_read_input_tokens, cost_usd"
    )


async def _deadlocks(parts: Parts) -> int:
    await parts.pool.execute("SELECT pg_stat_force_next_flush()")
    count: int = await parts.pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count
