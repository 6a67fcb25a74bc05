"""CSV files: every cell can be read back, no cell is a formula, and a truncated file is never complete."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.problems import Problem
from edge.reports.csv import CsvStream, CsvTable, prefers_csv

HEADERS = {"content-type": "text/csv"}
COLUMNS = ("first", "second", "third", "fourth", "fifth", "sixth")
TABLE = CsvTable(COLUMNS)


def row_of(*cells: object) -> dict[str, object]:
    """Name cells after the columns of `TABLE`, from the first on."""
    return dict(zip(COLUMNS, cells, strict=False))


def read(data: bytes) -> list[list[str]]:
    """Read a file as a strict reader does."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


@example([["=1+1", "@SUM(A1)", "\t=1", "'tis", "  -2+3", "a,b"], ['say "hi"', "two\r\nlines", "＝1", "-", "", "x"]])  # noqa: RUF001
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=6, max_size=6), max_size=3))
def test_texts_can_be_read_back_and_none_is_a_formula(rows: list[list[str]]) -> None:
    """A text that begins like a formula has an apostrophe in front, unless it is a number."""
    read_back = read(TABLE.lines(row_of(*row) for row in rows))

    assert rows == [[cell.removeprefix("'") for cell in row] for row in read_back]
    for row in read_back:
        for cell in row:
            assert cell.lstrip(" ")[:1] not in set("=+@\t\r\n") or not cell.strip(" ")
            assert not cell.startswith("-") or cell[1:].replace(".", "", 1).isdigit()


def test_numbers_booleans_and_none_are_plain() -> None:
    """A negative amount of money is a number; None is an empty cell."""
    row = row_of("-0.500000000", 12, None, True, False, 0.31)

    assert b"-0.500000000,12,,true,false,0.31\r\n" == TABLE.lines([row])


def test_cells_are_placed_by_the_names_of_their_columns() -> None:
    """Whatever order a row has; a cell that it lacks is empty, one without a column is left out."""
    table = CsvTable(["name", "cost"])

    assert b"name,cost\r\n" == table.header()
    assert b"ada,1\r\n,2\r\n" == table.lines([{"cost": 1, "name": "ada"}, {"more": 3, "cost": 2}])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/csv", True),
        ("TEXT/CSV; header=present", True),
        ("text/html, text/csv;q=0.9, */*;q=0.1", True),
        ("application/json;q=0.4, text/csv;q=0.5", True),
        ("application/json, text/csv", False),
        ("application/json, text/csv;q=0.1", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_csv_is_sent_to_clients_that_prefer_it(accept: str, expected: bool) -> None:
    """By the qualities of the header; a client that does not name text/csv gets JSON."""
    assert expected == prefers_csv(accept)


async def pieces(count: int, *, then: BaseException | None = None) -> AsyncIterator[bytes]:
    """Yield pieces of a file, then fail."""
    for number in range(count):
        yield TABLE.lines([row_of(number, "x")])
    if then is not None:
        raise then


async def sent(stream: CsvStream, *, gone: bool = False) -> list[dict[str, object]]:
    """Return the ASGI messages of the response."""
    messages: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        messages.append(message)
        await asyncio.sleep(0)

    await stream({"type": "http"}, receive, send)  # type: ignore[arg-type]
    return messages


async def test_a_whole_file_has_an_end() -> None:
    """Status, pieces and end."""
    messages = await sent(CsvStream(pieces(3), HEADERS))

    assert ["http.response.start", *["http.response.body"] * 4] == [message["type"] for message in messages]
    assert [True, True, True, False] == [message["more_body"] for message in messages[1:]]


async def test_a_file_that_fails_midway_has_no_end() -> None:
    """The response is never completed: the server aborts the connection, and the download fails."""
    messages = await sent(CsvStream(pieces(2, then=Problem("ledger_unavailable", "away")), HEADERS))

    assert [True, True] == [message["more_body"] for message in messages[1:]]


async def test_nothing_more_is_fetched_once_the_client_is_gone() -> None:
    """It stops after the current piece."""
    messages = await sent(CsvStream(pieces(1000), HEADERS), gone=True)

    assert len(messages) < 5
