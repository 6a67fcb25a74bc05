"""A request body as bytes, read as its contract wants it: JSON of a bounded shape, then the contract's own checks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from edge.contracts.contract import Contract
from edge.contracts.validation import JsonBody
from edge.conversation import Content
from edge.problems import Problem

# An object of two bytes takes 64 in memory, so what is counted is values, not bytes. The largest honest body is 300,000
# tokens for vectors (OpenAI, "Create embeddings"), and has few objects.
_MAX_VALUES = 500_000
_MAX_OBJECTS = 100_000
# A shorter body cannot have so many values that it matters.
_UNCOUNTED_BYTES = 128 * 1024
# Also one without an end: a pattern that can fail is tried anew at each quotation mark.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def read_content(contract: Contract, path: str, raw: bytes, headers: Mapping[str, str]) -> Content:
    """Return what the body `raw` asks for; Problem (400) when it is not JSON or not what the contract takes."""
    if len(raw) > _UNCOUNTED_BYTES:
        _check_shape(raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(
            "invalid_json", f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    return contract.read(path, JsonBody(raw, value), headers)


def _check_shape(raw: bytes) -> None:
    """Refuse a body with too many values before anything is made of them."""
    if _is_within_bounds(raw) or _is_within_bounds(_STRING.sub(b"", raw)):
        return
    raise Problem(
        "invalid_request",
        f"the body has too many parts: at most {_MAX_OBJECTS} objects and lists, and {_MAX_VALUES} values, are allowed",
    )


def _is_within_bounds(raw: bytes) -> bool:
    """Count what begins a value; in a text that still has its strings, at least as much as there is."""
    objects = raw.count(b"{") + raw.count(b"[")
    return objects <= _MAX_OBJECTS and objects + raw.count(b",") <= _MAX_VALUES
