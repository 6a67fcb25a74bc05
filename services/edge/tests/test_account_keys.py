"""Edges follow the ledger's keys: real edges, a real ledger, PostgreSQL and Valkey, and each of them away."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis.asyncio as redis

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.front_door.lone_edge import LoneEdge, running_lone_edge
from kit.ledger.cost_events import request, settled
from kit.ledger.process import PRICE_BOOK, LedgerProcess, database, running_ledger
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway_local.valkey import running_valkey

ME = "tests"


@pytest.fixture(name="pepper")
def _pepper(tmp_path: Path) -> Path:
    file = tmp_path / "pepper"
    file.write_text("0123456789-0123456789-0123456789")
    return file


@pytest.fixture(name="own_redis")
def _own_redis(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a Valkey of the test's own."""
    with running_valkey(tmp_path / "valkey") as url:
        yield url


@pytest.fixture(name="ledger")
async def _ledger(postgres_url: str, own_redis: str, pepper: Path, tmp_path: Path) -> AsyncIterator[LedgerProcess]:
    url = database(postgres_url, f"keys-{uuid.uuid4()}")
    await migrate(Settings(postgres_url=url, redis_url=own_redis, price_book_file=PRICE_BOOK))
    async with running_ledger(tmp_path, url, own_redis, KEY_PEPPER_FILE=pepper) as ledger:
        await ledger.accounts.CreateTenant(
            accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant="acme"))
        )
        yield ledger


@contextmanager
def edge_of(folder: Path, ledger_address: str, redis_url: str, pepper: Path) -> Iterator[LoneEdge]:
    """Run an edge that follows the ledger."""
    folder.mkdir()
    with running_lone_edge(
        folder, EDGE_LEDGER_ADDRESS=ledger_address, EDGE_REDIS_URL=redis_url, EDGE_KEY_PEPPER_FILE=str(pepper)
    ) as edge:
        yield edge


async def make_key(ledger: LedgerProcess) -> accountspb.CreateKeyResponse:
    """Make a key of the tenant."""
    asked = accountspb.CreateKeyRequest(actor=ME, key=accountspb.Key(tenant="acme"))
    return await ledger.accounts.CreateKey(asked)


async def until(is_true: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
    """Poll in a thread; a few seconds on a machine that is not busy."""
    async with asyncio.timeout(timeout_seconds):
        while not await asyncio.to_thread(is_true):
            await asyncio.sleep(0.1)


async def published_as_disabled(client: redis.Redis, key_id: str) -> bool:
    """Tell whether Redis has the key, disabled; keys are published in the order of their changes."""
    found: Any = await client.hget("{spillway:keys}:records", key_id)
    return found is not None and accountspb.KeyRecord.FromString(found).key.HasField("disabled_at")


@pytest.mark.integration
async def test_keys_live_and_die_on_every_edge(
    ledger: LedgerProcess, own_redis: str, pepper: Path, tmp_path: Path
) -> None:
    """A new key works and a disabled one is dead on two edges within seconds; the key file works beside them."""
    first = edge_of(tmp_path / "one", ledger.address, own_redis, pepper)
    second = edge_of(tmp_path / "two", ledger.address, own_redis, pepper)
    with first as one, second as two:
        made = await make_key(ledger)
        await until(lambda: all(edge.status_of(made.secret_key) != 401 for edge in (one, two)))
        disabling = accountspb.DisableKeyRequest(actor=ME, key_id=made.key.key_id)
        await ledger.accounts.DisableKey(disabling)
        await until(lambda: all(edge.status_of(made.secret_key) == 401 for edge in (one, two)))
        assert [True, True] == [edge.status_of(edge.key) != 401 for edge in (one, two)]


@pytest.mark.integration
async def test_known_keys_stay_known_while_what_is_behind_is_away(
    ledger: LedgerProcess, own_redis: str, pepper: Path, tmp_path: Path
) -> None:
    """Without the ledger a new edge learns them from Redis; without Redis too, who has them keeps them."""
    made = await make_key(ledger)
    gone = await make_key(ledger)
    await ledger.accounts.DisableKey(accountspb.DisableKeyRequest(actor=ME, key_id=gone.key.key_id))
    async with redis.Redis.from_url(own_redis) as client:
        async with asyncio.timeout(30):
            while not await published_as_disabled(client, gone.key.key_id):
                await asyncio.sleep(0.1)
        ledger.stop()
        # Somebody who takes calls and never answers: it takes a while to find out, before the port opens.
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            edge_of(tmp_path / "late", f"127.0.0.1:{silent.getsockname()[1]}", own_redis, pepper) as edge,
        ):
            assert 401 != edge.status_of(made.secret_key)
            assert 401 == edge.status_of(gone.secret_key)
            assert 2 == edge.metric("edge_account_keys")
            assert 1 <= edge.metric('edge_account_keys_fallbacks_total{source="redis"}')
            await client.shutdown(nosave=True)
            before = edge.metric('edge_account_keys_fallbacks_total{source="memory"}')
            await until(lambda: edge.metric('edge_account_keys_fallbacks_total{source="memory"}') > before + 1)
            assert 401 != edge.status_of(made.secret_key)
            assert 401 == edge.status_of(gone.secret_key)


