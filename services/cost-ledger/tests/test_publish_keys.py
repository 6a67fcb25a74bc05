"""The keys' records in Redis: complete after every publication, whatever was there before."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.keys import Keys
from cost_ledger.accounts.kinds import KEY, TEAM, TENANT, USER
from cost_ledger.accounts.publish_keys import FORMAT, RECORDS, REVISIONS, KeyPublisher
from kit.ledger.process import Parts
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

ME = "tests"


class Setting:
    """Accounts on a database, and what of them is in Redis."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.accounts = Accounts(parts.pool)
        self.keys = Keys(parts.pool, Pepper(b"p" * 32))
        self.publisher = KeyPublisher(parts.pool, parts.client, parts.metrics)
        self.tenant = f"tenant-{uuid.uuid4()}"

    async def make(self) -> str:
        """Make a key; return its id."""
        return (await self.keys.create(ME, accountspb.Key(tenant=self.tenant))).key.key_id

    async def published(self) -> dict[str, accountspb.KeyRecord]:
        """Return what is in Redis, all of whose revisions are those of the records."""
        client: Any = self.parts.client
        found = await client.hgetall(RECORDS)
        records = {key_id.decode(): accountspb.KeyRecord.FromString(value) for key_id, value in found.items()}
        revisions = {
            key_id.decode(): int(score) for key_id, score in await client.zrange(REVISIONS, 0, -1, withscores=True)
        }
        assert {key_id: record.key.revision for key_id, record in records.items()} == revisions
        return records

    async def all_ids(self) -> set[str]:
        """Return the ids of all keys in the database."""
        return {row["key_id"] for row in await self.parts.pool.fetch("SELECT key_id FROM api_keys")}


@pytest.fixture(name="setting")
async def _setting(parts: Parts) -> Setting:
    setting = Setting(parts)
    await setting.accounts.create(TENANT, ME, accountspb.Tenant(tenant=setting.tenant))
    return setting


async def test_what_changed_is_published(setting: Setting) -> None:
    """New keys and disabled ones; a turn without changes writes nothing."""
    one, two = await setting.make(), await setting.make()
    await setting.publisher.publish()
    before = await setting.published()
    await setting.accounts.set_disabled(KEY, ME, one, disabled=True)
    await setting.publisher.publish()
    after = await setting.published()

    assert {one, two} <= before.keys()
    assert not before[one].key.HasField("disabled_at")
    assert after[one].key.HasField("disabled_at")
    assert before[two] == after[two]


async def test_what_is_for_people_is_not_published(setting: Setting) -> None:
    """No name of anybody, nor what tells keys apart: an edge decides by none of it. What an edge needs is there."""
    names = [f"The name of {uuid.uuid4()}" for _ in range(4)]
    await setting.accounts.update(TENANT, ME, accountspb.Tenant(tenant=setting.tenant, name=names[0]), ["name"])
    team = accountspb.Team(tenant=setting.tenant, team="red", name=names[1])
    await setting.accounts.create(TEAM, ME, team)
    user = accountspb.User(tenant=setting.tenant, user="ada", name=names[2], team="red")
    await setting.accounts.create(USER, ME, user)
    asked = accountspb.Key(tenant=setting.tenant, user="ada", name=names[3], models=["fast*"], endpoints=["/chat"])
    asked.expires_at.FromJsonString("2100-01-01T00:00:00Z")
    first = (await setting.keys.create(ME, asked)).key.key_id
    made, _ = await setting.keys.rotate(ME, first, Duration(seconds=60))
    await setting.publisher.publish()

    client: Any = setting.parts.client
    assert not [name for name in names for value in await client.hvals(RECORDS) if name.encode() in value]
    key = (await setting.published())[made.key.key_id].key
    told = {field.name for field, _ in key.ListFields()}
    assert {
        *("key_id", "tenant", "user", "team", "tier", "roles", "models", "endpoints", "expires_at", "revision")
    } == told
    assert (names[3], first) == (made.key.name, made.key.replaces)


async def test_what_an_older_ledger_has_published_is_published_anew(setting: Setting) -> None:
    """Its records have names; after the first turn there are none, and later turns leave what is there."""
    key_id = await setting.make()
    await setting.publisher.publish()
    client: Any = setting.parts.client
    record = (await setting.published())[key_id]
    record.key.name = "Ada's laptop"
    await client.hset(RECORDS, key_id, record.SerializeToString())
    await client.delete(FORMAT)
    await setting.publisher.publish()
    assert "" == (await setting.published())[key_id].key.name
    await client.hset(RECORDS, key_id, record.SerializeToString())
    await setting.publisher.publish()

    assert "Ada's laptop" == (await setting.published())[key_id].key.name


async def test_many_keys_take_several_pages(setting: Setting) -> None:
    """All of them are published, also when a change concerns each."""
    records = [
        accountspb.KeyRecord(
            key=accountspb.Key(key_id=uuid.uuid4().hex, tenant=setting.tenant),
            scheme=accountspb.SCHEME_SALTED_SHA256,
            salt=b"s" * 16,
            hash=b"h" * 32,
        )
        for _ in range(999)
    ]
    await setting.keys.take_over(ME, records)
    await setting.publisher.publish()
    assert await setting.all_ids() == (await setting.published()).keys()
    await setting.accounts.set_disabled(TENANT, ME, setting.tenant, disabled=True)
    await setting.publisher.publish()

    found = await setting.published()
    assert all(found[record.key.key_id].key.HasField("disabled_at") for record in records)


@pytest.mark.parametrize("lost", [(RECORDS, REVISIONS), (RECORDS,), (REVISIONS,)])
async def test_what_redis_lost_is_published_again(setting: Setting, lost: tuple[str, ...]) -> None:
    """All of it, or one of the two."""
    await setting.make()
    await setting.publisher.publish()
    await setting.parts.client.delete(*lost)
    await setting.publisher.publish()

    assert await setting.all_ids() == (await setting.published()).keys()


async def test_a_database_from_a_backup_replaces_what_is_published(setting: Setting) -> None:
    """Keys that it does not have are gone, though their revisions are larger than its last."""
    await setting.publisher.publish()
    client: Any = setting.parts.client
    await client.hset(RECORDS, "ghost", b"")
    await client.zadd(REVISIONS, {"ghost": 2**40})
    await setting.publisher.publish()

    assert await setting.all_ids() == (await setting.published()).keys()


async def test_no_record_takes_the_place_of_a_newer_one(setting: Setting) -> None:
    """A ledger that stood still goes on with what it had read."""
    key_id = await setting.make()
    before = await setting.keys.changes_since(0, 5000)
    await setting.accounts.set_disabled(KEY, ME, key_id, disabled=True)
    await setting.publisher.publish()
    await setting.publisher._write(before)

    assert (await setting.published())[key_id].key.HasField("disabled_at")


async def test_a_failure_is_counted_and_made_up_for(setting: Setting) -> None:
    """Redis refuses a write; the next turn publishes all."""
    await setting.make()
    client: Any = setting.parts.client
    await client.set(RECORDS, "no hash")
    await setting.publisher.turn()
    await client.delete(RECORDS)
    await setting.publisher.turn()

    assert 1 == setting.parts.counted("cost_ledger_key_publish_failures_total")
    assert await setting.all_ids() == (await setting.published()).keys()
