"""Numbers as vendors write them."""

from __future__ import annotations

# Beyond it a float has no exact neighbours.
_MAX_EXACT = 2.0**53
_MAX_DIGITS = 16


def whole_number(value: object) -> int | None:
    """Read a count or an index: 3, 3.0 and "3" are the same; None when it is no whole number of a bounded size."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT:
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return None
