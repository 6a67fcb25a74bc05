"""A row lies in the partition of its id's month, and a month's partition can always be made."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from cost_events import new_id, read_settled, request, settled
from cost_ledger.partitions import ensure_partitions, lowest_id, month_after
from cost_ledger.price import price_settled
from ledger_process import Parts

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
