"""The four kinds of accounts: their tables, what identifies one, what may be changed, whose keys a change concerns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from cost_ledger.accounts.fields import column_of, fill
from cost_ledger.errors import FieldInvalid
from spillway.accounts.v1 import accounts_pb2 as accountspb

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Kind(Generic[MessageT]):
    """One kind."""

    name: str
    table: str
    message: type[MessageT]
    ids: Sequence[str]
    """The fields that identify one."""
    settable: Sequence[str]
    """The fields that an update may change."""
    keys: str
    """The condition for the keys that a change concerns; its arguments from $2 on are the ids."""

    @property
    def columns(self) -> list[str]:
        """The columns that are shown; of keys neither hash nor salt."""
        return [column_of(field.name) for field in self.message.DESCRIPTOR.fields]

    @property
    def id_columns(self) -> list[str]:
        """The columns that identify a row."""
        return [column_of(field) for field in self.ids]

    def read(self, row: Mapping[str, Any]) -> MessageT:
        """Return a row as its message."""
        message = self.message()
        fill(message, row)
        return message

    def page_token(self, row: Mapping[str, Any]) -> str:
        """Return the token of the page after this row."""
        # No id has a NUL in it.
        return base64.urlsafe_b64encode("\0".join(row[column] for column in self.id_columns).encode()).decode()

    def place(self, token: str) -> list[str]:
        """Return the ids that a page token was made of; FieldInvalid for any other text."""
        try:
            ids = base64.b64decode(token, altchars=b"-_", validate=True).decode().split("\0")
        except (binascii.Error, ValueError) as error:
            raise FieldInvalid("page_token is none of this list") from error
        if len(ids) != len(self.ids):
            raise FieldInvalid("page_token is none of this list")
        return ids


TENANT = Kind("tenant", "tenants", accountspb.Tenant, ("tenant",), ("name", "tier", "capture_days"), "tenant = $2")
TEAM = Kind(
    "team",
    "teams",
    accountspb.Team,
    ("tenant", "team"),
    ("name",),
    "tenant = $2 AND (team = $3 OR user_id IN (SELECT user_id FROM users WHERE tenant = $2 AND team = $3))",
)
USER = Kind(
    "user", "users", accountspb.User, ("tenant", "user"), ("name", "team", "tier"), "tenant = $2 AND user_id = $3"
)
KEY = Kind(
    "key",
    "api_keys",
    accountspb.Key,
    ("key_id",),
    ("name", "tier", "roles", "models", "endpoints", "expires_at"),
    "key_id = $2",
)
