"""The price book as a file and as a table: faults in one line, figures exact, history unchangeable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_ledger.errors import ImportRefused, PriceBookInvalid, PriceChanged, PriceGap
from cost_ledger.prices.book import Import, import_price_book, plan_import, read_prices
from cost_ledger.prices.file import load_price_file
from kit.ledger.process import PRICE_BOOK, Parts, someone_waits_for_a_lock, until
from pricing.price_book import Price, Rates

LONG = "{above_input_tokens: 1, rates: {input: 1, output: 1}}"
ENTRY = """
  - provider: openai
    target_model: m
    effective_from: {first}
    {end}
    rates: {{input: {input}, output: 2}}
    source: a page
    source_date: 2026-01-01
"""


def entry(first: str = "2026-01-01", end: str = "", price: str = "1") -> str:
    """Return one entry of a book."""
    return ENTRY.format(first=first, end=end, input=price)


def book(folder: Path, *entries: str) -> Path:
    """Write a price book."""
    path = folder / "book.yaml"
    path.write_text("prices:" + "".join(entries))
    return path


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "1: the file: "),
        ("prices: []", "1: prices: "),
        ("prices: [1]", "1: prices.0: "),
        ("prices: [\n", "2: not YAML: "),
        ("prices: \x00", "1: not YAML: "),
        ("prices:" + entry(first="2026-02-30"), "4: prices.0.effective_from: YAML cannot make a value of it"),
        ("prices:" + entry(first="someday"), "4: prices.0.effective_from: "),
        ("prices:" + entry(price="-1"), "6: prices.0.rates.input: "),
        ("prices:" + entry(price=".nan"), "6: prices.0.rates.input: "),
        ("prices:" + entry(price="cheap"), "6: prices.0.rates.input: "),
        ("prices:" + entry(price="true"), "6: prices.0.rates.input: "),
        ("prices:" + entry(price="0.0000000001"), "6: prices.0.rates.input: "),
        ("prices:" + entry() + entry(first="2026-02-01", price=""), "14: prices.1.rates.input: "),
        ("prices:" + entry(end="unit: token"), "5: prices.0.unit: "),
        (
            "prices:" + entry(end="currency: EUR"),
            "5: prices.0.currency: 'EUR' is not supported: costs are recorded in USD",
        ),
        ("prices:" + entry(end="provider: twice"), "5: prices.0.provider: given twice"),
        ("prices:" + entry(end="service_tiers: {flex: {}}"), "5: prices.0.service_tiers.flex: give a multiplier"),
        (
            "prices:" + entry(end=f"service_tiers: {{flex: {{multiplier: 1, long_prompt: {LONG}}}}}"),
            "5: prices.0.service_tiers.flex: long_prompt needs rates",
        ),
        ("prices:" + entry(end="uses: {web_search: -1}"), "5: prices.0.uses.web_search: "),
        ("prices:" + entry(end="also: [m-*]"), "2: prices.0: the price of a family of models must be"),
        ("prices:" + entry(end="also: [m*x]"), "2: prices.0: `*` is only allowed at the end"),
        ("prices:" + entry(end="also: [m]"), "2: openai/m@2026-01-01: is still in force"),
        ("prices:" + entry(end="effective_to: 2026-01-01"), "2: openai/m@2026-01-01: effective_to is not after"),
        ("prices:" + entry() + entry(), "2: openai/m@2026-01-01: is still in force"),
        ("prices:" + entry() + entry(first="2026-02-01"), "2: openai/m@2026-01-01: is still in force when"),
        (
            "prices:" + entry(end="effective_to: 2026-02-02") + entry(first="2026-02-01"),
            "2: openai/m@2026-01-01: is still in force when openai/m@2026-02-01 begins",
        ),
    ],
)
def test_a_bad_book_is_refused_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    """The line names the file, the entry and the fault."""
    path = tmp_path / "book.yaml"
    path.write_text(text)
    with pytest.raises(PriceBookInvalid) as caught:
        load_price_file(path)

    assert f"{path}:{fault}" in caught.value.faults[0]
    assert all("\n" not in fault for fault in caught.value.faults)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_book_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, and one that is not text."""
    path = tmp_path / "book.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PriceBookInvalid, match=r"^[^\n]*book\.yaml: [^\n]+$"):
        load_price_file(path)


