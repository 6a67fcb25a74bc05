"""Columns from records: a record's fields name the columns of a table and give their types, and nothing else does.

Whatever becomes SQL text here is a name of our own; values always travel as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from types import NoneType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import asyncpg

from pricing.usage import Usage

Columns = Mapping[str, str]
"""Names of columns and their PostgreSQL types, in the order of the values that are written to them."""

_POSTGRES_TYPES = {
    UUID: "uuid",
    str: "text",
    bytes: "bytea",
    bool: "bool",
    # The tables have some of them as integer; PostgreSQL refuses what is too large for that.
    int: "int8",
    Decimal: "numeric",
    datetime: "timestamptz",
    date: "date",
    timedelta: "interval",
}


def columns_of(record: type, prefix: str = "") -> dict[str, str]:
    """Return the columns that the fields of a dataclass or NamedTuple name; `X | None` is a column that may be NULL."""
    return {f"{prefix}{name}": _POSTGRES_TYPES[_plain(hint)] for name, hint in get_type_hints(record).items()}


def _plain(hint: Any) -> Any:
    [plain] = [each for each in get_args(hint) or (hint,) if each is not NoneType]
    return plain


USAGE = columns_of(Usage)
NO_USAGE = (None,) * len(USAGE)
token_counts = attrgetter(*USAGE)
"""Returns the counts of a Usage in the order of USAGE."""


def usage_in(row: asyncpg.Record, prefix: str = "") -> Usage:
    """Read the usage columns of a row."""
    return Usage(**{name: row[f"{prefix}{name}"] for name in USAGE})


def insert_rows(table: str, columns: Columns, conflict: str = "") -> str:
    """Return a statement that inserts rows given as one array per column."""
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) {conflict}"  # noqa: S608


def by_column(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return the arguments of `insert_rows`: the values of each column."""
    return [list(column) for column in zip(*rows, strict=True)]
