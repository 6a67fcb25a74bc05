"""What a provider says, made fit for the record of an attempt: nothing that it says keeps the ledger from recording.

PostgreSQL takes no NUL in a text, protobuf no lone surrogate, and neither of them any number. Texts are cut and their
characters replaced; a number that cannot be one is unknown, never a smaller one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm_router.providers.events import MAX_NAME_CHARACTERS
from pricing.usage import FIELDS, TEXT_FIELDS, Usage

# No request takes so many tokens. The ledger refuses 100 times as many, as the cost would not fit its column.
MAX_TOKENS = 10**10
_MAX_COUNTS = {"web_search_requests": 10**6, "code_execution_seconds": 10**6}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def recordable_text(value: object) -> str:
    """Return a name, an id or a fingerprint as it is recorded; empty when it is no text."""
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable():
        return value[:MAX_NAME_CHARACTERS]
    cut = value[:MAX_NAME_CHARACTERS]
    return "".join(each if each.isprintable() else _REPLACEMENT for each in cut)


def recordable_status(value: object) -> int:
    """Return an HTTP status; 0 when it is none."""
    return value if _is_count(value, 999) else 0  # type: ignore[return-value]


def recordable_usage(usage: Usage) -> Usage:
    """Return the counts; one that is no count, or more than any request takes, is unknown.

    Its name is then among the units that no price makes a cost of: left out, it would make the cost a smaller one.
    """
    impossible = [
        name
        for name in FIELDS
        if name not in TEXT_FIELDS
        and (count := getattr(usage, name)) is not None
        and not _is_count(count, max_count(name))
    ]
    texts = {name: text for name in TEXT_FIELDS if (text := getattr(usage, name)) is not None}
    if not impossible and all(text == recordable_text(text) for text in texts.values()):
        return usage
    fit: dict[str, Any] = {name: recordable_text(text) for name, text in texts.items()} | dict.fromkeys(impossible)
    if impossible:
        fit["unpriced_units"] = recordable_text(",".join([*impossible, *filter(None, [fit.get("unpriced_units")])]))
    return replace(usage, **fit)


def max_count(name: str) -> int:
    """Return the largest count that can be one, of a field of usage."""
    return _MAX_COUNTS.get(name, MAX_TOKENS)


def _is_count(value: object, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum
