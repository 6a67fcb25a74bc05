"""API keys: made, replaced, taken over, and told to the edges. Of a secret only its hash is kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import asyncpg
from google.protobuf.duration_pb2 import Duration

from cost_ledger.accounts.changes import Change, changing
from cost_ledger.accounts.fields import SCHEME, column_of, fill, identifier, row_of
from cost_ledger.accounts.kinds import KEY, TEAM, TENANT, USER
from cost_ledger.connections import Connection, borrowed
from cost_ledger.errors import AccountStateForbids, FieldInvalid
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

_PREFIX = "sk-spillway-"
_OWNER = ("tenant", "user", "team")
_LAST_CHARACTERS = 4
_MAX_GRACE = timedelta(days=366)
_MAX_IMPORT = 1000
_DEFAULT_CHANGES, _MAX_CHANGES = 1000, 5000
_SALT_BYTES, _HASH_BYTES = (16, 32), 32
_SHOWN = ", ".join(f"k.{column}" for column in KEY.columns if column not in {"team", "tier", "disabled_at"})
# What no edge decides by: it stays in the database, and neither Redis nor an edge's memory has it.
_FOR_PEOPLE: Sequence[Literal["name", "created_at", "last_characters", "replaces"]] = (
    "name",
    "created_at",
    "last_characters",
    "replaces",
)
_RECORDS = f"""
SELECT {_SHOWN}, coalesce(k.team, u.team) AS team, coalesce(k.tier, u.tier, t.tier, 'free') AS tier,
    least(k.disabled_at, u.disabled_at, g.disabled_at, t.disabled_at) AS disabled_at,
    k.scheme, k.salt, k.hash, k.pepper_id
