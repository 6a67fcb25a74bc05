"""Tenants, teams, users, keys, budgets and audit entries as JSON, and what operators send to change them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from edge.guard.keys import KeyEntry
from edge.problems import Problem
from spillway.accounts.v1 import accounts_pb2 as accountspb

Json = dict[str, Any]
Text = Annotated[str, Field(max_length=200)]
Tier = Literal["free", "premium", "enterprise"]
Role = Literal["user", "team_lead", "admin", "auditor", "operator"]
Amount = Annotated[str, Field(max_length=40, pattern=r"^\d{1,7}(\.\d{1,9})?$")]
Patterns = Annotated[list[Text], Field(max_length=100)]
_Body = TypeVar("_Body", bound=BaseModel)

# Empty in a message is absent in JSON.
_NULLABLE = frozenset({"user", "team", "replaces", "last_characters", "stop_usd"})
_HIDDEN = frozenset({"revision"})
_DOCUMENTS = frozenset({"before", "after"})


class Changes(BaseModel):
    """Fields that may be set; one that is left out stays as it is, and null is nothing of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TenantChanges(Changes):
    """Of a tenant."""

    name: Text = ""
    tier: Tier | None = None
    capture_days: Annotated[int, Field(ge=0, le=365)] = 0


class TeamChanges(Changes):
    """Of a team."""

    name: Text = ""


class UserChanges(Changes):
    """Of a user."""

    name: Text = ""
    team: Text | None = None
    tier: Tier | None = None


class KeyChanges(Changes):
    """Of a key."""

    name: Text = ""
    tier: Tier | None = None
    roles: Annotated[list[Role], Field(max_length=10)] = []
    models: Patterns = []
    endpoints: Patterns = []
    expires_at: AwareDatetime | None = None


class NewTenant(TenantChanges):
    """A tenant."""

    tenant: Text


class NewTeam(TeamChanges):
    """A team."""

    team: Text


class NewUser(UserChanges):
    """A user."""

    user: Text


class NewKey(KeyChanges):
    """A key: of a user, of a team, or of the tenant when neither is named."""

    tenant: Text
    user: Text | None = None
    team: Text | None = None


class NewBudget(Changes):
    """A budget as a whole; amounts are decimal strings, patterns have `*` for any text."""

    each: Literal["key", "user", "team", "tenant", "all"]
    per: Literal["hour", "day", "month", "total"]
    usd: Amount
    over: Literal["economy", "emergency", "warn"] = "economy"
    stop_usd: Amount | None = None
    tenant: Text = "*"
    user: Text = "*"
    key: Text = "*"
    team: Text = "*"
    tier: Text = "*"
    zone: Text = "UTC"


class Rotation(Changes):
    """How a key is replaced."""

    grace_seconds: Annotated[int, Field(ge=0, le=366 * 86_400)] = 0


class Import(Changes):
    """Keys as a key file has them."""

    keys: Annotated[list[KeyEntry], Field(max_length=1000)]


def read_body(content: bytes, model: type[_Body]) -> _Body:
    """Return the body of a request; Problem (400) that names the field when it is not what it should be."""
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        if fault["type"] == "json_invalid":
            raise Problem("invalid_json", "the body is not JSON") from None
        name = ".".join(map(str, fault["loc"])) or "the body"
        code = "unknown_field" if fault["type"] == "extra_forbidden" else "invalid_request"
        raise Problem(code, f"{name}: {fault['msg']}", param=name) from None


def fill(message: Message, values: Mapping[str, Any]) -> None:
    """Put values of a body into the fields of a message."""
    for name, value in values.items():
        if name == "roles":
            message.roles.extend(accountspb.Role.Value(f"ROLE_{role.upper()}") for role in value)  # type: ignore[attr-defined]
        elif value is None:
            continue
        elif name == "tier" and not isinstance(message, accountspb.Budget):
            setattr(message, name, accountspb.Tier.Value(f"TIER_{value.upper()}"))
        elif name == "expires_at":
            getattr(message, name).FromDatetime(value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)


def imported(entry: KeyEntry) -> accountspb.KeyRecord:
    """Return a key of a key file as the ledger takes it; of no tier when its own is none that there is."""
    record = accountspb.KeyRecord(
        scheme=accountspb.SCHEME_SALTED_SHA256, salt=bytes.fromhex(entry.salt), hash=bytes.fromhex(entry.sha256)
    )
    tier = entry.tier if entry.tier in ("free", "premium", "enterprise") else None
    owner = {"key_id": entry.key_id, "tenant": entry.tenant, "user": entry.user}
    fill(record.key, {**owner, "tier": tier, "roles": entry.roles})
    return record


def to_json(message: Message) -> Json:
    """Return a message as JSON: words for enums, null for what is absent."""
    fields = message.DESCRIPTOR.fields
    return {field.name: _value(message, field) for field in fields if field.name not in _HIDDEN}


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return value.ToJsonString() if message.HasField(field.name) else None
    if field.type == FieldDescriptor.TYPE_ENUM:
        prefix = f"{field.name.removesuffix('s').upper()}_"
        names = field.enum_type.values_by_number
        words = [names[each].name.removeprefix(prefix).lower() if each in names else str(each) for each in _each(value)]
        return words if field.is_repeated else (words[0] if value else None)
    if field.name in _DOCUMENTS:
        return json.loads(value) if value else None
    if field.is_repeated:
        return [*value]
    return None if field.name in _NULLABLE and not value else value


def _each(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else [*value]
