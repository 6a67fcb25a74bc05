"""Repricing: what costs something else by the prices of now becomes a correction, once, and the sums follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cost_ledger.books.reprice import Difference, Reprice, RepriceScope
from cost_ledger.books.verify import Verification
from cost_ledger.errors import CommandRefused
from cost_ledger.prices.book import import_price_book
from cost_ledger.recording.price import price_settled
from cost_ledger.schema.partitions import ensure_partitions
from kit.ledger.cost_events import MORNING, attempt, read_settled, request, settled, used
from kit.ledger.process import Parts, someone_waits_for_a_lock, until
from pricing.price_book import Price, Rates
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

DAY = date(2026, 11, 21)
YESTERDAY = MORNING - timedelta(days=1)
EVERYTHING = RepriceScope()


@pytest.fixture
async def connection(parts: Parts, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the test's own; prices that the test adds are gone after it."""
    connection = await asyncpg.connect(database_url)
    await ensure_partitions(connection, DAY)
    before = [tuple(row) for row in await connection.fetch("SELECT price_version, effective_to FROM prices")]
    yield connection
    await connection.execute("DELETE FROM prices WHERE price_version <> ALL($1)", [row[0] for row in before])
    await connection.executemany("UPDATE prices SET effective_to = $2 WHERE price_version = $1", before)
    await connection.close()


def price(model: str, first: str, *, rate: str = "1", provider: str = "openai") -> Price:
    """Return a price of `rate` USD per million tokens of either kind."""
    begins = datetime.fromisoformat(first).replace(tzinfo=UTC)
    rates = Rates(Decimal(rate), Decimal(rate))
    return Price(f"{provider}/{model}@{first}", provider, model, begins, None, rates, None, "a page", "2026-01-01")


async def record(parts: Parts, *events: ledgerpb.CostEvent) -> None:
    """Record endings by the prices of now."""
    await parts.prices.refresh()
    book = await parts.prices.book()
    await parts.store.record([], [price_settled(read_settled(event), book) for event in events])


async def run(connection: asyncpg.Connection, scope: RepriceScope = EVERYTHING, *, dry_run: bool = False) -> Reprice:
    """Reprice without a report."""
    done = Reprice(connection, scope, dry_run=dry_run, report=lambda _: None)
    await done.run()
    return done


async def mismatches(connection: asyncpg.Connection) -> list[str]:
    """Return what is wrong with the books."""
    return [str(each) async for each in Verification(connection, None, None).mismatches()]


async def spent(parts: Parts) -> tuple[Decimal, int]:
    """Return the sum of all costs and the number of attempts in none."""
    [row] = await parts.rows("(SELECT sum(cost_usd), sum(unpriced_attempts)::int FROM spend_daily)")
    return row[0], row[1]


async def test_a_backdated_price_corrects_what_was_recorded(parts: Parts, connection: asyncpg.Connection) -> None:
    """The recorded row stays, a correction says what it costs now, and the day's sum is the corrected one."""
    await record(parts, settled(request()), settled(request(at=YESTERDAY), [attempt(usage=used(), at=YESTERDAY)]))
    await import_price_book(connection, [price("gpt-test", "2026-11-21")], may_backdate=True)
    done = await run(connection)

    expected = Difference(attempts=1, before_usd=Decimal("0.00065088"), after_usd=Decimal("0.00012"))
    assert {("openai", "gpt-test", DAY): expected} == done.differences
    assert [Decimal("0.00065088")] * 2 == [cost for (cost,) in await parts.rows("attempts", "cost_usd")]
    assert [Decimal("0.00065088")] * 2 == [cost for (cost,) in await parts.rows("requests", "cost_usd")]
    columns = "correction_number, tenant, before_cost_usd, before_price_version, cost_usd, price_version, reason"
    old, new = "openai/gpt-test@2026-06-01", "openai/gpt-test@2026-11-21"
    assert [(1, "acme", Decimal("0.00065088"), old, Decimal("0.00012"), new, "reprice")] == await parts.rows(
        "corrections", columns
    )
    assert (Decimal("0.00077088"), 0) == await spent(parts)
    assert [] == await mismatches(connection)


async def test_a_price_that_was_missing_fills_in_the_costs(parts: Parts, connection: asyncpg.Connection) -> None:
    """Attempts of an unknown model were unpriced and in no sum; now they are in it and nothing is unpriced."""
    await record(
        parts, settled(request(), [attempt(1, model="new"), attempt(2, model="new", usage=used(1_000_000, 0))])
    )
    assert (Decimal(0), 1) == await spent(parts)
    await import_price_book(connection, [price("new", "2026-11-01", rate="0.25")], may_backdate=False)
    [difference] = (await run(connection)).differences.values()

    assert (1, 1, 0) == (difference.attempts, difference.newly_priced, difference.newly_unpriced)
    assert (Decimal("0.25"), 0) == await spent(parts)
    assert [] == await mismatches(connection)


