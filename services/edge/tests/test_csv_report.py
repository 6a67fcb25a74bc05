"""CSV files: every cell comes back as it was, no cell is a formula, and a part never passes for the whole."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.problems import Problem
from edge.reports.csv import CsvStream, csv_lines, prefers_csv

HEADERS = {"content-type": "text/csv"}


def read(data: bytes) -> list[list[str]]:
    """Read a file as a strict reader does."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


@example([["=1+1", "@SUM(A1)", "\t=1", "'tis", "  -2+3", "a,b", 'say "hi"', "two\r\nlines", "＝1", "-", ""]])  # noqa: RUF001
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=2, max_size=3), max_size=3))
def test_texts_come_back_without_their_apostrophe_and_none_is_a_formula(rows: list[list[str]]) -> None:
    """Whatever a user is called: what begins like a formula stands behind an apostrophe, and only numbers do not."""
    read_back = read(csv_lines(rows))

    assert rows == [[cell.removeprefix("'") for cell in row] for row in read_back]
    for row in read_back:
        for cell in row:
            assert cell.lstrip(" ")[:1] not in set("=+@\t\r\n") or not cell.strip(" ")
            assert not cell.startswith("-") or cell[1:].replace(".", "", 1).isdigit()


def test_numbers_absence_and_truth_are_plain() -> None:
    """Money below zero is a number; None is an empty cell."""
    assert b"-0.500000000,12,,true,false,0.31\r\n" == csv_lines([["-0.500000000", 12, None, True, False, 0.31]])


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
def test_csv_is_sent_to_who_prefers_it(accept: str, expected: bool) -> None:
    """By the qualities of the header; nobody gets a file who did not name it."""
    assert expected == prefers_csv(accept)


async def pieces(count: int, *, then: BaseException | None = None) -> AsyncIterator[bytes]:
    """Yield pieces of a file, then fail."""
    for number in range(count):
        yield csv_lines([[number, "x"]])
    if then is not None:
        raise then


async def sent(stream: CsvStream, *, gone: bool = False) -> list[dict[str, object]]:
    """Return the messages that a client's server is given."""
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
    """The status, the pieces, the end."""
    messages = await sent(CsvStream(pieces(3), HEADERS))

    assert ["http.response.start", *["http.response.body"] * 4] == [message["type"] for message in messages]
    assert [True, True, True, False] == [message["more_body"] for message in messages[1:]]


async def test_a_file_that_breaks_off_has_no_end() -> None:
    """The response is never completed: a server closes the connection, and the download fails."""
    messages = await sent(CsvStream(pieces(2, then=Problem("ledger_unavailable", "away")), HEADERS))

    assert [True, True] == [message["more_body"] for message in messages[1:]]


async def test_nothing_is_fetched_for_a_client_that_has_gone() -> None:
    """It stops after the piece under way."""
    messages = await sent(CsvStream(pieces(1000), HEADERS), gone=True)

    assert len(messages) < 5