@pytest.mark.integration
async def test_users_see_their_own_and_leads_their_teams(
    ledger: LedgerProcess, own_redis: str, pepper: Path, tmp_path: Path
) -> None:
    """Costs, lists and receipts by the role of the key; a guessed id of anybody else is no request at all."""
    call = ledger.accounts
    await call.CreateTenant(accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant="globex")))
    await call.CreateTeam(accountspb.CreateTeamRequest(actor=ME, team=accountspb.Team(tenant="acme", team="red")))
    for tenant, user, team in (
        ("acme", "ada", "red"),
        ("acme", "lea", "red"),
        ("acme", "bob", ""),
        ("globex", "ada", ""),
    ):
        made = accountspb.User(tenant=tenant, user=user, team=team)
        await call.CreateUser(accountspb.CreateUserRequest(actor=ME, user=made))
    now = datetime.now(UTC)
    asked = {user: request(tenant=tenant, user=user.lower(), at=now) for tenant, user in OWNERS}
    async with redis.Redis.from_url(own_redis) as client:
        for each in asked.values():
            await client.xadd("spillway:cost-events", {"event": settled(each).SerializeToString()})
        async with asyncio.timeout(30):
            while await client.xlen("spillway:cost-events"):
                await asyncio.sleep(0.1)
    keys = {}
    for tenant, user, role in CALLERS:
        key = accountspb.Key(tenant=tenant, user=user, roles=[role] if role else [])
        reply = await call.CreateKey(accountspb.CreateKeyRequest(actor=ME, key=key))
        keys[tenant, user, role] = reply.secret_key

    with edge_of(tmp_path / "edge", ledger.address, own_redis, pepper) as edge:
        for caller, visible in CALLERS.items():
            own = await asyncio.to_thread(seen_by, edge.url, keys[caller], asked)
            assert (caller, visible, visible, len(visible)) == (caller, *own)


OWNERS = (("acme", "ada"), ("acme", "bob"), ("globex", "ADA"))
CALLERS = {
    ("acme", "ada", accountspb.ROLE_UNSPECIFIED): ["ada"],
    ("acme", "bob", accountspb.ROLE_USER): ["bob"],
    ("acme", "bob", accountspb.ROLE_TEAM_LEAD): ["bob"],
    ("acme", "lea", accountspb.ROLE_USER): [],
    ("acme", "lea", accountspb.ROLE_TEAM_LEAD): ["ada"],
    ("acme", "lea", accountspb.ROLE_ADMIN): ["ada", "bob"],
    ("acme", "lea", accountspb.ROLE_AUDITOR): ["ada", "bob"],
    ("globex", "ada", accountspb.ROLE_ADMIN): ["ADA"],
}


def seen_by(url: str, key: str, asked: Mapping[str, ledgerpb.Request]) -> tuple[list[str], list[str], int]:
    """Return whose receipts and whose requests in the list a caller sees, and how many requests have cost it."""
    headers = {"authorization": f"Bearer {key}"}
    names = {each.request_id: name for name, each in asked.items()}
    with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
        receipts = {name: client.get(f"/v1/requests/{each.request_id}").status_code for name, each in asked.items()}
        listed = client.get("/v1/requests").json()["data"]
        total = client.get("/v1/costs").json()["total"]["requests"]
        stats = client.get("/v1/cache/stats").json()
        assert total == stats["hits"] + stats["misses"] + stats["bypasses"]
        csv = {"accept": "text/csv"}
        exported = client.get("/v1/requests", headers=csv).text.splitlines()[1:]
        assert [each["request_id"] for each in listed] == [line.split(",")[0] for line in exported]
        by_user = client.get("/v1/costs", params={"group_by": "user"}, headers=csv).text.splitlines()[1:]
        assert {each["user"] for each in listed} == {line.split(",")[0] for line in by_user}
        for name in ("ada", "bob", "lea"):
            other = client.get("/v1/requests", params={"user": name}).json()["data"]
            assert {each["request_id"] for each in other} <= {each["request_id"] for each in listed}
    assert set(receipts.values()) <= {200, 404}
    return (
        [name for name, status in receipts.items() if status == 200],
        sorted(names[each["request_id"]] for each in listed),
        total,
    )