async def test_corrections_are_corrected_by_further_ones(parts: Parts, connection: asyncpg.Connection) -> None:
    """Each says what it found; the newest counts, and also going back to the first cost is a correction."""
    await record(parts, settled(request(), [attempt(model="new", usage=used(1_000_000, 0))]))
    costs = [Decimal(1), Decimal(2), Decimal(1)]
    for cost in costs:
        await connection.execute("DELETE FROM prices WHERE target_model = 'new'")
        await import_price_book(connection, [price("new", f"2026-11-0{cost}", rate=str(cost))], may_backdate=True)
        await run(connection)

    assert [(1, None, costs[0]), (2, costs[0], costs[1]), (3, costs[1], costs[2])] == await parts.rows(
        "corrections", "correction_number, before_cost_usd, cost_usd"
    )
    assert (Decimal(1), 0) == await spent(parts)


async def test_a_dry_run_shows_the_same_and_writes_nothing(parts: Parts, connection: asyncpg.Connection) -> None:
    """What it shows is what the real run then does."""
    await record(parts, settled(request()))
    await import_price_book(connection, [price("gpt-test", "2026-11-21")], may_backdate=True)
    before = await spent(parts)
    shown = await run(connection, dry_run=True)

    assert ([], before) == (await parts.rows("corrections"), await spent(parts))
    assert shown.differences == (await run(connection)).differences
    assert before != await spent(parts)


@pytest.mark.parametrize(
    ("scope", "corrected"),
    [
        (RepriceScope(provider="openai"), 2),
        (RepriceScope(provider="anthropic"), 1),
        (RepriceScope(target_model="b"), 1),
        (RepriceScope(provider="anthropic", target_model="b"), 0),
        (RepriceScope(first=date(2026, 11, 21)), 2),
        (RepriceScope(last=date(2026, 11, 20)), 1),
        (RepriceScope(first=date(2026, 11, 20), last=date(2026, 11, 20)), 1),
        (RepriceScope(first=date(2026, 11, 22)), 0),
    ],
)
async def test_only_the_scope_is_repriced(
    parts: Parts, connection: asyncpg.Connection, scope: RepriceScope, corrected: int
) -> None:
    """By provider, model and the UTC days of the attempts' starts, both included."""
    last_moment = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
    await record(
        parts,
        settled(request(), [attempt(model="a", usage=used(), at=last_moment)]),
        settled(request(), [attempt(model="b", usage=used(), at=last_moment + timedelta(microseconds=1))]),
        settled(request(), [attempt(provider="anthropic", model="a", usage=used())]),
    )
    new = [price("a", "2026-11-01"), price("b", "2026-11-01"), price("a", "2026-11-01", provider="anthropic")]
    await import_price_book(connection, new, may_backdate=False)
    done = await run(connection, scope)

    assert corrected == sum(each.attempts for each in done.differences.values())
    assert corrected == len(await parts.rows("corrections"))


