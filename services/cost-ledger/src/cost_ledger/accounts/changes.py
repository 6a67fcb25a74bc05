"""A change of accounts: one transaction with its audit entry, and a revision of its own for each key it concerns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg

from cost_ledger.accounts.fields import identifier
from cost_ledger.accounts.kinds import Kind
from cost_ledger.audit_log import note
from cost_ledger.connections import Connection, borrowed
from cost_ledger.errors import AccountExists, AccountUnknown

_TOUCH = """
WITH numbered AS (SELECT key_id, row_number() OVER (ORDER BY revision) AS number FROM api_keys WHERE {keys}),
changed AS (
    UPDATE api_keys SET revision = $1 + number FROM numbered WHERE api_keys.key_id = numbered.key_id RETURNING 1
)
UPDATE key_revision SET revision = $1 + (SELECT count(*) FROM changed) RETURNING revision
"""


class Change:
    """Writes within the transaction of one change, made by `actor`."""

    def __init__(self, connection: Connection, actor: str, revision: int) -> None:
        self.connection = connection
        self._actor = actor
        self._revision = revision

    async def insert(self, kind: Kind[Any], row: Mapping[str, Any], action: str = "create") -> Mapping[str, Any]:
        """Insert a row; AccountExists when it is there already, AccountUnknown when its owner is not."""
        inserted = await self._insert(kind, row, action, "")
        assert inserted is not None  # noqa: S101 - a conflict raises
        return inserted

    async def insert_if_new(self, kind: Kind[Any], row: Mapping[str, Any], action: str) -> bool:
        """Insert a row unless it is there already; return whether it was not."""
        return await self._insert(kind, row, action, "ON CONFLICT DO NOTHING") is not None

    async def _insert(
        self, kind: Kind[Any], row: Mapping[str, Any], action: str, conflict: str
    ) -> Mapping[str, Any] | None:
        values = dict(row)
        if kind.name == "key":
            values["revision"] = self._revision + 1
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        statement = (
            f"INSERT INTO {kind.table} ({', '.join(values)}) VALUES ({places}) {conflict} "  # noqa: S608 - own names
            f"RETURNING {', '.join(kind.columns)}"
        )
        try:
            found = await self.connection.fetchrow(statement, *values.values())
        except asyncpg.UniqueViolationError as error:
            raise AccountExists(f"this {kind.name} is there already") from error
        except asyncpg.ForeignKeyViolationError as error:
            raise AccountUnknown("there is no such tenant, team or user") from error
        if found is None:
            return None
        inserted = dict(found)
        if kind.name == "key":
            await self._set_revision(self._revision + 1)
        await self.note(kind, action, None, inserted)
        return inserted

    async def update(
        self, kind: Kind[Any], ids: Sequence[str], values: Mapping[str, Any], action: str, *, concerns_keys: bool = True
    ) -> Mapping[str, Any]:
        """Set columns of one row; AccountUnknown when it, or the owner that it gets, is not there."""
        before = await self.row(kind, ids)
        settings = ", ".join(f"{column} = ${len(ids) + number}" for number, column in enumerate(values, 1))
        where = _where(kind)
        try:
            await self.connection.execute(
                f"UPDATE {kind.table} SET {settings} WHERE {where}",  # noqa: S608 - own names
                *ids,
                *values.values(),
            )
        except asyncpg.ForeignKeyViolationError as error:
            raise AccountUnknown("there is no such team") from error
        if concerns_keys:
            revision = await self.connection.fetchval(_TOUCH.format(keys=kind.keys), self._revision, *ids)
            self._revision = revision
        after = await self.row(kind, ids)
        await self.note(kind, action, before, after)
        return after

    async def row(self, kind: Kind[Any], ids: Sequence[str]) -> Mapping[str, Any]:
        """Return one row as it is now; AccountUnknown when there is none."""
        return await row_in(self.connection, kind, ids)

    async def note(
        self, kind: Kind[Any], action: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]
    ) -> None:
        """Write the audit entry."""
        plain = [None if row is None else _plain(row) for row in (before, after)]
        subject = after[kind.id_columns[-1]]
        await note(self.connection, self._actor, action, kind.name, after["tenant"], subject, *plain)

    async def _set_revision(self, revision: int) -> None:
        await self.connection.execute("UPDATE key_revision SET revision = $1", revision)
        self._revision = revision


@asynccontextmanager
async def changing(pool: asyncpg.Pool, actor: str) -> AsyncIterator[Change]:
    """Open the transaction of a change; changes take place one after the other. FieldInvalid without an actor."""
    identifier("actor", actor)
    async with borrowed(pool) as connection, connection.transaction():
        revision = await connection.fetchval("SELECT revision FROM key_revision FOR UPDATE")
        yield Change(connection, actor, revision)


async def row_in(connection: Connection, kind: Kind[Any], ids: Sequence[str]) -> Mapping[str, Any]:
    """Return one row; AccountUnknown when there is none."""
    row = await connection.fetchrow(
        f"SELECT {', '.join(kind.columns)} FROM {kind.table} WHERE {_where(kind)}",  # noqa: S608 - own names
        *ids,
    )
    if row is None:
        raise AccountUnknown(f"there is no such {kind.name}")
    return dict(row)


def _where(kind: Kind[Any]) -> str:
    return " AND ".join(f"{column} = ${number}" for number, column in enumerate(kind.id_columns, 1))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name != "revision"
    }