@pytest.mark.parametrize("written", ["0.1", "0.000000001", "1.253", "99999.999999999", "1e-7", "'0.30'", "3"])
def test_a_figure_is_exactly_what_was_written(tmp_path: Path, written: str) -> None:
    """A YAML float goes through no binary fraction on its way."""
    [price] = load_price_file(book(tmp_path, entry(price=written))).prices

    assert Decimal(written.strip("'")) == price.rates.input


def test_a_price_ends_on_the_day_the_next_begins(tmp_path: Path) -> None:
    """No gap and no overlap: effective_to is the first day on which a price no longer holds."""
    path = book(tmp_path, entry(first="2026-02-01"), entry(end="effective_to: 2026-02-01"))

    later, earlier = load_price_file(path).prices
    assert earlier.effective_to == later.effective_from


async def test_the_table_gives_back_what_the_file_says(parts: Parts) -> None:
    """Every figure, date and source, with tiers and without, survives the table."""
    expected = {price.price_version: price for price in load_price_file(PRICE_BOOK).prices}
    async with parts.pool.acquire() as connection:
        recorded = {price.price_version: price for price in await read_prices(connection)}

    assert expected == recorded


def test_every_fault_of_a_book_is_reported_with_its_line(tmp_path: Path) -> None:
    """All at once, so that a book can be corrected in one go."""
    path = book(tmp_path, entry(price="-1"), entry(first="2026-02-30"), entry(end="currency: GBP"))
    with pytest.raises(PriceBookInvalid, match=r"\(and 2 more\)$") as caught:
        load_price_file(path)

    assert [f"{path}:{line}" for line in (6, 12, 21)] == [fault.partition(": ")[0] for fault in caught.value.faults]


def test_usd_is_the_currency_whether_it_is_said_or_not(tmp_path: Path) -> None:
    """Saying it changes nothing."""
    said = load_price_file(book(tmp_path, entry(end="currency: USD"))).prices

    assert load_price_file(book(tmp_path, entry())).prices == said


async def test_a_book_that_was_imported_changes_nothing(parts: Parts) -> None:
    """The second import of the same book finds nothing to do."""
    async with parts.pool.acquire() as connection:
        assert 0 == (await bring_in(connection, load_price_file(PRICE_BOOK).prices)).changed


async def test_a_recorded_price_never_gets_other_figures(
    trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path
) -> None:
    """The import refuses, says what to do instead, and leaves the whole book as it was."""
    await bring_in(trial, prices_of(tmp_path, entry()))
    before = await read_prices(trial)
    older = entry(first="2020-01-01", end="effective_to: 2026-01-01")

    with pytest.raises(PriceChanged, match=r"openai/m@2026-01-01 .* a new entry with a later effective_from"):
        await bring_in(trial, prices_of(tmp_path, older, entry(price="1.000000001")))
    assert before == await read_prices(trial)


async def test_a_recorded_price_may_get_an_end(trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path) -> None:
    """A price change is an end for the old price and a new price from that day on."""
    await bring_in(trial, prices_of(tmp_path, entry()))
    changed = prices_of(tmp_path, entry(end="effective_to: 2026-02-01"), entry("2026-02-01", price="0.5"))

    assert [2, 0] == [(await bring_in(trial, changed)).changed for _ in range(2)]
    assert changed == await prices_of_m(trial)


async def test_a_new_price_ends_the_one_before_it(trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path) -> None:
    """A file with the new price alone is enough, and the old file, imported again, does not open the old one."""
    old, new = prices_of(tmp_path, entry()), prices_of(tmp_path, entry("2026-02-01", price="0.5"))
    await bring_in(trial, old)
    imported = await bring_in(trial, new)

    assert (["openai/m@2026-02-01"], ["openai/m@2026-01-01"]) == (
        [price.price_version for price in imported.plan.new],
        [price.price_version for price, _ in imported.plan.moved],
    )
    assert prices_of(tmp_path, entry(end="effective_to: 2026-02-01"), entry("2026-02-01", price="0.5")) == (
        await prices_of_m(trial)
    )
    assert [0, 0] == [(await bring_in(trial, prices)).changed for prices in (old, new)]


async def test_a_price_before_all_others_ends_where_the_next_begins(
    trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path
) -> None:
    """What is found out later about earlier days does not reach into the days that are priced."""
    await bring_in(trial, prices_of(tmp_path, entry()))
    await bring_in(trial, prices_of(tmp_path, entry("2025-06-01", price="3")))

    first, second = await prices_of_m(trial)
    assert (first.effective_to, second.effective_to) == (second.effective_from, None)