async def test_an_interrupted_run_is_finished_by_the_next(
    parts: Parts, connection: asyncpg.Connection, database_url: str
) -> None:
    """Batches that were written stay, the current one is rolled back, and nothing is corrected twice."""
    moments = [MORNING + timedelta(seconds=number // 2) for number in range(10)]
    await record(parts, *(settled(request(), [attempt(model="new", usage=used(10**6, 0), at=at)]) for at in moments))
    await import_price_book(connection, [price("new", "2026-11-01")], may_backdate=False)

    class Stopped(Exception):
        pass

    def stop(_progress: str) -> None:
        if interrupted.seen >= 6:
            raise Stopped

    own = await asyncpg.connect(database_url)
    interrupted = Reprice(own, EVERYTHING, dry_run=False, report=stop, batch=3)
    with pytest.raises(Stopped):
        await interrupted.run()
    await own.close()

    assert (6, (Decimal(6), 4)) == (len(await parts.rows("corrections")), await spent(parts))
    done = await run(connection)
    assert (10, 4) == (done.seen, sum(each.attempts for each in done.differences.values()))
    assert (10, (Decimal(10), 0)) == (len(await parts.rows("corrections")), await spent(parts))
    assert [] == await mismatches(connection)


async def test_all_attempts_of_one_moment_are_compared(parts: Parts, connection: asyncpg.Connection) -> None:
    """Also when a batch ends between them, or within a request."""
    several = [attempt(number, model="new", usage=used(10**6, 0)) for number in range(1, 8)]
    await record(parts, settled(request(), several), *(settled(request(), several[:1]) for _ in range(6)))
    await import_price_book(connection, [price("new", "2026-11-01")], may_backdate=False)
    done = Reprice(connection, EVERYTHING, dry_run=False, report=lambda _: None, batch=2)
    await done.run()

    assert (13, Decimal(13)) == (done.seen, (await spent(parts))[0])


async def test_it_locks_rows_in_the_order_of_the_consumers(
    parts: Parts, connection: asyncpg.Connection, database_url: str
) -> None:
    """Both lock rows of spend_daily by their keys: a consumer that has locked the first can lock the last."""
    later = attempt(model="new", usage=used(), at=MORNING + timedelta(seconds=1))
    earlier = attempt(model="new", usage=used())
    await record(parts, settled(request(user="zed"), [earlier]), settled(request(user="amy"), [later]))
    await import_price_book(connection, [price("new", "2026-11-01")], may_backdate=False)
    consumer = await asyncpg.connect(database_url)
    async with asyncio.TaskGroup() as group, consumer.transaction():
        await consumer.execute("UPDATE spend_daily SET requests = requests WHERE user_id = 'amy'")
        group.create_task(run(connection))
        await until(lambda: someone_waits_for_a_lock(parts.pool))
        await consumer.execute("UPDATE spend_daily SET requests = requests WHERE user_id = 'zed'")
    await consumer.close()

    assert 2 == len(await parts.rows("corrections"))
    assert [] == await mismatches(connection)


async def test_two_runs_at_the_same_time_are_refused(
    parts: Parts, connection: asyncpg.Connection, database_url: str
) -> None:
    """Both would correct the same attempts."""
    await run(connection)
    other = await asyncpg.connect(database_url)
    try:
        with pytest.raises(CommandRefused, match="another reprice is under way"):
            await run(other)
    finally:
        await other.close()


async def test_attempts_recorded_meanwhile_are_in_the_sums_once(parts: Parts, connection: asyncpg.Connection) -> None:
    """The ledger adds to the very rows of spend_daily that are being corrected; neither loses the other's part."""
    await record(parts, *(settled(request(), [attempt(model="new", usage=used(10**6, 0))]) for _ in range(40)))
    await import_price_book(connection, [price("new", "2026-11-01")], may_backdate=False)

    async def go_on() -> None:
        for _ in range(20):
            await record(parts, settled(request(), [attempt(model="new", usage=used(10**6, 0))]))

    await asyncio.gather(run(connection), go_on())
    await run(connection)

    assert (Decimal(60), 0) == await spent(parts)
    assert [] == await mismatches(connection)


async def test_an_attempt_without_its_request_is_left_alone(parts: Parts, connection: asyncpg.Connection) -> None:
    """It is unknown in whose sum it counts: it is reported, and the others are corrected."""
    lost = request()
    await record(
        parts,
        settled(lost, [attempt(model="new", usage=used())]),
        settled(request(), [attempt(model="new", usage=used())]),
    )
    await parts.pool.execute("DELETE FROM requests WHERE request_id = $1", lost.request_id)
    await import_price_book(connection, [price("new", "2026-11-01")], may_backdate=False)
    done = await run(connection)

    assert (1, 1) == (done.without_request, len(await parts.rows("corrections")))


async def test_a_cost_that_no_row_can_hold_stops_nothing(parts: Parts, connection: asyncpg.Connection) -> None:
    """An absurd count at an absurd price is reported; the rest of its batch is corrected."""
    await record(
        parts,
        settled(request(), [attempt(model="new", usage=used(10**12 - 1, 0))]),
        settled(request(), [attempt(model="new", usage=used(1, 0))]),
    )
    await import_price_book(connection, [price("new", "2026-11-01", rate="100000")], may_backdate=False)
    done = await run(connection)

    assert (1, 1) == (done.too_large, len(await parts.rows("corrections")))


PRICES = st.integers(0, 10**12).map(lambda nano: Decimal(nano).scaleb(-9))
USAGES = st.none() | st.builds(
    routerpb.Usage,
    input_tokens=st.none() | st.integers(0, 10**6),
    output_tokens=st.none() | st.integers(0, 10**6),
    provider_cache_read_input_tokens=st.none() | st.integers(0, 10**6),
    provider_cache_write_input_tokens=st.none() | st.integers(0, 10**6),
    reasoning_output_tokens=st.none() | st.integers(0, 10**6),
)


@settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    usages=st.lists(st.tuples(st.sampled_from(["p", "q"]), USAGES), min_size=1, max_size=6),
    rates=st.lists(PRICES, min_size=4, max_size=4),
)
async def test_repricing_twice_is_repricing_once(
    parts: Parts, connection: asyncpg.Connection, usages: list[tuple[str, routerpb.Usage | None]], rates: list[Decimal]
) -> None:
    """Whatever was used and whatever it costs: after one run the books are right, and a second finds nothing to do."""
    await parts.empty()
    await connection.execute("DELETE FROM prices WHERE target_model IN ('p', 'q')")
    await import_price_book(connection, [price("p", "2026-01-01", rate=f"{rates[0]:f}")], may_backdate=False)
    attempts = [attempt(number, model=model, usage=usage) for number, (model, usage) in enumerate(usages, 1)]
    await record(parts, settled(request(), attempts), settled(request(user="bob"), attempts[:1]))
    now = [price("p", "2026-11-21", rate=f"{rates[1]:f}"), price("q", "2026-01-01", rate=f"{rates[2]:f}")]
    await import_price_book(connection, now, may_backdate=True)
    await run(connection)
    after = [await parts.rows(table) for table in ("corrections", "spend_daily")]

    assert {} == (await run(connection)).differences
    assert after == [await parts.rows(table) for table in ("corrections", "spend_daily")]
    assert [] == await mismatches(connection)
