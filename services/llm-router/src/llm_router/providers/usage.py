"""What a provider says it counted: numbers however they are written, and units that nobody here knows.

Each wire turns these counts into a `Usage` of its own (`openai/usage.py`, `anthropic/usage.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from llm_router.providers.numbers import whole_number
from pricing.usage import Usage

Json = dict[str, Any]

# A larger count can be none: no answer has so much.
MAX_COUNT = 10**12 - 1
_MAX_DEPTH = 2
_MAX_NAMES = 200
_MAX_UNPRICED = 5
# A longer name is no vendor's; what it counts may be billed all the same.
_MAX_NAME_CHARACTERS = 200
_LONG_NAME = "unknown_tokens"

# How vendors call what they bill. What else stands in a `usage` object is times, costs and the like.
_BILLED_UNIT = re.compile(
    r"(?:.+_)?(?:tokens|requests|queries|searches|seconds|minutes|characters|images|pages|pixels|videos)|num_.+"
)
_NAME = re.compile(r"[a-z0-9_.:-]{1,60}", re.IGNORECASE)
_TIER = re.compile(r"[a-z0-9_.:-]{1,40}")


class Counting(Protocol):
    """Counts one answer as the vendor of its target does."""

    total_disagrees: tuple[int, int] | None
    """The vendor's own total and the sum of its parts, when they are not the same; of the last `known`."""

    def known(self) -> Usage | None:
        """Return what is known so far, None when that is nothing."""


class Counts:
    """The numbers of a `usage` object by their dotted names.

    They are cumulative and never fall: a later 0 changes nothing.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._impossible: set[str] = set()

    def add(self, usage: Json) -> None:
        """Take the counts of `usage`, which may have been reported before."""
        self._add(usage, "", 0)

    def _add(self, usage: Json, prefix: str, depth: int) -> None:
        # Some vendors send usage with every chunk: no generator, no call for a plain number.
        counts = self._counts
        for key, value in usage.items():
            name = prefix + key if prefix else key
            if type(value) is not int:
                if isinstance(value, dict):
                    if depth < _MAX_DEPTH:
                        self._add(value, f"{name}.", depth + 1)
                    continue
                number = whole_number(value)
                if number is None:
                    continue
                value = number
            if value > MAX_COUNT:
                if len(self._impossible) < _MAX_NAMES:
                    self._impossible.add(name if len(name) <= _MAX_NAME_CHARACTERS else _LONG_NAME)
            elif value > counts.get(name, -1) and (name in counts or len(counts) < _MAX_NAMES):
                counts[name if len(name) <= _MAX_NAME_CHARACTERS else _LONG_NAME] = value

    def first(self, *names: str) -> int | None:
        """Return the count of the first of `names` that has one."""
        for name in names:
            count = self._counts.get(name)
            if count is not None:
                return count
        return None

    def unknown_units(self, known: frozenset[str], totals: frozenset[str]) -> list[str]:
        """Return the names of what was billed and is not among the `known`, or by a count that can be none.

        Such a count of one of the `totals` and their parts is only unknown: it is estimated, or costs as the rest does.
        """
        unknown = {name for name, count in self._counts.items() if count and name not in known}
        unknown |= self._impossible - totals
        return sorted(name for name in unknown if _BILLED_UNIT.fullmatch(name.rpartition(".")[2]))


def tier_name(value: object) -> str | None:
    """Return a tier, speed or region as a name, `unknown` for one that is no plain word; None when there is none."""
    if value is None or value == "":
        return None
    text = value.lower() if isinstance(value, str) else ""
    return text if _TIER.fullmatch(text) else "unknown"


def joined(names: Iterable[str]) -> str | None:
    """Return the names of units for `Usage.unpriced_units`, bounded; None for none."""
    plain = [name if _NAME.fullmatch(name) else "unknown" for name in names]
    return ",".join(dict.fromkeys(plain[:_MAX_UNPRICED])) or None


def is_empty(usage: Usage) -> bool:
    """Tell whether nothing at all is known."""
    return usage == _NOTHING


_NOTHING = Usage()
