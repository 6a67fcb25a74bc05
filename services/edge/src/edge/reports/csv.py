"""Reports as CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.problems import Problem

log = structlog.get_logger()

CSV_TYPE = "text/csv; charset=utf-8; header=present"
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# A spreadsheet reads a cell that begins with one of these as a formula, even inside quotes.
_FORMULA_BEGINNINGS = frozenset("=+-@＝＋－＠\t\r\n")  # noqa: RUF001 - the full-width forms count as well


def prefers_csv(accept: str) -> bool:
    """Return whether an `Accept` header names text/csv with a higher quality than JSON."""
    qualities = {"text/csv": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type in qualities:
            qualities[media_type] = _quality(parameters)
    return qualities["text/csv"] > qualities["application/json"]


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


@dataclass(frozen=True, slots=True)
class CsvTable:
    """Writes rows under named columns."""

    columns: Sequence[str]

    def header(self) -> bytes:
        """Write the names of the columns."""
        return self.lines([{name: name for name in self.columns}])

    def lines(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        """Write rows; None or a missing name is an empty cell, a boolean is `true` or `false`.

        A text that a spreadsheet would read as a formula, or that begins with an apostrophe, gets an apostrophe in
        front: removing it restores the text. Numbers stay as they are.
        """
        buffer = io.StringIO()
        csv.writer(buffer).writerows([_cell(row.get(name)) for name in self.columns] for row in rows)
        return buffer.getvalue().encode()


def csv_headers(name: str) -> dict[str, str]:
    """Return the headers of a file called `name`, which is plain ASCII."""
    return {"content-type": CSV_TYPE, "content-disposition": f'attachment; filename="{name}.csv"'}


class CsvStream(Response):
    """Sends a CSV file piece by piece.

    If the export fails midway the connection is aborted, so that a truncated file is never mistaken for a complete one.
    """

    def __init__(self, pieces: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        self._pieces = pieces
        self._head = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        await send({"type": "http.response.start", "status": 200, "headers": self._head})
        gone = asyncio.create_task(_client_gone(receive))
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return
        except Problem as problem:
            log.warning("export_aborted", reason=problem.code)
            return
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    beginning = (value.lstrip(" ") or " ")[0]
    return f"'{value}" if beginning in _FORMULA_BEGINNINGS or value.startswith("'") else value
