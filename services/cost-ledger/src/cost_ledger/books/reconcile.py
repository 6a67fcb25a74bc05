"""Compares what a provider says was used with what the ledger holds, by UTC day and model.

A ledger row belongs to the name in the export that equals its `response_model`, else its `target_model`, else the only
name that differs from one of them by a date at its end alone (`gpt-6-luna-2026-09-01`, `claude-haiku-5-5-20261007`).
Days are those on which attempts started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import asyncpg

from cost_ledger.books.usage_export.export import FIGURES, Figures, ModelDay, UsageExport, no_usage
from cost_ledger.books.usage_export.files import Vendor
from cost_ledger.rows import COUNTING_COST, JOIN_NEWEST_CORRECTION

_DATE_AT_END = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_USED = f"""
SELECT (a.started_at AT TIME ZONE 'UTC')::date AS day, a.target_model, a.response_model,
    a.usage_source = 'estimated' AS is_estimated, count(*) AS requests,
    coalesce(sum(a.input_tokens), 0)::int8 AS input_tokens,
    coalesce(sum(a.provider_cache_read_input_tokens), 0)::int8 AS provider_cache_read_input_tokens,
    coalesce(sum(a.provider_cache_write_input_tokens), 0)::int8 AS provider_cache_write_input_tokens,
    coalesce(sum(a.output_tokens), 0)::int8 AS output_tokens,
    coalesce(sum({COUNTING_COST}), 0) AS cost_usd, count(*) FILTER (WHERE ({COUNTING_COST}) IS NULL) AS unpriced
FROM attempts AS a {JOIN_NEWEST_CORRECTION}
WHERE a.provider = $1 AND a.started_at >= $2 AND a.started_at < $3 AND a.has_usage
GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - words of our own


@dataclass(slots=True)
class LedgerUse:
    """What the ledger holds of one day and model."""

    figures: Figures = field(default_factory=no_usage)
    estimated: Figures = field(default_factory=no_usage)
    """The part of `figures` that was estimated because the provider reported no usage."""
    unpriced: int = 0
    """Attempts that are in no cost."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one day and model, by both books; None: the export does not say."""

    day: date
    model: str
    figure: str
    provider_says: int | Decimal
    ledger_says: int | Decimal

    @property
    def difference(self) -> int | Decimal:
        """Return by how much the ledger has more."""
        return self.ledger_says - self.provider_says

    def is_within(self, tolerance_percent: Decimal) -> bool:
        """Whether the difference is at most that share of what the provider says."""
        return abs(Decimal(self.difference)) * 100 <= tolerance_percent * abs(Decimal(self.provider_says))


@dataclass
class Reconciliation:
    """Both books side by side."""

    first: date
    last: date
    lines: list[Line] = field(default_factory=list)
    estimated: dict[ModelDay, Figures] = field(default_factory=dict)
    unpriced: int = 0
    matched: dict[str, set[str]] = field(default_factory=dict)
    """Which names of the ledger were counted under another name, by that name."""


async def reconcile(
    connection: asyncpg.Connection, vendor: Vendor, export: UsageExport, first: date | None, last: date | None
) -> Reconciliation:
    """Compare the days of the export, or those of them from `first` to `last` (both included)."""
    days = [key.day for key in export.figures]
    first, last = first or min(days), last or max(days)
    result = Reconciliation(first, last)
    matcher = NameMatcher({key.model for key in export.figures})
    rows = await connection.fetch(_USED, vendor, _midnight(first), _midnight(last) + timedelta(days=1))
    ledger = _ledger_use(rows, matcher, result)
    reported = {key: figures for key, figures in export.figures.items() if first <= key.day <= last}
    # An export of usage alone, or of costs alone, says nothing of the other; a model that is not in it used nothing.
    names = [name for name in FIGURES if any(getattr(each, name) is not None for each in reported.values())]
    for key in sorted({*reported, *ledger}):
        use = ledger.get(key, LedgerUse())
        result.lines += _compare(key, reported.get(key), use.figures, names)
        result.unpriced += use.unpriced
        if use.estimated.requests:
            result.estimated[key] = use.estimated
    return result


class NameMatcher:
    """Finds the name in an export for a model that the ledger knows by one or two names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_stem: dict[str, set[str]] = {}
        for name in self._names:
            self._by_stem.setdefault(_stem(name), set()).add(name)

    def name_of(self, target_model: str, response_model: str) -> str:
        """Return the export's name; the response model, else the target model, when no name fits for certain."""
        own = [name for name in (response_model, target_model) if name]
        for name in own:
            if name in self._names:
                return name
        for name in own:
            candidates = self._by_stem.get(_stem(name), set())
            if len(candidates) == 1:
                return next(iter(candidates))
        return own[0] if own else ""


def _ledger_use(
    rows: Sequence[asyncpg.Record], matcher: NameMatcher, result: Reconciliation
) -> dict[ModelDay, LedgerUse]:
    ledger: dict[ModelDay, LedgerUse] = {}
    for row in rows:
        model = matcher.name_of(row["target_model"], row["response_model"])
        for name in {row["target_model"], row["response_model"]} - {model, ""}:
            result.matched.setdefault(model, set()).add(name)
        use = ledger.setdefault(ModelDay(row["day"], model), LedgerUse())
        figures = Figures(**{name: row[name] for name in FIGURES})
        use.figures.add(figures)
        use.unpriced += row["unpriced"]
        if row["is_estimated"]:
            use.estimated.add(figures)
    return ledger


def _compare(key: ModelDay, reported: Figures | None, held: Figures, names: Sequence[str]) -> list[Line]:
    """Compare the figures that the export has for this row; all of `names` when the model is not in it at all."""
    lines = []
    for name in names:
        value = 0 if reported is None else getattr(reported, name)
        if value is not None:
            lines.append(Line(key.day, key.model, name, value, getattr(held, name)))
    return lines


def _stem(name: str) -> str:
    return _DATE_AT_END.sub("", name)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
