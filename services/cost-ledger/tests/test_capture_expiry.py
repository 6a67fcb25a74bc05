"""Captured texts are deleted when their time is over: part by part, by any number of ledgers, late when it must be."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import asyncpg
import pytest

from cost_ledger.captures.captures import Captures
from cost_ledger.captures.expiry import CaptureExpiry
from kit.ledger.process import Parts, running_ledger, until


@pytest.fixture(name="tenant")
async def _tenant(parts: Parts) -> str:
    name = f"tenant-{uuid.uuid4()}"
    await parts.pool.execute("INSERT INTO tenants (tenant, capture_days) VALUES ($1, 1)", name)
    return name


async def store(parts: Parts, tenant: str, count: int, ends_in_hours: int, user: str = "ada") -> None:
    """Store captures whose time is over in so many hours."""
    await parts.pool.execute(
        "INSERT INTO captured_texts (request_id, tenant, user_id, asked_at, expires_at, key_id, nonce, ciphertext) "
        "SELECT gen_random_uuid(), $1, $2, now(), now() + make_interval(hours => $3), 'k', "
        "decode(repeat('00', 12), 'hex'), '' FROM generate_series(1, $4)",
        tenant,
        user,
        ends_in_hours,
        count,
    )


async def kept(parts: Parts, tenant: str) -> int:
    """Return how many are left."""
    count: int = await parts.pool.fetchval("SELECT count(*) FROM captured_texts WHERE tenant = $1", tenant)
    return count


async def test_what_has_expired_is_deleted_and_nothing_else(parts: Parts, tenant: str) -> None:
    """And counted."""
    await store(parts, tenant, 3, -1)
    await store(parts, tenant, 2, 1)

    await CaptureExpiry(Captures(parts.pool), parts.metrics).turn()

    assert 2 == await kept(parts, tenant)
    assert 3 == parts.counted("cost_ledger_captures_expired_total")


async def test_many_that_expire_at_once_are_deleted_part_by_part(parts: Parts, tenant: str) -> None:
    """No statement deletes more than it has time for, and two ledgers do it together."""
    await store(parts, tenant, 1203, -1)
    captures = Captures(parts.pool)

    both = await asyncio.gather(captures.expire(), captures.expire())

    assert (1203, 0) == (sum(both) + await captures.expire(), await kept(parts, tenant))


async def test_an_expiry_without_postgres_is_made_up_for(parts: Parts) -> None:
    """It neither fails nor is silent: the next turn deletes what this one could not."""
    pool = asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0, timeout=1.0)
    async with pool:
        await CaptureExpiry(Captures(pool), parts.metrics).turn()

    assert 1 == parts.counted("cost_ledger_database_errors_total")


async def test_a_ledger_deletes_by_itself(
    parts: Parts, tenant: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """From its start on."""
    await store(parts, tenant, 1, -1)

    async with running_ledger(tmp_path, database_url, redis_url):

        async def is_gone() -> bool:
            return not await kept(parts, tenant)

        await until(is_gone)


async def test_all_of_a_user_is_erased_however_much_it_is(parts: Parts, tenant: str) -> None:
    """Part by part, each on record with its number; others' stays."""
    await store(parts, tenant, 1100, 1, "ada")
    await store(parts, tenant, 10, 1, "bob")

    assert 1100 == await Captures(parts.pool).delete("cli:tests", tenant, "ada")

    assert 10 == await kept(parts, tenant)
    entries = await parts.pool.fetch("SELECT actor, id, after FROM audit_log WHERE tenant = $1 ORDER BY 3", tenant)
    assert [("cli:tests", "ada", {"captures": count}) for count in (100, 500, 500)] == [
        (row["actor"], row["id"], json.loads(row["after"])) for row in entries
    ]
