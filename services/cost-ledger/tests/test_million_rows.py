"""A ledger with a million requests answers from indexes, and quickly."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from cost_ledger.budgets.figures import Period, spent
from cost_ledger.reading import spend
from cost_ledger.reading.reader import Reader, read_pool
from cost_ledger.reading.requests import MAX_ROWS_READ, MAX_STRETCH, RequestFilters
from cost_ledger.reading.visible import Visible
from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.million_rows import fill
from kit.ledger.process import PRICE_BOOK, database
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
_TABLES = ("requests", "attempts", "spend_daily", "corrections")
_READ = """
SELECT coalesce(parent.relname, child.relname) AS name, coalesce(sum(seq_tup_read), 0) AS scanned,
       coalesce(sum(idx_scan), 0) AS lookups, coalesce(sum(idx_tup_fetch), 0) AS fetched
FROM pg_stat_user_tables s JOIN pg_class child ON child.oid = s.relid
LEFT JOIN pg_inherits i ON i.inhrelid = s.relid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
GROUP BY 1
"""


@dataclass(frozen=True)
class Work:
    """What PostgreSQL read of a table: rows of scans from end to end, rows by index."""

    scanned: int
    fetched: int


class LargeLedger:
    """The ledger's reader on the large database, with one connection so that its work can be counted."""

    def __init__(self, pool: asyncpg.Pool, watcher: asyncpg.Connection, rows: int) -> None:
        self.pool = pool
        self.rows = rows
        self.reader = Reader(pool)
        self._watcher = watcher

    async def work_of(self, question: Callable[[], Awaitable[object]]) -> dict[str, Work]:
        """Return what PostgreSQL read for the answer to `question`, table by table."""
        before = await self._counters()
        await question()
        after = await self._counters()
        return {name: Work(*(after[name][n] - before[name][n] for n in range(2))) for name in _TABLES}

    async def _counters(self) -> dict[str, tuple[int, int]]:
        async with self.pool.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
        rows = await self._watcher.fetch(_READ)
        return {row["name"]: (int(row["scanned"]), int(row["fetched"])) for row in rows}


_MILLION = pytest.param(1_000_000, marks=[pytest.mark.million, pytest.mark.nightly], id="million")


@pytest.fixture(scope="module", params=[pytest.param(100_000, id="small"), _MILLION])
async def ledger(request: pytest.FixtureRequest, postgres_url: str, redis_url: str) -> AsyncIterator[LargeLedger]:
    """Yield the reader; the database is made once, and dropped. Only a million rows are worth a look at the clock."""
    name = f"million-{uuid.uuid4()}"
    url = database(postgres_url, name)
    settings = Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK, read_pool_size=1)
    await migrate(settings)
    watcher = await asyncpg.connect(url)
    await fill(watcher, request.param)
    async with read_pool(settings) as pool:
        yield LargeLedger(pool, watcher, request.param)
    await watcher.close()
    server = await asyncpg.connect(postgres_url)
    await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await server.close()


async def milliseconds(question: Callable[[], Awaitable[object]]) -> float:
    """Return how long an answer took."""
    started = time.perf_counter()
    await question()
    return (time.perf_counter() - started) * 1000


