"""Request bodies: read up to a limit, parsed, checked, and refused in words that help."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from edge.problems import Problem

BodyT = TypeVar("BodyT", bound=BaseModel)
_MOST_FAULTS_TOLD = 5
_LONGEST_NAME_TOLD = 100
# JSON can be read deeper than it can be written; what the body travels in on its way adds some levels.
_LEVELS_LEFT_FREE = 10


async def read_json(request: Request, limit_bytes: int) -> Any:
    """Read the body as JSON; Problem when it is longer than `limit_bytes` or not JSON."""
    return parse_json(await read_body(request, limit_bytes))


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body; Problem when it is longer than `limit_bytes`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
    except ClientDisconnect as error:
        raise Problem("invalid_request", "the connection closed before the body was complete") from error
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Parse a body; Problem when it is not JSON or too deep to be written again."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(
            "invalid_json", f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    _require_writable(parsed)
    return parsed


def _require_writable(parsed: Any) -> None:
    for _ in range(_LEVELS_LEFT_FREE):
        parsed = [parsed]
    try:
        orjson.dumps(parsed)
    except TypeError as error:
        raise Problem("invalid_request", "the body is nested too deeply") from error


def validate(body_class: type[BodyT], raw: Any) -> BodyT:
    """Check parsed JSON against `body_class`; Problem that names every field at fault."""
    try:
        return body_class.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        told = "; ".join(_told(fault) for fault in faults[:_MOST_FAULTS_TOLD])
        if unknown:
            told += f"; the fields are: {', '.join(body_class.model_fields)}"
        code = "unknown_field" if len(unknown) == len(faults) else "invalid_request"
        raise Problem(code, told, param=_where(faults[0]) or None) from error


def _told(fault: ErrorDetails) -> str:
    where = _where(fault)
    if fault["type"] == "extra_forbidden":
        return f"unknown field {where!r}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        message = "Input should be a JSON object"
    return f"{where}: {message}" if where else f"the body: {message}"


def _where(fault: ErrorDetails) -> str:
    """Name the field, without the branch of a union that pydantic adds; an unknown field may be named like one."""
    *path, last = fault["loc"] or ("",)
    parts = [str(part) for part in path if not _is_branch(part)]
    if fault["type"] == "extra_forbidden" or not _is_branch(last):
        parts.append(str(last))
    return ".".join(parts)[:_LONGEST_NAME_TOLD]


def _is_branch(part: int | str) -> bool:
    return part == "str" or "[" in str(part)


def _too_large(limit_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is longer than {limit_bytes} bytes")
