"""Verification: books that were kept are right, and whatever is changed by hand is found and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from cost_ledger.books.verify import Mismatch, Verification
from cost_ledger.recording.price import price_settled
from cost_ledger.schema.partitions import ensure_partitions
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
from pricing.price_book import Price, PriceBook, Rates
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

DAY = date(2026, 11, 21)
# The request that is tampered with, and its second attempt.
ASKED = request(new_id())
ATTEMPT = f"request_id = '{ASKED.request_id}' AND attempt_number = 2"
REQUEST = f"request_id = '{ASKED.request_id}'"
CORRECTED = request(new_id(), user="bob")
HIT = request(new_id(), user="cleo")
COPY = "INSERT INTO spend_daily SELECT"
REST_OF_A_SUM = (
    "user_id, key_id, requested_model, provider, target_model, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0 FROM spend_daily"
    " WHERE user_id = 'bob'"
)


@pytest.fixture
async def connection(parts: Parts, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection to books with a bit of everything, all of it right."""
    connection = await asyncpg.connect(database_url)
    await ensure_partitions(connection, DAY)
    open_, lost = request(user="dan"), request(user="eve", at=datetime(2026, 11, 21, tzinfo=UTC))
    await record(
        parts,
        admitted(open_),
        admitted(lost),
        settled(ASKED, [attempt(1, "anthropic", "claude-test"), attempt(2, usage=used())]),
        settled(CORRECTED),
        hit(HIT, used(1000, 50)),
        settled(request(), [attempt(1, "mystery", "m1", used()), attempt(2, usage=routerpb.Usage(input_tokens=9))]),
        settled(request(at=MORNING - timedelta(days=1)), [], cache_status=ledgerpb.CACHE_STATUS_BYPASS),
    )
    await connection.execute("UPDATE requests SET state = 'unsettled' WHERE request_id = $1", lost.request_id)
    await connection.execute(
        "INSERT INTO corrections (request_id, attempt_number, correction_number, tenant, before_cost_usd,"
        " before_price_version, cost_usd, price_version, reason)"
        " SELECT request_id, 1, 1, 'acme', cost_usd, price_version, 0.00032544, 'openai/gpt-test@2026-01-01', 'reprice'"
        " FROM attempts WHERE request_id = $1",
        CORRECTED.request_id,
    )
    # 100 x 1.253 + 20 x 10.007, before it 100 x 2.506 + 20 x 20.014
    await connection.execute("UPDATE spend_daily SET cost_usd = cost_usd - 0.00032544 WHERE user_id = 'bob'")
    yield connection
    await connection.close()


async def record(parts: Parts, *events: ledgerpb.CostEvent) -> None:
    """Record events in one batch."""
    book = await parts.prices.book()
    beginnings = [read_admitted(event) for event in events if event.HasField("admitted")]
    endings = [read_settled(event) for event in events if event.HasField("settled")]
    await parts.store.record(beginnings, [price_settled(ending, book) for ending in endings])


async def found(connection: asyncpg.Connection, first: date | None = None, last: date | None = None) -> list[Mismatch]:
    """Verify."""
    return [each async for each in Verification(connection, first, last).mismatches()]


async def tamper(connection: asyncpg.Connection, statement: str) -> None:
    """Change the books by hand; `<request>` and `<attempt>` choose the rows of one request."""
    await connection.execute(statement.replace("<attempt>", ATTEMPT).replace("<request>", REQUEST))


async def test_books_that_were_kept_are_right(connection: asyncpg.Connection) -> None:
    """Fallbacks, hits, unpriced and corrected attempts, requests without an end: no mismatch."""
    check = Verification(connection, None, None)

    assert [] == [each async for each in check.mismatches()]
    assert (7, 5, 1) == (check.requests, check.attempts, check.corrections)


