"""Reports as CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.problems import Problem

log = structlog.get_logger()

CSV_TYPE = "text/csv; charset=utf-8; header=present"
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# A spreadsheet takes a cell that begins with one of these for a formula, whatever quotes are around it.
_FORMULA_BEGINNINGS = frozenset("=+-@＝＋－＠\t\r\n")  # noqa: RUF001 - the wide ones count as well


def prefers_csv(accept: str) -> bool:
    """Tell whether an `Accept` header names text/csv, and JSON not before it."""
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


def csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    """Write rows; None is an empty cell, truth is `true` or `false`.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, and so does one that begins with an
    apostrophe: whoever takes the first one away has the text as it was. Numbers stay as they are.
    """
    buffer = io.StringIO()
    csv.writer(buffer).writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue().encode()


def csv_headers(name: str) -> dict[str, str]:
    """Return the headers of a file called `name`, which is plain ASCII."""
    return {"content-type": CSV_TYPE, "content-disposition": f'attachment; filename="{name}.csv"'}


class CsvStream(Response):
    """Sends pieces of a CSV file as they come.

    When one cannot be had the connection closes without an end, so that no client takes the part for the whole.
    """

    def __init__(self, pieces: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        self._pieces = pieces
        self._head = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await send({"type": "http.response.start", "status": 200, "headers": self._head})
        gone = asyncio.create_task(_client_gone(receive))
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return
        except Problem as problem:
            log.warning("export_broken_off", reason=problem.code)
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
