"""A row lies in the partition of its id's month, and a month's partition can always be made."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from cost_ledger.recording.price import price_settled
from cost_ledger.schema.partitions import PartitionKeeper, drop_partitions, ensure_partitions, lowest_id, month_after
from kit.ledger.cost_events import new_id, read_settled, request, settled
from kit.ledger.process import Parts, until

WHERE = "request_id::text, tableoid::regclass::text"


async def record(parts: Parts, request_id: str) -> None:
    """Record a request of this id and its attempt."""
    event = read_settled(settled(request(request_id)))
    await parts.store.record([], [price_settled(event, await parts.prices.book())])


@pytest.mark.parametrize(
    ("month", "count", "expected"),
    [
        (date(2026, 11, 1), 1, date(2026, 12, 1)),
        (date(2026, 12, 1), 1, date(2027, 1, 1)),
        (date(2026, 11, 1), 2, date(2027, 1, 1)),
        (date(2027, 1, 1), -1, date(2026, 12, 1)),
        (date(2026, 12, 1), -12, date(2025, 12, 1)),
        (date(2026, 12, 1), 13, date(2028, 1, 1)),
        (date(2024, 2, 1), 0, date(2024, 2, 1)),
    ],
)
def test_months_follow_each_other_over_the_end_of_the_year(month: date, count: int, expected: date) -> None:
    """Forward, backward, and through December."""
    assert expected == month_after(month, count)


def test_a_month_begins_with_the_first_id_that_can_be_minted_in_it() -> None:
    """The bound is the month's start in Unix milliseconds and zeros after it."""
    first = datetime(2026, 12, 1, tzinfo=UTC)

    assert int(first.timestamp() * 1000) == lowest_id(first.date()).int >> 80
    assert uuid.UUID(new_id(first - timedelta(milliseconds=1))) < lowest_id(first.date()) < uuid.UUID(new_id(first))


async def test_rows_lie_in_the_partition_of_their_month(parts: Parts) -> None:
    """This month's and last month's by themselves; ids of other times and ids that hold no time in the default one."""
    now = datetime.now(UTC)
    this, last = now.date().replace(day=1), month_after(now.date().replace(day=1), -1)
    expected = {
        new_id(now): f"{this:%Y_%m}",
        str(lowest_id(this)): f"{this:%Y_%m}",
        str(uuid.UUID(int=lowest_id(this).int - 1)): f"{last:%Y_%m}",
        new_id(datetime(2019, 5, 1, tzinfo=UTC)): "default",
        new_id(now + timedelta(days=3650)): "default",
        str(uuid.uuid4()): "default",
        str(uuid.UUID(int=0)): "default",
        str(uuid.UUID(int=2**128 - 1)): "default",
    }
    for request_id in expected:
        await record(parts, request_id)

    for table in ("requests", "attempts"):
        found = dict(await parts.rows(table, WHERE))
        assert {request_id: f"{table}_{month}" for request_id, month in expected.items()} == found


async def test_partitions_are_made_ahead_and_only_once(parts: Parts) -> None:
    """Last month's, this one's and those of two months ahead, over the end of the year; a second time does nothing."""
    async with parts.pool.acquire() as connection:
        assert [] == await ensure_partitions(connection, datetime.now(UTC).date())
        created = await ensure_partitions(connection, date(2039, 12, 31))
        assert [] == await ensure_partitions(connection, date(2039, 12, 1))
    months = ("2039_11", "2039_12", "2040_01", "2040_02")
    assert [f"{table}_{month}" for month in months for table in ("requests", "attempts")] == created


