"""Parsed bodies: checked against a contract's model, and refused in words that help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from edge.problems import Problem

BodyT = TypeVar("BodyT", bound=BaseModel)
ItemT = TypeVar("ItemT")
# Anthropic takes 100,000 messages and 10,000 tools in a request, more than any other vendor. The first fault in a list
# ends its check: an error for each of a million items would take minutes and gigabytes.
Items: TypeAlias = Annotated[list[ItemT], Field(max_length=100_000, fail_fast=True)]
_MAX_FIELDS = 1000
_MAX_FAULTS = 5
_MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A request body that is JSON."""

    raw: bytes
    """As the client sent it."""
    value: Any
    """Parsed."""


def validate(body_class: type[BodyT], raw: Any) -> BodyT:
    """Check parsed JSON against `body_class`; Problem that names every field at fault."""
    if isinstance(raw, dict) and len(raw) > _MAX_FIELDS:
        raise Problem("invalid_request", f"the body has {len(raw)} fields; at most {_MAX_FIELDS} are allowed")
    try:
        return body_class.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        message = "; ".join(_describe(fault) for fault in faults[:_MAX_FAULTS])
        if unknown:
            message += f"; the fields are: {', '.join(body_class.model_fields)}"
        code = "unknown_field" if len(unknown) == len(faults) else "invalid_request"
        raise Problem(code, message, param=_where(faults[0]) or None) from error


def _describe(fault: ErrorDetails) -> str:
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
    return ".".join(parts)[:_MAX_NAME_LENGTH]


def _is_branch(part: int | str) -> bool:
    return part == "str" or "[" in str(part)
