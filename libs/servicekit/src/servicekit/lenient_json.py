"""JSON as it really comes: what no reader could pass on is replaced, so that one bad character costs no answer."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

# PostgreSQL stores no NUL and UTF-8 has no lone surrogates; both can be written as escapes in a JSON text.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_BACKSLASH = ord("\\")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def loads(data: bytes) -> Any:
    """Read a JSON text. Lone surrogates, NUL and bytes that are no UTF-8 become U+FFFD, NaN and infinity None.

    ValueError when it is no JSON, or is nested too deeply. As fast as orjson for what orjson can read.
    """
    # One byte is found many times faster than several, and most texts have no escape at all.
    if _BACKSLASH not in data or b"\\u0000" not in data:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    try:
        text = data.decode("utf-8", "replace")
        return _cleaned(json.loads(text, strict=False, parse_constant=lambda _: None))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def clean_text(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate and NUL."""
    return _UNUSABLE.sub(_REPLACEMENT, text)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(each) for name, each in value.items()}
    return value
