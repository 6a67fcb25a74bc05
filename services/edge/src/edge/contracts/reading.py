"""A request body as bytes, read as its contract wants it: JSON of a bounded shape, then the contract's own checks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

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
_MAX_NAME_LENGTH = 100
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
    _check_names(raw)
    return contract.read(path, JsonBody(raw, value), headers)


def _check_names(raw: bytes) -> None:
    """Refuse an object with a name that is there twice.

    A body goes on as it came where a target speaks its contract: what was looked at here and what is read there could
    be two different prompts.
    """
    try:
        _NAMES.decode(raw.decode())
    except RecursionError as error:
        raise Problem("invalid_request", "the body is nested too deeply") from error


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    """Keep nothing of an object that is as it should be."""
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise Problem("invalid_json", f"the body has the name {name[:_MAX_NAME_LENGTH]!r} twice in one object")
        seen.add(name)


# Numbers are not looked at, and `float` reads them in linear time.
_NAMES = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_int=float)


def _check_shape(raw: bytes) -> None:
    """Refuse a body with too many values before anything is made of them."""
    # All signs first, also those in texts: a body seldom has so many that it takes a second look.
    if _are_too_many(*_signs(raw, 0, len(raw))) and _has_too_many(raw):
        raise Problem(
            "invalid_request",
            f"the body has too many parts: at most {_MAX_OBJECTS} objects and lists, and {_MAX_VALUES} values,"
            " are allowed",
        )


def _has_too_many(raw: bytes) -> bool:
    """Count what is outside of strings, until it is too much."""
    objects = commas = start = 0
    for end, next_start in chain((string.span() for string in _STRING.finditer(raw)), [(len(raw), len(raw))]):
        more_objects, more_commas = _signs(raw, start, end)
        objects, commas, start = objects + more_objects, commas + more_commas, next_start
        if _are_too_many(objects, commas):
            return True
    return False


def _signs(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """Count what begins an object or a list, and what stands before any other value but the first."""
    return raw.count(b"{", start, end) + raw.count(b"[", start, end), raw.count(b",", start, end)


def _are_too_many(objects: int, commas: int) -> bool:
    return objects > _MAX_OBJECTS or objects + commas > _MAX_VALUES