async def test_no_import_leaves_a_model_without_a_price_by_accident(
    trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path
) -> None:
    """A price for some weeks inside the time of another needs the one that follows; an end has to be said."""
    await bring_in(trial, prices_of(tmp_path, entry()))
    for_weeks = entry("2026-02-01", end="effective_to: 2026-03-01", price="0.5")
    with pytest.raises(PriceGap, match=r"openai/m@2026-01-01 holds on 2026-03-01 and after the import nothing would"):
        await bring_in(trial, prices_of(tmp_path, for_weeks))

    assert 3 == (await bring_in(trial, prices_of(tmp_path, for_weeks, entry("2026-03-01")))).changed
    retired = prices_of(tmp_path, entry("2026-03-01", end="effective_to: 2026-12-31"))
    assert 1 == (await bring_in(trial, retired)).changed


async def test_imports_at_the_same_time_see_each_other(parts: Parts, tmp_path: Path) -> None:
    """The second waits for the first and ends its price, or is ended by it."""
    first, second = (prices_of(tmp_path, entry(day)) for day in ("2026-02-01", "2026-03-01"))
    try:
        async with parts.pool.acquire() as one, parts.pool.acquire() as other, asyncio.TaskGroup() as group:
            async with one.transaction():
                await bring_in(one, first)
                waiting = group.create_task(bring_in(other, second))

                async def is_stuck() -> bool:
                    return waiting.done() or await someone_waits_for_a_lock(parts.pool)

                await until(is_stuck)
            await waiting
            earlier, later = await prices_of_m(one)
    finally:
        await parts.pool.execute("DELETE FROM prices WHERE target_model = 'm'")

    assert (earlier.effective_to, later.effective_to) == (later.effective_from, None)


@given(data=st.data())
def test_after_any_imports_each_model_has_one_price_at_a_time(data: st.DataObject) -> None:
    """Whatever books are imported in whatever order, no two prices hold at once and none holds for no time."""
    recorded: dict[str, Price] = {}
    for _ in range(data.draw(st.integers(1, 4))):
        days = sorted(data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True)))
        prices = [made(day, end) for day, end in zip(days, [*days[1:], data.draw(ends_after(days[-1]))], strict=True)]
        try:
            plan = plan_import(list(recorded.values()), prices)
        except ImportRefused:
            continue
        recorded |= {price.price_version: replace(price, effective_to=end) for price, end in plan.moved}
        recorded |= {price.price_version: price for price in plan.new}
        again = plan_import(list(recorded.values()), prices)
        assert ([], [], []) == (again.new, again.moved, again.times)

    ordered = sorted(recorded.values(), key=lambda price: price.effective_from)
    assert all(price.effective_to is None or price.effective_to > price.effective_from for price in ordered)
    assert all(a.effective_to is not None and a.effective_to <= b.effective_from for a, b in pairwise(ordered))


def made(first: int, end: int | None) -> Price:
    """Return a price of one model between two days, counted from the first of January."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    begins = start + timedelta(days=first)
    version = f"openai/m@{begins.date()}"
    until = None if end is None else start + timedelta(days=end)
    return Price(version, "openai", "m", begins, until, Rates(Decimal(1), Decimal(2)), None, "a page", "2026-01-01")


def ends_after(day: int) -> st.SearchStrategy[int | None]:
    """Return no end, or one after `day`."""
    return st.none() | st.integers(day + 1, day + 5)


def prices_of(folder: Path, *entries: str) -> list[Price]:
    """Write a price book and read it."""
    return load_price_file(book(folder, *entries)).prices


async def prices_of_m(connection: asyncpg.pool.PoolConnectionProxy) -> list[Price]:
    """Return the recorded prices of the model of these tests."""
    return [price for price in await read_prices(connection) if price.target_model == "m"]


async def bring_in(connection: asyncpg.pool.PoolConnectionProxy, prices: list[Price]) -> Import:
    """Import `prices` where no attempt is recorded yet."""
    return await import_price_book(connection, prices, may_backdate=False)


@pytest.fixture
async def trial(parts: Parts) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Yield a connection whose work is undone."""
    async with parts.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()