async def p95_of(calls: int, question: Callable[[], Awaitable[object]]) -> float:
    """Return the 95th percentile of calls one after the other, in ms: the best of a few rounds.

    Others may be using the machine; what is slow by itself is slow in each round.
    """
    best = float("inf")
    for _ in range(5):
        times = sorted([await milliseconds(question) for _ in range(calls)])
        best = min(best, times[calls * 95 // 100])
        if best < 50:
            break
    return best


async def test_a_days_figures_come_from_spend_daily_within_50_ms(ledger: LargeLedger) -> None:
    """p95 of 200 calls; no row of requests or attempts is read, and of spend_daily only the day's."""

    async def question() -> ledgerpb.GetSpendResponse:
        return await ledger.reader.spend("acme", YESTERDAY, YESTERDAY)

    answer = await question()
    assert answer.total.requests > ledger.rows // 50
    assert len(answer.by_user) > (500 if ledger.rows == 1_000_000 else 400)
    work = await ledger.work_of(question)
    assert (Work(0, 0), Work(0, 0)) == (work["requests"], work["attempts"])
    assert 0 == work["spend_daily"].scanned
    if ledger.rows < 1_000_000:
        return
    p95 = await p95_of(200, question)
    print(f"a day's figures: p95 {p95:.1f} ms")  # noqa: T201 - for `pytest -s`
    assert p95 < 50


@pytest.mark.parametrize("visible", [Visible(), Visible(user="user-37")])
@pytest.mark.parametrize("group_by", [(), (ledgerpb.SPEND_DIMENSION_KEY, ledgerpb.SPEND_DIMENSION_PROVIDER)])
async def test_the_plan_of_a_days_figures_has_no_scan(
    ledger: LargeLedger, group_by: tuple[int, ...], visible: Visible
) -> None:
    """EXPLAIN names an index of spend_daily and no other table."""
    statement = spend.combinations_statement(group_by, visible) if group_by else spend.summary_statement(visible)
    async with ledger.pool.acquire() as connection:
        rows = await connection.fetch(f"EXPLAIN {statement}", "acme", YESTERDAY, YESTERDAY, *visible)
    plan = "\n".join(row[0] for row in rows)

    assert "spend_daily_" in plan
    for word in ("Seq Scan", "requests_", "attempts_"):
        assert word not in plan, plan


MIDDLE = datetime.now(UTC) - timedelta(days=15)
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "user": {"user_id": "user-37"},
    "seldom user": {"user_id": "seldom"},
    "key": {"key_id": "key-37-0"},
    "seldom key": {"key_id": "seldom"},
    "model": {"requested_model": "fast"},
    "seldom model": {"requested_model": "seldom"},
    "no model": {"requested_model": "unknown"},
    # Held to the bounds of a usual filter although it is rare: all of it comes from its own index.
    "client's id": {"client_request_id": "seldom"},
    "client's id of one request": {"client_request_id": "client-4"},
    "client's id of many": {"client_request_id": "shared"},
    "client's id of none": {"client_request_id": "unknown"},
    "outcome": {"outcome": "ok"},
    "failed": {"outcome": "provider_error"},
    "seldom outcome": {"outcome": "interrupted"},
    "state": {"state": "settled"},
    "seldom state": {"state": "unsettled"},
    "no state": {"state": "admitted"},
    "cache": {"cache_status": "hit"},
    "seldom cache": {"cache_status": "bypass"},
    "template": {"template": "summary"},
    "seldom template": {"template": "seldom"},
    "provider": {"provider": "openai"},
    "seldom provider": {"provider": "seldom"},
    "target_model": {"target_model": "claude-test"},
    "seldom target_model": {"target_model": "seldom"},
    "from and to": {"admitted_from": MIDDLE, "admitted_to": MIDDLE + timedelta(days=1)},
    "user and model": {"user_id": "user-37", "requested_model": "fast"},
    "user and seldom provider": {"user_id": "user-37", "provider": "seldom"},
    "small tenant": {"tenant": "globex", "outcome": "ok", "cache_status": "hit"},
    "seldom of a small tenant": {"tenant": "globex", "provider": "seldom"},
}


@pytest.mark.parametrize("name", FILTERS)
async def test_each_page_of_a_list_is_read_from_an_index(ledger: LargeLedger, name: str) -> None:
    """The first and the hundredth: within 50 ms, and no more rows than a few times its own; where few match, bounded.

    No page reads a table from end to end.
    """
    filters = RequestFilters(**{"tenant": "acme", **FILTERS[name]})
    is_seldom = name.startswith(("seldom", "no ", "user and seldom"))
    place: uuid.UUID | None = None
    found = pages = 0
    for number in range(1, 101):
        page = await ledger.reader.requests(filters, place, 50)
        if number in (1, 2, 100) or page.next_cursor is None:

            async def question(place: uuid.UUID | None = place) -> object:
                return await ledger.reader.requests(filters, place, 50)

            work = await ledger.work_of(question)
            quickest = min([await milliseconds(question) for _ in range(5)])
            read = sum(work[table].fetched for table in ("requests", "attempts"))
            assert 0 == work["requests"].scanned == work["attempts"].scanned, name
            # For each row: the end of the stretch, the row, and its attempt if there is a filter of attempts.
            assert read <= (3 * (MAX_ROWS_READ + MAX_STRETCH) if is_seldom else 10_000), (name, number, work)
            assert ledger.rows < 1_000_000 or quickest < (1000 if is_seldom else 50), (name, number, quickest)
        found, pages = found + len(page.records), number
        if page.next_cursor is None:
            break
        place = filters.place(page.next_cursor)
    assert (found <= 20 and pages < 100) if is_seldom else (pages == 100 or found < 5000)


async def test_a_receipt_is_read_by_its_id(ledger: LargeLedger) -> None:
    """A request, its attempts, its corrections: a handful of rows."""
    page = await ledger.reader.requests(RequestFilters(tenant="acme"), None, 1)
    request_id = uuid.UUID(page.records[0].request.request_id)
    work = await ledger.work_of(lambda: ledger.reader.request("acme", request_id))

    assert 0 == sum(work[table].scanned for table in _TABLES)
    assert sum(work[table].fetched for table in _TABLES) <= 3


async def _spent(ledger: LargeLedger, periods: list[Period]) -> list[int]:
    async with ledger.pool.acquire() as connection:
        return await spent(connection, periods)


async def test_figures_of_budgets_are_read_by_index(ledger: LargeLedger) -> None:
    """A day's from the roll-up; an hour's, or a day's in another zone, from the requests of its time alone."""
    midnight = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, tzinfo=UTC)
    day = [Period("user", "acme", f"user-{number}", midnight, midnight + timedelta(days=1)) for number in range(50)]
    hour = [Period("tenant", "acme", "", midnight + timedelta(hours=9), midnight + timedelta(hours=10))]
    of_day = await ledger.work_of(lambda: _spent(ledger, day))
    of_hour = await ledger.work_of(lambda: _spent(ledger, hour))
    async with ledger.pool.acquire() as connection:
        quarters = [midnight + timedelta(hours=6) * number for number in range(5)]
        (all_of_day,) = await spent(connection, [Period("all", "", "", quarters[0], quarters[-1])])
        by_quarters = await spent(connection, [Period("all", "", "", *pair) for pair in pairwise(quarters)])
    count = "SELECT count(*) FROM requests WHERE admitted_at::date = $1"
    requests_of_day = await ledger.pool.fetchval(count, YESTERDAY)

    for work in (of_day, of_hour):
        assert 0 == sum(work[table].scanned for table in _TABLES)
    assert 0 == of_day["requests"].fetched == of_day["attempts"].fetched
    assert 0 < of_hour["requests"].fetched < requests_of_day / 10
    assert all_of_day == sum(by_quarters) > 0


async def test_thirty_days_of_figures_need_no_scan_of_requests(ledger: LargeLedger) -> None:
    """A month by user, key, model and provider is still the roll-up's work, and bounded."""
    names = [ledgerpb.SPEND_DIMENSION_USER, ledgerpb.SPEND_DIMENSION_KEY, ledgerpb.SPEND_DIMENSION_PROVIDER]
    work = await ledger.work_of(lambda: ledger.reader.spend("acme", TODAY - timedelta(days=29), TODAY, names))

    assert (Work(0, 0), Work(0, 0)) == (work["requests"], work["attempts"])
    answer = await ledger.reader.spend("acme", date(TODAY.year - 1, 12, 31), TODAY, [ledgerpb.SPEND_DIMENSION_DAY])
    assert sorted(group.keys[0] for group in answer.groups) == [group.keys[0] for group in answer.groups]
    assert len(answer.groups) in (29, 30)