@pytest.mark.parametrize(
    ("tampering", "kinds"),
    [
        (
            "UPDATE attempts SET cost_usd = cost_usd + 0.000000001 WHERE <attempt>",
            {"attempt_cost", "request_cost", "spend_daily"},
        ),
        ("UPDATE attempts SET cost_usd = NULL WHERE <attempt>", {"attempt_cost", "request_cost", "spend_daily"}),
        ("UPDATE attempts SET output_tokens = 21 WHERE <attempt>", {"attempt_cost", "spend_daily"}),
        ("UPDATE attempts SET output_tokens = NULL WHERE <attempt>", {"attempt_cost", "spend_daily"}),
        ("UPDATE attempts SET provider_cache_read_input_tokens = 1 WHERE <attempt>", {"attempt_cost"}),
        ("UPDATE attempts SET has_usage = false WHERE <attempt>", {"attempt_cost"}),
        ("UPDATE attempts SET price_version = '' WHERE <attempt>", {"attempt_cost"}),
        ("UPDATE attempts SET price_version = 'openai/gpt-test@2026-01-01' WHERE <attempt>", {"attempt_cost"}),
        ("UPDATE attempts SET price_version = 'openai/gpt-test@1999-01-01' WHERE <attempt>", {"price_version"}),
        ("UPDATE attempts SET price_version = 'vllm/free-test@2026-01-01' WHERE <attempt>", {"price_version"}),
        ("UPDATE attempts SET target_model = 'other' WHERE <attempt>", {"price_version", "spend_daily"}),
        ("UPDATE attempts SET event_id = gen_random_uuid() WHERE <attempt>", {"event_id"}),
        (
            "UPDATE attempts SET event_id = (SELECT event_id FROM attempts WHERE provider = 'mystery') WHERE <attempt>",
            {"event_id"},
        ),
        ("DELETE FROM attempts WHERE <attempt>", {"request_cost", "spend_daily"}),
        ("DELETE FROM requests WHERE <request>", {"attempt_without_request", "spend_daily"}),
        ("UPDATE requests SET cost_usd = 0 WHERE <request>", {"request_cost"}),
        ("UPDATE requests SET cost_usd = NULL WHERE <request>", {"request_cost"}),
        ("UPDATE requests SET user_id = 'eve' WHERE <request>", {"spend_daily"}),
        ("UPDATE requests SET tenant = 'globex' WHERE <request>", {"spend_daily"}),
        ("UPDATE requests SET admitted_at = admitted_at + interval '1 day' WHERE <request>", {"spend_daily"}),
        ("UPDATE requests SET cache_status = 'bypass' WHERE <request>", {"spend_daily"}),
        ("UPDATE requests SET state = 'unsettled' WHERE <request>", {"request_state", "spend_daily"}),
        ("UPDATE requests SET saved_cost_usd = 1 WHERE user_id = 'cleo'", {"saved_cost", "spend_daily"}),
        ("UPDATE requests SET saved_cost_usd = NULL WHERE user_id = 'cleo'", {"saved_cost", "spend_daily"}),
        ("UPDATE corrections SET cost_usd = 0", {"correction", "spend_daily"}),
        ("UPDATE corrections SET cost_usd = NULL", {"correction", "spend_daily"}),
        ("UPDATE corrections SET before_cost_usd = 0", {"correction"}),
        ("UPDATE corrections SET before_price_version = ''", {"correction"}),
        ("UPDATE corrections SET correction_number = 2", {"correction"}),
        ("UPDATE corrections SET tenant = 'globex'", {"correction"}),
        ("UPDATE corrections SET attempt_number = 7", {"correction_without_attempt", "spend_daily"}),
        ("DELETE FROM corrections", {"spend_daily"}),
        ("UPDATE spend_daily SET cost_usd = cost_usd + 0.000000001 WHERE user_id = 'bob'", {"spend_daily"}),
        ("UPDATE spend_daily SET attempts = attempts + 1 WHERE user_id = 'bob'", {"spend_daily"}),
        ("UPDATE spend_daily SET requests = 0 WHERE user_id = 'bob'", {"spend_daily"}),
        ("UPDATE spend_daily SET unpriced_attempts = 0 WHERE provider = 'mystery'", {"spend_daily"}),
        ("DELETE FROM spend_daily WHERE user_id = 'cleo'", {"spend_daily"}),
        (f"{COPY} 'globex', day, {REST_OF_A_SUM}", {"spend_daily"}),
        (
            "UPDATE prices SET output = output + 1 WHERE price_version = 'openai/gpt-test@2026-06-01'",
            {"attempt_cost", "saved_cost"},
        ),
    ],
)
async def test_every_tampering_is_found(connection: asyncpg.Connection, tampering: str, kinds: set[str]) -> None:
    """With its kind, and without other mismatches."""
    before = await connection.fetch("SELECT output FROM prices WHERE price_version = 'openai/gpt-test@2026-06-01'")
    await tamper(connection, tampering)
    try:
        mismatches = await found(connection)
    finally:
        await connection.execute(
            "UPDATE prices SET output = $1 WHERE price_version = 'openai/gpt-test@2026-06-01'", before[0][0]
        )

    assert kinds == {each.kind for each in mismatches}
    assert [] == [each for each in mismatches if not (each.where and each.found and each.expected)]