FROM api_keys AS k JOIN tenants AS t USING (tenant)
LEFT JOIN users AS u ON u.tenant = k.tenant AND u.user_id = k.user_id
LEFT JOIN teams AS g ON g.tenant = k.tenant AND g.team = coalesce(k.team, u.team)
WHERE k.revision > $1 ORDER BY k.revision LIMIT $2
"""  # noqa: S608 - columns of our own

_DIFFERING = """
SELECT DISTINCT key_id FROM api_keys JOIN unnest($1::text[], $2::bytea[]) AS given (key_id, hash) USING (key_id)
WHERE salt || api_keys.hash <> given.hash ORDER BY key_id
"""


class MadeKey(NamedTuple):
    """A new key, and its whole text, which nobody can say again."""

    key: accountspb.Key
    secret_key: str


class Imported(NamedTuple):
    """What an import has done."""

    imported: int
    """How many keys were not known."""
    differing: Sequence[str]
    """The ids of known ones whose hash here is another."""


class Keys:
    """Raises what `Accounts` raises, and AccountStateForbids."""

    def __init__(self, pool: asyncpg.Pool, pepper: Pepper | None) -> None:
        """Without a pepper no key can be made."""
        self._pool = pool
        self._pepper = pepper

    async def create(self, actor: str, key: accountspb.Key) -> MadeKey:
        """Make a key."""
        if key.user and key.team:
            raise FieldInvalid("a key has one owner: a user or a team")
        if key.key_id:
            raise FieldInvalid("key_id is made by the ledger")
        row = row_of(key, [*_OWNER, *KEY.settable], ["tenant"])
        secret = self._new_secret()
        async with changing(self._pool, actor) as change:
            return MadeKey(KEY.read(await change.insert(KEY, {**row, **secret.columns})), secret.text)

    async def rotate(self, actor: str, key_id: str, grace: Duration) -> tuple[MadeKey, accountspb.Key]:
        """Make a key like this one, which ends after `grace`; AccountStateForbids when it has ended already.

        Returns the new one and the old one.
        """
        identifier("key_id", key_id)
        lasts = _grace(grace)
        secret = self._new_secret()
        now = datetime.now(UTC)
        async with changing(self._pool, actor) as change:
            old = await change.row(KEY, [key_id])
            if old["disabled_at"] is not None or (old["expires_at"] or now + _MAX_GRACE) <= now:
                raise AccountStateForbids("this key has ended; make a new one")
            same = {column_of(field): old[column_of(field)] for field in (*_OWNER, *KEY.settable)}
            new = await change.insert(KEY, {**same, **secret.columns, "replaces": key_id})
            end = now + lasts
            ends = {"expires_at": min(old["expires_at"] or end, end)} if lasts else {"disabled_at": now}
            ended = await change.update(KEY, [key_id], ends, "rotate")
            return MadeKey(KEY.read(new), secret.text), KEY.read(ended)

    async def take_over(self, actor: str, records: Sequence[accountspb.KeyRecord]) -> Imported:
        """Record keys with the hashes they have, and their owners; all or none. Known ones are left as they are."""
        if len(records) > _MAX_IMPORT:
            raise FieldInvalid(f"at most {_MAX_IMPORT} keys at a time")
        rows = [_import_row(record) for record in records]
        async with changing(self._pool, actor) as change:
            imported = sum([await _import(change, row) for row in rows])
            ids, hashes = [row["key_id"] for row in rows], [row["salt"] + row["hash"] for row in rows]
            differing = await change.connection.fetch(_DIFFERING, ids, hashes)
            return Imported(imported, [row["key_id"] for row in differing])

    async def changes_since(self, revision: int, limit: int) -> accountspb.ListKeyChangesResponse:
        """Return the keys that changed after `revision`, in the order of their last changes."""
        if not 0 <= revision < 2**63 or limit > _MAX_CHANGES:
            raise FieldInvalid(f"since_revision must not be negative, and limit at most {_MAX_CHANGES}")
        async with (
            borrowed(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await read_changes(connection, revision, limit or _DEFAULT_CHANGES)

    def _new_secret(self) -> _Secret:
        if self._pepper is None:
            raise AccountStateForbids("this ledger has no pepper (COST_LEDGER_KEY_PEPPER_FILE): it cannot make keys")
        # 16 digits: edges look a key up by this id, of which there may be some hundred thousand.
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        columns = {
            "key_id": key_id,
            "last_characters": secret[-_LAST_CHARACTERS:],
            "scheme": SCHEME.word(accountspb.SCHEME_HMAC_SHA256),
            "hash": self._pepper.hash(f"{key_id}-{secret}"),
            "pepper_id": self._pepper.pepper_id,
        }
        return _Secret(columns, f"{_PREFIX}{key_id}-{secret}")


class _Secret(NamedTuple):
    columns: Mapping[str, Any]
    text: str


async def read_changes(connection: Connection, revision: int, limit: int) -> accountspb.ListKeyChangesResponse:
    """Return up to `limit` keys that changed after `revision`, as one moment has them if this is a transaction."""
    latest = await connection.fetchval("SELECT revision FROM key_revision")
    rows = await connection.fetch(_RECORDS, revision, limit)
    return accountspb.ListKeyChangesResponse(records=[_record(dict(row)) for row in rows], revision=latest)


def _record(row: Mapping[str, Any]) -> accountspb.KeyRecord:
    record = accountspb.KeyRecord(
        scheme=SCHEME.number(row["scheme"]), salt=row["salt"], hash=row["hash"], pepper_id=row["pepper_id"]
    )
    fill(record.key, row)
    for field in _FOR_PEOPLE:
        record.key.ClearField(field)
    return record


def _import_row(record: accountspb.KeyRecord) -> dict[str, Any]:
    key = record.key
    row = row_of(key, ["key_id", *_OWNER, *KEY.settable], ["key_id", "tenant"])
    if "-" in key.key_id or (key.user and key.team):
        raise FieldInvalid(f"key {key.key_id[:100]!r} has a '-' in its id, by which it cannot be found, or two owners")
    low, high = _SALT_BYTES
    if (
        record.scheme != accountspb.SCHEME_SALTED_SHA256
        or not low <= len(record.salt) <= high
        or len(record.hash) != _HASH_BYTES
    ):
        raise FieldInvalid(
            f"key {key.key_id[:100]!r} needs a salted SHA-256: {low} to {high} bytes of salt and {_HASH_BYTES} of hash"
        )
    return {**row, "scheme": SCHEME.word(record.scheme), "salt": record.salt, "hash": record.hash}


async def _import(change: Change, row: Mapping[str, Any]) -> bool:
    tenant = row["tenant"]
    await change.insert_if_new(TENANT, {"tenant": tenant}, "import")
    if row["team"] is not None:
        await change.insert_if_new(TEAM, {"tenant": tenant, "team": row["team"]}, "import")
    if row["user_id"] is not None:
        await change.insert_if_new(USER, {"tenant": tenant, "user_id": row["user_id"]}, "import")
    return await change.insert_if_new(KEY, row, "import")


def _grace(grace: Duration) -> timedelta:
    if not -(2**31) < grace.seconds < 2**31 or not 0 <= (lasts := timedelta(seconds=grace.seconds)).days <= 366:
        raise FieldInvalid(f"grace must be from 0 to {_MAX_GRACE.days} days")
    return lasts
