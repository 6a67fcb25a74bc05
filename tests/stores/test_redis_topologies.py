"""Edge, router and ledger on a Redis with TLS and ACL users, and on a Redis Cluster."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
from redis.exceptions import NoPermissionError

from edge.events.redis import COST_EVENTS
from kit.stores.services import running_services, until_recorded
from kit.stores.valkeys import PASSWORD, MovableAddress, valkey_cluster, valkey_server
from kit.tls_secret import Authority
from servicekit.redis_client import RedisAccess, open_redis

pytestmark = pytest.mark.integration

_BOUND_SECONDS = 30.0
# What charts/spillway/README.md gives a user of its own.
_ACL = [
    "on",
    f">{PASSWORD}",
    "~spillway:*",
    "~{spillway:*",
    "resetchannels",
    "+@all",
    "-@admin",
    "-@dangerous",
    "+info",
]


def _server_context(authority: Authority, folder: Path) -> ssl.SSLContext:
    """Return the context of a server that asks for a certificate of its authority."""
    certificate, key = authority.sign("127.0.0.1")
    (folder / "server.crt").write_bytes(certificate)
    (folder / "server.key").write_bytes(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode())
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client_folder(authority: Authority, folder: Path) -> Path:
    certificate, key = authority.sign("spillway")
    folder.mkdir()
    for name, content in {"ca.crt": authority.certificate, "tls.crt": certificate, "tls.key": key}.items():
        (folder / name).write_bytes(content)
    return folder


async def test_tls_and_a_user_of_our_own(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """Each side shows a certificate; the user may do what is needed, and nothing else."""
    authority = Authority()
    access = RedisAccess("spillway", PASSWORD, _client_folder(authority, tmp_path / "client"))
    with valkey_server(tmp_path) as server:
        await server.run("ACL", "SETUSER", "spillway", *_ACL)
        address = MovableAddress(server.port, _server_context(authority, tmp_path))
        async with address.listening():
            url = f"rediss://127.0.0.1:{address.port}/0"
            async with running_services(url, pool, tmp_path, access) as services:
                await services.check_everything()
                for command in ("FLUSHALL", "CONFIG GET *", "KEYS *"):
                    with pytest.raises(NoPermissionError):
                        await services.ledger.execute_command(*command.split())


async def test_a_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    """So is a password for it: it is not sent."""
    ours, theirs = Authority(), Authority()
    with valkey_server(tmp_path) as server:
        address = MovableAddress(server.port, _server_context(theirs, tmp_path))
        async with address.listening():
            access = RedisAccess(password=PASSWORD, tls_directory=_client_folder(ours, tmp_path / "client"))
            client = open_redis(f"rediss://127.0.0.1:{address.port}/0", access, max_connections=1)
            with pytest.raises(redis.ConnectionError, match="certificate"):
                await client.ping()
            await client.aclose()


async def test_a_cluster(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """Every command of every service, with a user of our own; answers are spread over the nodes, and figures too."""
    async with valkey_cluster(tmp_path) as nodes:
        for node in nodes:
            await node.run("ACL", "SETUSER", "spillway", *_ACL)
        url = f"redis+cluster://{nodes[1].address},{nodes[2].address}"
        async with running_services(url, pool, tmp_path, RedisAccess("spillway", PASSWORD)) as services:
            await services.check_everything()
            for number in range(20):
                await services.ask(f"tenant-{number}")
            async with asyncio.timeout(20.0):
                while await services.ledger.xlen(COST_EVENTS):
                    await asyncio.sleep(0.05)
            counts = [await node.run("DBSIZE") for node in nodes[:3]]
        assert all(int(str(count)) > 0 for count in counts)


async def test_a_cluster_whose_node_with_the_stream_dies(pool: asyncpg.Pool, tmp_path: Path) -> None:
    """Its replica takes over, and all three services find it; what was under way is not lost."""
    async with valkey_cluster(tmp_path) as nodes:
        url = f"redis+cluster://:{PASSWORD}@{nodes[0].address},{nodes[1].address},{nodes[2].address}"
        async with running_services(url, pool, tmp_path) as services:
            await services.check_everything()
            slot = int(str(await nodes[0].run("CLUSTER", "KEYSLOT", COST_EVENTS)))
            holder = nodes[3 * slot // 16_384]
            with holder.frozen():
                began = time.monotonic()
                asked = await services.ask_until_redis_decides(_BOUND_SECONDS)
                await until_recorded(services, asked, _BOUND_SECONDS)
                assert 2 == len(await services.exchange_until_answered(_BOUND_SECONDS))
                assert time.monotonic() - began < _BOUND_SECONDS
