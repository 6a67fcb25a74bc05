"""Tenants, teams, users and keys in Postgres: what is the same for all of them, and the log of their changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple

import asyncpg

from cost_ledger.accounts.changes import changing, row_in
from cost_ledger.accounts.fields import column_of, identifier, row_of
from cost_ledger.accounts.kinds import KEY, Kind, MessageT
from cost_ledger.connections import borrowed
from cost_ledger.errors import FieldInvalid
from spillway.accounts.v1 import accounts_pb2 as accountspb

_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 50, 1000
_KINDS = ("tenant", "team", "user", "key", "budget", "capture")
# What a key inherits; a change of anything else concerns no key.
_INHERITED = frozenset({"team", "tier"})


class Page(NamedTuple, Generic[MessageT]):
    """Some of a list, and the token of what follows; empty: nothing does."""

    items: Sequence[MessageT]
    next_token: str


class Accounts:
    """Each method raises FieldInvalid, AccountUnknown, AccountExists, and what asyncpg raises."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(self, kind: Kind[MessageT], actor: str, message: MessageT) -> MessageT:
        """Record a new one; keys are made by `Keys`."""
        row = row_of(message, [*kind.ids, *kind.settable], kind.ids)
        async with changing(self._pool, actor) as change:
            return kind.read(await change.insert(kind, row))

    async def get(self, kind: Kind[MessageT], *ids: str) -> MessageT:
        """Return one."""
        checked = _ids(kind, ids)
        async with borrowed(self._pool) as connection:
            return kind.read(await row_in(connection, kind, checked))

    async def list(
        self, kind: Kind[MessageT], size: int, token: str, filters: Mapping[str, str] | None = None
    ) -> Page[MessageT]:
        """Return a page, in the order of the ids; an empty filter is none."""
        size = _size(size)
        arguments: list[Any] = []
        conditions = ["true"]
        for field, value in (filters or {}).items():
            if value:
                arguments.append(identifier(field, value))
                conditions.append(f"{column_of(field)} = ${len(arguments)}")
        columns = ", ".join(kind.id_columns)
        if token:
            place = kind.place(token)
            marks = ", ".join(f"${len(arguments) + number}" for number in range(1, len(place) + 1))
            conditions.append(f"({columns}) > ({marks})")
            arguments += place
        statement = (
            f"SELECT {', '.join(kind.columns)} FROM {kind.table} WHERE {' AND '.join(conditions)} "  # noqa: S608 - own
            f"ORDER BY {columns} LIMIT {size + 1}"
        )
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(statement, *arguments)
        shown = [dict(row) for row in rows[:size]]
        return Page([kind.read(row) for row in shown], kind.page_token(shown[-1]) if len(rows) > size else "")

    async def update(self, kind: Kind[MessageT], actor: str, message: MessageT, paths: Sequence[str]) -> MessageT:
        """Set the fields that `paths` name."""
        ids = _ids(kind, [getattr(message, field) for field in kind.ids])
        if not paths or not set(paths) <= set(kind.settable):
            raise FieldInvalid(f"mask must name some of: {', '.join(kind.settable)}")
        values = row_of(message, dict.fromkeys(paths), ())
        concerns_keys = kind is KEY or not _INHERITED.isdisjoint(paths)
        async with changing(self._pool, actor) as change:
            return kind.read(await change.update(kind, ids, values, "update", concerns_keys=concerns_keys))

    async def set_disabled(self, kind: Kind[MessageT], actor: str, *ids: str, disabled: bool) -> MessageT:
        """Disable one, or enable it again; one that is so already keeps its time."""
        checked = _ids(kind, ids)
        async with changing(self._pool, actor) as change:
            row = await change.row(kind, checked)
            if (row["disabled_at"] is not None) == disabled:
                return kind.read(row)
            values = {"disabled_at": datetime.now(UTC) if disabled else None}
            return kind.read(await change.update(kind, checked, values, "disable" if disabled else "enable"))

    async def audit(self, request: accountspb.ListAuditRequest) -> Page[accountspb.AuditEntry]:
        """Return a page of the changes, the newest first."""
        size = _size(request.page_size)
        if request.kind and request.kind not in _KINDS:
            raise FieldInvalid(f"kind must be one of {', '.join(_KINDS)}")
        if request.id and not request.kind:
            raise FieldInvalid("an id is one of a kind: name that too")
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
            raise FieldInvalid("page_token is none of this list")
        arguments: list[Any] = []
        conditions = ["true"]
        for field in ("tenant", "kind", "id"):
            if value := getattr(request, field):
                arguments.append(identifier(field, value))
                conditions.append(f"{field} = ${len(arguments)}")
        if request.page_token:
            arguments.append(min(int(request.page_token[:20]), 2**63 - 1))
            conditions.append(f"audit_id < ${len(arguments)}")
        statement = (
            f"SELECT * FROM audit_log WHERE {' AND '.join(conditions)} ORDER BY audit_id DESC "  # noqa: S608 - own
            f"LIMIT {size + 1}"
        )
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(statement, *arguments)
        shown = [dict(row) for row in rows[:size]]
        return Page([_entry(row) for row in shown], str(shown[-1]["audit_id"]) if len(rows) > size else "")


def _ids(kind: Kind[Any], ids: Sequence[str]) -> list[str]:
    return [identifier(name, value) for name, value in zip(kind.ids, ids, strict=True)]


def _size(size: int) -> int:
    if size > _MAX_PAGE_SIZE:
        raise FieldInvalid(f"page_size must be at most {_MAX_PAGE_SIZE}")
    return size or _DEFAULT_PAGE_SIZE


def _entry(row: Mapping[str, Any]) -> accountspb.AuditEntry:
    entry = accountspb.AuditEntry(before=row["before"] or "", after=row["after"] or "")
    for name in ("audit_id", "actor", "action", "kind", "tenant", "id"):
        setattr(entry, name, row[name])
    entry.changed_at.FromDatetime(row["changed_at"])
    return entry
