"""The fields of a row of an export: days, counts and amounts, or the reason why a field is none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cost_ledger.books.usage_export.export import FIGURES, Figures, ModelDay, UsageRow

Row = Mapping[str, Any]
RowReader = Callable[[Row], Iterator[UsageRow]]
"""Yields what a row says was used: nothing for an empty one. UnusableExport."""

_TOO_LARGE = 10**18


class UnusableExport(ValueError):
    """Why a row, or a file, cannot be used."""


@dataclass(frozen=True)
class CsvTable:
    """One kind of CSV: which columns it needs and uses, and how a row is read."""

    kind: str
    needed: frozenset[str]
    used: frozenset[str]
    read: RowReader


@dataclass(frozen=True)
class VendorFormat:
    """The exports of one provider."""

    tables: tuple[CsvTable, ...]
    read_json: RowReader
    ignored: frozenset[str]
    """Known columns that say by what the rows are split, or what a total contains already."""


def used(day: date, model: object, figures: Figures) -> Iterator[UsageRow]:
    """Yield the row unless it is an empty bucket; a row of all models cannot be compared by model."""
    if not any(getattr(figures, name) for name in FIGURES):
        return
    if not isinstance(model, str) or not model:
        raise UnusableExport("no model: the export must be grouped by model (costs: by line item)")
    yield UsageRow(ModelDay(day, model), figures)


def unix_day(row: Row, name: str) -> date:
    """Return the UTC day of a Unix time."""
    try:
        return datetime.fromtimestamp(int(Decimal(str(row[name]))), UTC).date()
    except (InvalidOperation, ValueError, OverflowError, OSError):
        raise UnusableExport(f"{name} {_quoted(row[name])} is no Unix time") from None


def iso_day(row: Row, name: str) -> date:
    """Return the UTC day of a day or time in ISO 8601."""
    try:
        moment = datetime.fromisoformat(str(row.get(name)))
    except ValueError:
        raise UnusableExport(f"{name} {_quoted(row.get(name))} is no day") from None
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()


def count(row: Row, name: str) -> int | None:
    """Return a count; None when the export has no such column or leaves it empty."""
    number = _number(row, name, "count")
    if number is None:
        return None
    if number != number.to_integral_value() or number < 0:
        raise UnusableExport(f"{name} {_quoted(row[name])} is no count")
    return int(number)


def amount(row: Row, name: str, currency: object) -> Decimal | None:
    """Return an amount of USD; None when the export has no such column or leaves it empty."""
    number = _number(row, name, "amount")
    if number is not None and str(currency).upper() != "USD":
        raise UnusableExport(f"currency {_quoted(currency)}: only USD can be compared")
    return number


def sum_of(counts: Iterable[int | None]) -> int | None:
    """Add up the counts that the export has; None when it has none of them."""
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def _number(row: Row, name: str, what: str) -> Decimal | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    # A comparison with NaN would raise.
    if not number.is_finite() or abs(number) >= _TOO_LARGE:
        raise UnusableExport(f"{name} {_quoted(value)} is no {what}")
    return number


def _quoted(value: object) -> str:
    return repr(value if len(str(value)) <= 40 else str(value)[:40] + "…")
