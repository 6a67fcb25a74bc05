"""Captured texts in Postgres: sealed by the edges, kept as long as their tenant's account says, read on record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from cost_ledger.accounts.fields import identifier
from cost_ledger.audit_log import note
from cost_ledger.captures.message import CaptureRow, id_in
from cost_ledger.columns import by_column, columns_of, insert_rows
from cost_ledger.connections import Connection, borrowed
from cost_ledger.errors import AccountUnknown, FieldInvalid

_TENANTS_PAGE = 1000
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 50, 1000
# A statement that deletes more could take longer than it may.
_DELETE_BATCH = 500
# In one turn; what is left has the next one.
_MAX_EXPIRED = 50_000

_CAPTURING = """
SELECT tenant FROM tenants WHERE capture_days > 0 AND tenant > $1 ORDER BY tenant LIMIT $2
"""
# Locked, so that nothing of a tenant is stored any more once the change that turns it off has been made. By
# PostgreSQL's clock, as deletion is.
_ENDS = """
SELECT tenant, now() + make_interval(days => capture_days) AS expires_at FROM tenants
WHERE tenant = ANY($1::text[]) AND capture_days > 0 ORDER BY tenant FOR SHARE
"""
_INSERT = insert_rows("captured_texts", columns_of(CaptureRow), "ON CONFLICT (request_id) DO NOTHING RETURNING 1")
_COLUMNS = ", ".join(CaptureRow._fields)
_WITHOUT_TEXT = _COLUMNS.replace("ciphertext", "''::bytea AS ciphertext")
_GET = f"SELECT {_COLUMNS} FROM captured_texts WHERE request_id = $1 AND tenant = $2 AND expires_at > now()"  # noqa: S608
_LIST = (
    f"SELECT {_WITHOUT_TEXT} FROM captured_texts WHERE tenant = $1 AND expires_at > now() "  # noqa: S608 - own names
    "AND request_id < $2 {user} ORDER BY request_id DESC LIMIT $3"
)
_DELETE = (
    "WITH deleted AS (DELETE FROM captured_texts WHERE request_id IN "
    "(SELECT request_id FROM captured_texts WHERE {which}) RETURNING 1) SELECT count(*) FROM deleted"
)
# Whoever erases waits for those that somebody else is about to delete: that may yet fail.
_ERASED = "tenant = $2 {user} ORDER BY request_id LIMIT $1 FOR UPDATE"
_EXPIRED = "expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED"
_LAST_ID = UUID(int=2**128 - 1)


class Recorded(NamedTuple):
    """What became of some captures."""

    recorded: int
    duplicates: int
    unwanted: int


class Page(NamedTuple):
    """Some of a list, and the token of what follows; empty: nothing does."""

    rows: Sequence[CaptureRow]
    next_token: str


class Captures:
    """Each method raises FieldInvalid, AccountUnknown, and what asyncpg raises."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def tenants(self, after: str) -> tuple[Sequence[str], bool]:
        """Return tenants whose texts are captured, those after a name, and whether there are more."""
        if after:
            identifier("after", after)
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(_CAPTURING, after, _TENANTS_PAGE + 1)
        return [row["tenant"] for row in rows[:_TENANTS_PAGE]], len(rows) > _TENANTS_PAGE

    async def record(self, rows: Sequence[CaptureRow]) -> Recorded:
        """Store those that their tenants want, each once, with the end that the tenant's account gives them now."""
        async with borrowed(self._pool) as connection, connection.transaction():
            found = await connection.fetch(_ENDS, sorted({row.tenant for row in rows}))
            ends: dict[str, datetime] = {row["tenant"]: row["expires_at"] for row in found}
            wanted = [row._replace(expires_at=ends[row.tenant]) for row in rows if row.tenant in ends]
            recorded = len(await connection.fetch(_INSERT, *by_column(wanted))) if wanted else 0
        return Recorded(recorded, len(wanted) - recorded, len(rows) - len(wanted))

    async def get(self, actor: str, tenant: str, request_id: str) -> CaptureRow:
        """Return one that has not expired; who reads it is on record."""
        identifier("actor", actor)
        key = (id_in("request_id", request_id), identifier("tenant", tenant))
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await connection.fetchrow(_GET, *key)
            if row is None:
                raise AccountUnknown("this tenant has no capture of such a request")
            await note(connection, actor, "read", "capture", tenant, str(key[0]))
        return CaptureRow(**row)

    async def list(self, actor: str, tenant: str, user: str, size: int, token: str) -> Page:
        """Return a page of those that have not expired, without texts, the newest first; who reads it is on record."""
        identifier("actor", actor)
        if size > _MAX_PAGE_SIZE:
            raise FieldInvalid(f"page_size must be at most {_MAX_PAGE_SIZE}")
        size = size or _DEFAULT_PAGE_SIZE
        arguments: list[Any] = [
            identifier("tenant", tenant),
            id_in("page_token", token) if token else _LAST_ID,
            size + 1,
        ]
        if user:
            arguments.append(identifier("user", user))
        statement = _LIST.format(user="AND user_id = $4" if user else "")
        async with borrowed(self._pool) as connection, connection.transaction():
            rows = await connection.fetch(statement, *arguments)
            await note(connection, actor, "list", "capture", tenant, user)
        shown = [CaptureRow(**row) for row in rows[:size]]
        return Page(shown, str(shown[-1].request_id) if len(rows) > size else "")

    async def delete(self, actor: str, tenant: str, user: str) -> int:
        """Erase all of a tenant, or of one of its users, part by part, each with its entry in the log; return how many.

        What is captured meanwhile stays: turn capturing off first.
        """
        identifier("actor", actor)
        arguments = [identifier("tenant", tenant), *([identifier("user", user)] if user else ())]
        which = _ERASED.format(user="AND user_id = $3" if user else "")
        deleted = 0
        while True:
            async with borrowed(self._pool) as connection, connection.transaction():
                count = await _delete(connection, which, arguments)
                if count or not deleted:
                    await note(connection, actor, "delete", "capture", tenant, user, after={"captures": count})
            deleted += count
            if count < _DELETE_BATCH:
                return deleted

    async def expire(self) -> int:
        """Delete what has expired, the most of one turn; return how many."""
        expired = 0
        while expired < _MAX_EXPIRED:
            async with borrowed(self._pool) as connection:
                count = await _delete(connection, _EXPIRED, ())
            expired += count
            if count < _DELETE_BATCH:
                break
        return expired


async def _delete(connection: Connection, which: str, arguments: Iterable[str]) -> int:
    count: int = await connection.fetchval(_DELETE.format(which=which), _DELETE_BATCH, *arguments)
    return count
