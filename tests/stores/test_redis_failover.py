"""Edge, router and ledger leave a Redis that has been made a replica, or hangs, and use the primary."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from kit.stores.services import running_services, until_recorded
from kit.stores.valkeys import GROUP, PASSWORD, MovableAddress, replicated_valkey, sentinels
from servicekit.redis_client import RedisAccess

pytestmark = pytest.mark.integration

# Within this time all three use the new primary.
_BOUND_SECONDS = 30.0


async def test_a_primary_that_has_been_made_a_replica_is_left(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """It goes on answering on the connections that stand, while the address leads to the new primary."""
    async with replicated_valkey(tmp_path) as pair:
        address = MovableAddress(pair.first.port)
        async with address.listening() as url, running_services(url, pool, tmp_path) as services:
            await services.check_everything()
            address.target = pair.second.port
            await pair.fail_over()

            asked = await services.ask_until_redis_decides(_BOUND_SECONDS)
            await until_recorded(services, asked, _BOUND_SECONDS)
            assert 2 == len(await services.exchange_until_answered(_BOUND_SECONDS))
            assert b"master" in bytes(str(await pair.second.run("ROLE")), "ascii")


async def test_a_primary_that_hangs_is_left(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """The connections stand and nothing answers; the address leads to the new primary."""
    async with replicated_valkey(tmp_path) as pair:
        address = MovableAddress(pair.first.port)
        async with address.listening() as url, running_services(url, pool, tmp_path) as services:
            await services.check_everything()
            with pair.first.frozen():
                address.target = pair.second.port
                await pair.second.run("REPLICAOF", "NO", "ONE")

                asked = await services.ask_until_redis_decides(_BOUND_SECONDS)
                await until_recorded(services, asked, _BOUND_SECONDS)
                assert 2 == len(await services.exchange_until_answered(_BOUND_SECONDS))


async def test_sentinels_name_the_primary(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """When it hangs, together with the first Sentinel, the others name a new one and all three services use that."""
    async with replicated_valkey(tmp_path) as pair, sentinels(tmp_path, pair) as watching:
        hosts = ",".join(each.address for each in watching)
        url = f"redis+sentinel://:{PASSWORD}@{hosts}/0?master={GROUP}"
        access = RedisAccess(sentinel_password=PASSWORD)
        async with running_services(url, pool, tmp_path, access) as services:
            await services.check_everything()
            with pair.first.frozen(), watching[0].frozen():
                asked = await services.ask_until_redis_decides(_BOUND_SECONDS)
                await until_recorded(services, asked, _BOUND_SECONDS)
                assert 2 == len(await services.exchange_until_answered(_BOUND_SECONDS))