async def test_rows_that_came_before_their_partition_move_into_it(parts: Parts) -> None:
    """A client's id may be from next year; it is in the default partition until its month gets its own."""
    early, other = new_id(datetime(2041, 3, 15, tzinfo=UTC)), new_id(datetime(2050, 1, 1, tzinfo=UTC))
    await record(parts, early)
    await record(parts, other)
    async with parts.pool.acquire() as connection:
        await ensure_partitions(connection, date(2041, 3, 1))

    for table in ("requests", "attempts"):
        assert {early: f"{table}_2041_03", other: f"{table}_default"} == dict(await parts.rows(table, WHERE))
    await record(parts, early)
    assert [(2,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")


async def test_a_partition_refuses_what_the_table_refuses(parts: Parts) -> None:
    """Keys and checks hold in a partition that was made later."""
    late = new_id(datetime(2042, 6, 1, tzinfo=UTC))
    async with parts.pool.acquire() as connection:
        await ensure_partitions(connection, date(2042, 6, 1))
    await record(parts, late)
    for change in ("UPDATE requests SET state = 'lost'", "UPDATE attempts SET attempt_number = 0"):
        with pytest.raises(asyncpg.CheckViolationError):
            await parts.pool.execute(f"{change} WHERE request_id = '{late}'")
    for table in ("requests", "attempts"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await parts.pool.execute(f"INSERT INTO {table} SELECT * FROM {table}")  # noqa: S608 - our own words


TODAY = datetime.now(UTC).date()
THIS_MONTH = TODAY.replace(day=1)


def keeper(parts: Parts, retention_months: int = 25) -> PartitionKeeper:
    """Return the keeper that the process runs periodically."""
    return PartitionKeeper(parts.pool, parts.metrics, retention_months=retention_months, timeout_seconds=10.0)


async def months_of(parts: Parts, table: str = "requests") -> set[str]:
    """Return the ends of the names of the partitions of `table`."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass"
    rows = await parts.pool.fetch(query, table)
    return {row[0].removeprefix(f"{table}_") for row in rows}


async def add_months(parts: Parts, *months: date) -> None:
    """Make partitions around these months."""
    async with parts.pool.acquire() as connection:
        for month in months:
            await ensure_partitions(connection, month)


async def drop(parts: Parts, today: date, retention_months: int) -> list[str]:
    """Drop what is too old."""
    async with parts.pool.acquire() as connection:
        return await drop_partitions(connection, today, retention_months)


@asynccontextmanager
async def reading(parts: Parts) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Hold a transaction open that has read the tables, in the order that is the other way round than ours."""
    async with parts.pool.acquire() as connection, connection.transaction():
        for table in ("attempts", "requests"):
            await connection.fetch(f"SELECT 1 FROM {table}")  # noqa: S608 - our own words
        yield connection


async def test_months_are_dropped_when_their_time_is_over(parts: Parts) -> None:
    """The current month and so many before it stay with their rows; figures by day are never dropped."""
    kept, gone = month_after(THIS_MONTH, -25), month_after(THIS_MONTH, -26)
    await add_months(parts, kept)
    ids = {month: new_id(datetime(month.year, month.month, 28, 23, tzinfo=UTC)) for month in (kept, gone)}
    for request_id in ids.values():
        await record(parts, request_id)
    await keeper(parts).turn(TODAY)

    for table in ("requests", "attempts"):
        assert [(uuid.UUID(ids[kept]),)] == await parts.rows(table, "request_id")
        assert f"{kept:%Y_%m}" == min(await months_of(parts, table))
    assert [(2,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")
    assert 2 == parts.counted("cost_ledger_partitions_dropped_total")
    assert 2 <= parts.counted("cost_ledger_partitions_ahead")
    start = datetime(kept.year, kept.month, 1, tzinfo=UTC).timestamp()
    assert start == parts.counted("cost_ledger_oldest_partition_timestamp_seconds")
    await drop(parts, TODAY, 1)


async def test_a_retention_of_zero_keeps_everything(parts: Parts) -> None:
    """However old it is."""
    await add_months(parts, date(1999, 12, 1))
    await keeper(parts, 0).turn(TODAY)

    assert "1999_11" in await months_of(parts)
    await drop(parts, TODAY, 1)
    assert f"{month_after(THIS_MONTH, -1):%Y_%m}" == min(await months_of(parts))


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=36_500)])
async def test_a_clock_that_is_ahead_drops_nothing_early(parts: Parts, ahead: timedelta) -> None:
    """A drop is for good: PostgreSQL's clock has to agree."""
    before = await months_of(parts)

    assert [] == await drop(parts, TODAY + ahead, 1)
    assert before == await months_of(parts)


async def test_a_clock_that_is_behind_drops_less(parts: Parts) -> None:
    """It goes by the earlier of both clocks."""
    await add_months(parts, date(2022, 6, 1))

    assert ["requests_2022_05", "attempts_2022_05"] == await drop(parts, date(2022, 7, 31), 1)
    await drop(parts, TODAY, 1)


async def test_rows_of_the_default_partition_go_by_when_they_were_recorded(parts: Parts) -> None:
    """An id of 1970, because a clock was wrong, is kept as long as any other, and dropped after that."""
    wrong, old = new_id(datetime(1970, 1, 2, tzinfo=UTC)), new_id(datetime(1970, 1, 3, tzinfo=UTC))
    await record(parts, wrong)
    await record(parts, old)
    await parts.pool.execute("UPDATE requests SET recorded_at = $2 WHERE request_id = $1", old, _middle_of(-2))
    await drop(parts, TODAY, 2)
    assert 2 == len(await parts.rows("requests"))
    await drop(parts, TODAY, 1)

    for table in ("requests", "attempts"):
        assert [(uuid.UUID(wrong),)] == await parts.rows(table, "request_id")


async def test_two_ledgers_keep_the_same_tables_at_the_same_time(parts: Parts) -> None:
    """Each month is made once and dropped once, and neither fails."""
    await add_months(parts, date(2020, 3, 1), date(2020, 8, 1))
    ahead = date(2035, 6, 1)
    await asyncio.gather(*(keeper(parts, 1).turn(ahead) for _ in range(4)))

    assert 16 == parts.counted("cost_ledger_partitions_dropped_total")
    assert 0 == parts.counted("cost_ledger_partitions_put_off_total")
    assert {"2035_05", "2035_08"} <= await months_of(parts, "attempts")
    assert "2020_02" not in await months_of(parts, "attempts")


async def test_a_long_reader_is_neither_broken_nor_in_the_way_of_others(parts: Parts) -> None:
    """A report that runs for long: the change gives way within a second, and is made when the report is over."""
    await add_months(parts, date(2021, 3, 1))
    async with reading(parts) as connection:
        await asyncio.wait_for(keeper(parts, 1).turn(TODAY), 15.0)
        assert 1 == parts.counted("cost_ledger_partitions_put_off_total")
        assert "2021_03" in await months_of(parts)

        async with asyncio.TaskGroup() as group:
            turn = group.create_task(keeper(parts, 1).turn(date(2036, 1, 1)))
            await until(lambda: _waits_for_a_lock(parts, turn))
            # Behind the change in the queue, and done all the same.
            await record(parts, new_id())
            await connection.fetch("SELECT 1 FROM requests JOIN attempts USING (request_id)")
            await turn
        assert "2036_01" not in await months_of(parts)
    await keeper(parts, 1).turn(date(2036, 1, 1))

    assert 2 == parts.counted("cost_ledger_partitions_put_off_total")
    assert "2036_01" in await months_of(parts)
    assert "2021_03" not in await months_of(parts)


async def _waits_for_a_lock(parts: Parts, turn: asyncio.Task[None]) -> bool:
    return turn.done() or bool(await parts.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def _middle_of(offset: int) -> datetime:
    month = month_after(THIS_MONTH, offset)
    return datetime(month.year, month.month, 15, tzinfo=UTC)
