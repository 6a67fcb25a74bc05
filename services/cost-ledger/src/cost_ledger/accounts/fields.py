"""What the fields of tenants, teams, users and keys may hold, and how they become values of columns and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cost_ledger.errors import FieldInvalid
from cost_ledger.vocabulary import Vocabulary
from spillway.accounts.v1 import accounts_pb2 as accountspb

TIER = Vocabulary(accountspb.Tier.DESCRIPTOR, "TIER_")
ROLE = Vocabulary(accountspb.Role.DESCRIPTOR, "ROLE_")
SCHEME = Vocabulary(accountspb.Scheme.DESCRIPTOR, "SCHEME_")
# Requests of a key without a user are on record under this prefix and its id.
KEY_PREFIX = "key:"
MAX_NAME = 200
_MAX_PATTERNS = 100
MAX_CAPTURE_DAYS = 365
_LAST_YEAR = 9998
# `user` is a word of SQL.
_COLUMNS = {"user": "user_id"}


def column_of(field: str) -> str:
    """Return the column of a field."""
    return _COLUMNS.get(field, field)


def identifier(name: str, value: str) -> str:
    """Return the id; FieldInvalid when it is none."""
    if not value:
        raise FieldInvalid(f"{name} must not be empty")
    return _text(name, value)


def row_of(message: Message, fields: Iterable[str], required: Sequence[str]) -> dict[str, Any]:
    """Return these fields of a message by column; FieldInvalid when one holds what it may not."""
    row: dict[str, Any] = {}
    for field in fields:
        value = getattr(message, field)
        if field in required:
            row[column_of(field)] = identifier(field, value)
        elif field == "expires_at":
            row[field] = moment(field, value) if message.HasField("expires_at") else None
        else:
            row[column_of(field)] = _CHECKS[field](field, value)
    if str(row.get("user_id") or "").startswith(KEY_PREFIX):
        raise FieldInvalid(f"user must not begin with {KEY_PREFIX!r}")
    return row


def fill(message: Message, row: Mapping[str, Any]) -> None:
    """Put the columns of a row into the fields of a message; NULL leaves a field out."""
    for field in message.DESCRIPTOR.fields:
        value = row[column_of(field.name)]
        if value is None:
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).FromDatetime(value)
        elif field.name == "tier":
            setattr(message, field.name, TIER.number(value))
        elif field.is_repeated:
            getattr(message, field.name).extend(map(ROLE.number, value) if field.name == "roles" else value)
        else:
            setattr(message, field.name, value)


def _text(name: str, value: str) -> str:
    if len(value) > MAX_NAME:
        raise FieldInvalid(f"{name} must have at most {MAX_NAME} characters")
    if any(character < " " or character == "\x7f" for character in value):
        raise FieldInvalid(f"{name} must not have control characters")
    return value


def _optional(name: str, value: str) -> str | None:
    return _text(name, value) or None


def _tier(name: str, value: int) -> str | None:
    try:
        return TIER.word(value) or None
    except ValueError as error:
        raise FieldInvalid(f"{name} must be free, premium or enterprise") from error


def _roles(name: str, values: Iterable[int]) -> list[str]:
    try:
        words = sorted({ROLE.word(value) for value in values})
    except ValueError as error:
        raise FieldInvalid(f"{name} must be roles that there are") from error
    if "" in words:
        raise FieldInvalid(f"{name} must be roles that there are")
    return words or ["user"]


def _patterns(name: str, values: Sequence[str]) -> list[str]:
    if len(values) > _MAX_PATTERNS:
        raise FieldInvalid(f"{name} must be at most {_MAX_PATTERNS} patterns")
    return [identifier(name, value) for value in values]


def _paths(name: str, values: Sequence[str]) -> list[str]:
    patterns = _patterns(name, values)
    if not all(pattern.startswith(("/", "*")) for pattern in patterns):
        raise FieldInvalid(f"{name} must be paths, which begin with /")
    return patterns


def _days(name: str, value: int) -> int:
    if value > MAX_CAPTURE_DAYS:
        raise FieldInvalid(f"{name} must be at most {MAX_CAPTURE_DAYS}")
    return value


def moment(name: str, value: Timestamp) -> datetime:
    """Return a time; FieldInvalid when it is none, or none of a year that anything here has."""
    try:
        found = value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise FieldInvalid(f"{name} must be a time") from error
    if not 1970 <= found.year <= _LAST_YEAR:
        raise FieldInvalid(f"{name} must be a time from 1970 to {_LAST_YEAR}")
    return found


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "tenant": _optional,
    "team": _optional,
    "user": _optional,
    "name": _text,
    "tier": _tier,
    "roles": _roles,
    "models": _patterns,
    "endpoints": _paths,
    "capture_days": _days,
}
