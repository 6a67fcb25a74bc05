"""What a provider says was used, by UTC day and model, whichever export it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from typing import NamedTuple


@dataclass(slots=True)
class Figures:
    """What was used, inclusive totals as in the ledger; None: the export does not say."""

    requests: int | None = None
    input_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None

    def add(self, other: Figures) -> None:
        """Add `other`; a figure that only one of the two has is taken from that one."""
        for name in FIGURES:
            own, more = getattr(self, name), getattr(other, name)
            if more is not None:
                setattr(self, name, more if own is None else own + more)


def no_usage() -> Figures:
    """Return figures of nothing, as opposed to unknown ones."""
    return Figures(
        requests=0,
        input_tokens=0,
        provider_cache_read_input_tokens=0,
        provider_cache_write_input_tokens=0,
        output_tokens=0,
        cost_usd=Decimal(0),
    )


FIGURES = tuple(each.name for each in fields(Figures))


class ModelDay(NamedTuple):
    """What figures are added up by; the model's name is that of the export."""

    day: date
    model: str


class UsageRow(NamedTuple):
    """One row of an export."""

    model_day: ModelDay
    figures: Figures


@dataclass
class UsageExport:
    """The usage of one provider."""

    figures: dict[ModelDay, Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What of the files was not used, and why."""

    def add(self, row: UsageRow) -> None:
        """Count one row."""
        self.figures.setdefault(row.model_day, Figures()).add(row.figures)