async def test_a_mismatch_has_both_figures(connection: asyncpg.Connection) -> None:
    """Enough to find the row and to know what it should hold."""
    await tamper(connection, "UPDATE attempts SET cost_usd = 1 WHERE <attempt>")
    where = f"request {ASKED.request_id}"
    expected = Mismatch(
        "attempt_cost", f"{where} attempt 2", "1.000000000", "0.000650880 by openai/gpt-test@2026-06-01"
    )

    assert expected in await found(connection)


@pytest.mark.parametrize(
    ("first", "last", "is_found"),
    [
        (DAY, DAY, True),
        (None, DAY, True),
        (DAY, None, True),
        (None, DAY - timedelta(days=1), False),
        (DAY + timedelta(days=1), None, False),
    ],
)
async def test_days_can_be_chosen(
    connection: asyncpg.Connection, first: date | None, last: date | None, is_found: bool
) -> None:
    """Rows and sums of other days are not checked; both ends belong to the range."""
    await tamper(connection, "UPDATE requests SET cost_usd = 0 WHERE <request>")
    await connection.execute("UPDATE spend_daily SET requests = 9 WHERE user_id = 'cleo'")

    kinds = {"request_cost", "spend_daily"} if is_found else set()
    assert kinds == {each.kind for each in await found(connection, first, last)}


async def test_sums_of_days_whose_rows_may_be_dropped_are_not_checked(connection: asyncpg.Connection) -> None:
    """Retention drops months of rows and keeps their sums."""
    await connection.execute(f"{COPY} tenant, '2020-02-02', {REST_OF_A_SUM}")
    check = Verification(connection, None, None)

    assert [] == [each async for each in check.mismatches()]
    assert date(2026, 9, 1) < check.sums_from <= DAY


async def test_books_are_right_at_every_moment_while_they_are_written(
    parts: Parts, connection: asyncpg.Connection
) -> None:
    """A verification sees one moment: what the ledger commits meanwhile is in none of its figures."""
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await record(parts, *(settled(request(user=f"user-{number}")) for number in range(20)))

    writing = asyncio.create_task(write())
    try:
        seen = []
        for _ in range(5):
            check = Verification(connection, None, None)
            assert [] == [each async for each in check.mismatches()]
            seen.append(check.requests)
    finally:
        done.set()
        await writing

    assert seen[0] < seen[-1]


async def test_what_is_recorded_after_it_began_is_not_in_it(parts: Parts, connection: asyncpg.Connection) -> None:
    """Not even a request whose price is newer than the verification."""
    await tamper(connection, "UPDATE requests SET cost_usd = 0 WHERE <request>")
    check = Verification(connection, None, None)
    async with aclosing(check.mismatches()) as mismatches:
        seen = [await anext(mismatches)]
        later = request(new_id(MORNING + timedelta(hours=1)))
        rates = Rates(Decimal(1), Decimal(1))
        start = datetime(2026, 1, 1, tzinfo=UTC)
        new = Price("openai/new@2026-01-01", "openai", "new", start, None, rates, None, "a page", "2026-01-01")
        ending = read_settled(settled(later, [attempt(model="new", usage=used())]))
        await parts.pool.execute(
            "INSERT INTO prices SELECT 'openai/new@2026-01-01', provider, 'new', effective_from, effective_to, 1, 1,"
            " 1, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, source, source_date FROM prices"
            " WHERE price_version = 'vllm/free-test@2026-01-01'"
        )
        try:
            await parts.store.record([], [price_settled(ending, PriceBook([new]))])
            seen += [each async for each in mismatches]
        finally:
            await parts.pool.execute("DELETE FROM prices WHERE target_model = 'new'")

    assert (["request_cost"], 7) == ([each.kind for each in seen], check.requests)


async def test_many_requests_are_read_batch_by_batch(parts: Parts, connection: asyncpg.Connection) -> None:
    """Each once, also when their number is no multiple of a batch."""
    await record(parts, *(settled(request()) for _ in range(2345)))
    check = Verification(connection, None, None)

    assert [] == [each async for each in check.mismatches()]
    assert 7 + 2345 == check.requests


async def test_a_hundred_wrong_attempts_are_a_hundred_mismatches(parts: Parts, connection: asyncpg.Connection) -> None:
    """Each is reported; the sums add one for the day."""
    await record(parts, *(settled(request(user="zoe")) for _ in range(100)))
    await connection.execute(
        "UPDATE attempts SET cost_usd = $1 FROM requests"
        " WHERE requests.request_id = attempts.request_id AND user_id = 'zoe'",
        Decimal(2),
    )
    kinds = [each.kind for each in await found(connection)]

    assert (100, 100, 1) == (kinds.count("attempt_cost"), kinds.count("request_cost"), kinds.count("spend_daily"))
