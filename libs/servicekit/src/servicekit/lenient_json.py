"""JSON as it really comes: what no reader could pass on is replaced, so that one bad character costs no answer."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

# PostgreSQL stores no NUL and UTF-8 has no lone surrogates; both can be written as escapes in a JSON text.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_BACKSLASH = ord("\\")
# Mending takes microseconds for each value. A text with more than this is not mended.
_MAX_MENDED_PARTS = 200_000
# JSON can be read deeper than orjson writes it, and whoever passes it on wraps it in some more levels.
_MAX_DEPTH = 200
_WRITABLE_DEPTH = 254
# 64 bits, with a sign or without.
_INTEGERS = range(-(2**63), 2**64)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def loads(data: bytes) -> Any:
    """Read a JSON text, so that it can be written again also as a part of another.

    Lone surrogates, NUL and bytes that are no UTF-8 become U+FFFD, NaN and infinity None, integers of more than 64 bits
    floats. ValueError when it is no JSON, is nested too deeply, or has very many values and something to mend. As fast
    as orjson for what orjson can read.
    """
    # One byte is found many times faster than several, and most texts have no escape at all.
    if _BACKSLASH in data and b"\\u0000" in data:
        value = _mended(data)
    else:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = _mended(data)
    # Most texts are too short to be deep, or have too few brackets.
    if len(data) > 2 * _MAX_DEPTH and data.count(b"[") + data.count(b"{") > _MAX_DEPTH:
        _check_depth(value)
    return value


def clean_text(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate and NUL."""
    return _UNUSABLE.sub(_REPLACEMENT, text)


def _mended(data: bytes) -> Any:
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _MAX_MENDED_PARTS:
        raise ValueError("not JSON, or to be mended in too many places")
    try:
        text = data.decode("utf-8", "replace")
        return _cleaned(json.loads(text, strict=False, parse_constant=lambda _: None))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(each) for name, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and value not in _INTEGERS:
        return _as_float(value)
    return value


def _as_float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _check_depth(value: Any) -> None:
    for _ in range(_WRITABLE_DEPTH - _MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise ValueError("nested too deeply") from error
