"""The price book as a file and as a table: faults in one line, figures exact, history unchangeable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from cost_ledger.errors import PriceBookInvalid, PriceChanged
from cost_ledger.price_book import import_price_book, load_price_book, read_prices
from ledger_process import PRICE_BOOK, Parts

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
        ("", "the file: "),
        ("prices: []", "prices: "),
        ("prices: [1]", "prices.0: "),
        ("prices: [\n", "line 2: not YAML: "),
        ("prices: \x00", "not YAML: "),
        ("prices:" + entry(first="2026-02-30"), "not YAML: day"),
        ("prices:" + entry(first="someday"), "prices.0.effective_from: "),
        ("prices:" + entry(price="-1"), "prices.0.rates.input: "),
        ("prices:" + entry(price=".nan"), "prices.0.rates.input: "),
        ("prices:" + entry(price="cheap"), "prices.0.rates.input: "),
        ("prices:" + entry(price="true"), "prices.0.rates.input: "),
        ("prices:" + entry(price="0.0000000001"), "prices.0.rates.input: "),
        ("prices:" + entry() + entry(first="2026-02-01", price=""), "prices.1.rates.input: "),
        ("prices:" + entry(end="unit: token"), "prices.0.unit: "),
        ("prices:" + entry(end="effective_to: 2026-01-01"), "openai/m@2026-01-01: effective_to is not after"),
        ("prices:" + entry() + entry(), "openai/m@2026-01-01 is still in force"),
        ("prices:" + entry() + entry(first="2026-02-01"), "is still in force when openai/m@2026-02-01 begins"),
        (
            "prices:" + entry(end="effective_to: 2026-02-02") + entry(first="2026-02-01"),
            "is still in force when openai/m@2026-02-01 begins",
        ),
    ],
)
def test_a_bad_book_is_refused_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    """The line names the file, the entry and the fault."""
    path = tmp_path / "book.yaml"
    path.write_text(text)
    with pytest.raises(PriceBookInvalid) as caught:
        load_price_book(path)

    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert fault in line
    assert "\n" not in line


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_book_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, and one that is no text."""
    path = tmp_path / "book.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PriceBookInvalid, match=r"^[^\n]*book\.yaml: [^\n]+$"):
        load_price_book(path)


@pytest.mark.parametrize("written", ["0.1", "0.000000001", "1.253", "99999.999999999", "1e-7", "'0.30'", "3"])
def test_a_figure_is_exactly_what_was_written(tmp_path: Path, written: str) -> None:
    """A YAML float goes through no binary fraction on its way."""
    [price] = load_price_book(book(tmp_path, entry(price=written)))

    assert Decimal(written.strip("'")) == price.rates.input


def test_a_price_ends_on_the_day_the_next_begins(tmp_path: Path) -> None:
    """No gap and no overlap: effective_to is the first day on which a price no longer holds."""
    path = book(tmp_path, entry(first="2026-02-01"), entry(end="effective_to: 2026-02-01"))

    later, earlier = load_price_book(path)
    assert earlier.effective_to == later.effective_from


async def test_the_table_gives_back_what_the_file_says(parts: Parts) -> None:
    """Every figure, date and source, with tiers and without, survives the table."""
    expected = {price.price_version: price for price in load_price_book(PRICE_BOOK)}
    async with parts.pool.acquire() as connection:
        recorded = {price.price_version: price for price in await read_prices(connection)}

    assert expected == recorded


async def test_a_book_that_was_imported_changes_nothing(parts: Parts) -> None:
    """The second import of the same book finds nothing to do."""
    async with parts.pool.acquire() as connection:
        assert 0 == await import_price_book(connection, load_price_book(PRICE_BOOK))


async def test_a_recorded_price_never_gets_other_figures(
    trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path
) -> None:
    """The import refuses, says what to do instead, and leaves the whole book as it was."""
    await import_price_book(trial, load_price_book(book(tmp_path, entry())))
    before = await read_prices(trial)
    older = entry(first="2020-01-01", end="effective_to: 2026-01-01")
    changed = load_price_book(book(tmp_path, older, entry(price="1.000000001")))

    with pytest.raises(PriceChanged, match=r"openai/m@2026-01-01 .* a new entry with a later effective_from"):
        await import_price_book(trial, changed)
    assert before == await read_prices(trial)


async def test_a_recorded_price_may_get_an_end(trial: asyncpg.pool.PoolConnectionProxy, tmp_path: Path) -> None:
    """A price change is an end for the old price and a new price from that day on."""
    await import_price_book(trial, load_price_book(book(tmp_path, entry())))
    changed = load_price_book(book(tmp_path, entry(end="effective_to: 2026-02-01"), entry("2026-02-01", price="0.5")))

    assert 2 == await import_price_book(trial, changed)
    assert 0 == await import_price_book(trial, changed)
    assert changed == [price for price in await read_prices(trial) if price.target_model == "m"]


@pytest.fixture
async def trial(parts: Parts) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Yield a connection whose work is undone."""
    async with parts.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()
