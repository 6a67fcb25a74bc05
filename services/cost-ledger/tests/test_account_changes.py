"""A change of accounts and its audit entry are one transaction, whatever the change is."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from google.protobuf.duration_pb2 import Duration

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.keys import Keys
from cost_ledger.accounts.kinds import KEY, TEAM, TENANT, USER
from kit.ledger.process import Parts
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

ME, REFUSED = "tests", "refused"
# The last write of a change fails for one actor.
TRIGGER = """
CREATE OR REPLACE FUNCTION refuse_entry() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$
LANGUAGE plpgsql;
CREATE OR REPLACE TRIGGER refuse_entry BEFORE INSERT ON audit_log
FOR EACH ROW WHEN (NEW.actor = 'refused') EXECUTE FUNCTION refuse_entry();
"""


class Books:
    """Accounts and keys, with a tenant, a team, a user and a key in them."""

    def __init__(self, parts: Parts) -> None:
        self.accounts, self.keys = Accounts(parts.pool), Keys(parts.pool, Pepper(b"p" * 32))
        self.pool = parts.pool
        self.tenant = f"tenant-{uuid.uuid4()}"
        self.key_id = ""

    async def fill(self) -> None:
        """Create what the changes are about."""
        await self.accounts.create(TENANT, ME, accountspb.Tenant(tenant=self.tenant))
        await self.accounts.create(TEAM, ME, accountspb.Team(tenant=self.tenant, team="red"))
        await self.accounts.create(USER, ME, accountspb.User(tenant=self.tenant, user="ada"))
        made = await self.keys.create(ME, accountspb.Key(tenant=self.tenant, user="ada"))
        self.key_id = made.key.key_id

    async def state(self) -> list[Any]:
        """Return all rows about the tenant, and the number of the last change."""
        found: list[Any] = [await self.pool.fetchval("SELECT revision FROM key_revision")]
        for table in ("tenants", "teams", "users", "api_keys", "audit_log"):
            rows = await self.pool.fetch(f"SELECT * FROM {table} WHERE tenant = $1 ORDER BY 1, 2", self.tenant)  # noqa: S608
            found.append([tuple(row) for row in rows])
        return found


@pytest.fixture(name="books")
async def _books(parts: Parts) -> Books:
    await parts.pool.execute(TRIGGER)
    books = Books(parts)
    await books.fill()
    return books


def _imported(tenant: str) -> accountspb.KeyRecord:
    key = accountspb.Key(key_id=uuid.uuid4().hex, tenant=tenant, user="new")
    return accountspb.KeyRecord(key=key, scheme=accountspb.SCHEME_SALTED_SHA256, salt=b"s" * 16, hash=b"h" * 32)


CHANGES: dict[str, Callable[[Books, str], Awaitable[Any]]] = {
    "create team": lambda b, who: b.accounts.create(TEAM, who, accountspb.Team(tenant=b.tenant, team="blue")),
    "create user": lambda b, who: b.accounts.create(USER, who, accountspb.User(tenant=b.tenant, user="bob")),
    "create key": lambda b, who: b.keys.create(who, accountspb.Key(tenant=b.tenant)),
    "update tenant": lambda b, who: b.accounts.update(
        TENANT, who, accountspb.Tenant(tenant=b.tenant, tier=accountspb.TIER_PREMIUM), ["tier"]
    ),
    "update user": lambda b, who: b.accounts.update(
        USER, who, accountspb.User(tenant=b.tenant, user="ada", team="red"), ["team"]
    ),
    "update key": lambda b, who: b.accounts.update(KEY, who, accountspb.Key(key_id=b.key_id, name="new"), ["name"]),
    "disable tenant": lambda b, who: b.accounts.set_disabled(TENANT, who, b.tenant, disabled=True),
    "disable key": lambda b, who: b.accounts.set_disabled(KEY, who, b.key_id, disabled=True),
    "rotate": lambda b, who: b.keys.rotate(who, b.key_id, Duration()),
    "import": lambda b, who: b.keys.take_over(who, [_imported(b.tenant)]),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_without_its_entry_did_not_happen(books: Books, change: str) -> None:
    """When the entry cannot be written nothing is changed: no row, and no revision that an edge would follow."""
    before = await books.state()
    with pytest.raises(asyncpg.RaiseError, match="no room"):
        await CHANGES[change](books, REFUSED)
    assert before == await books.state()
    await CHANGES[change](books, ME)

    after = await books.state()
    assert before[1:5] != after[1:5]
    assert len(before[5]) < len(after[5])
