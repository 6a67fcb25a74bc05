"""`/admin/v1`: operators keep accounts over HTTP, nobody else does; with a real edge, a real ledger and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import yaml

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from edge.guard.keys import add_key
from kit.front_door.lone_edge import LoneEdge, running_lone_edge
from kit.ledger.process import PRICE_BOOK, LedgerProcess, database, running_ledger
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

_SECRET = "a secret of at least thirty-two bytes"


class Admin:
    """An edge with an admin port, and its ledger."""

    def __init__(self, edge: LoneEdge, url: str, ledger: LedgerProcess) -> None:
        self.edge = edge
        self.url = url
        self.ledger = ledger
        self.key = add_key(edge.keys_file, "ops", "olga", "gold", ["operator"])
        self.keys = {
            role: add_key(edge.keys_file, "acme", "ada", "gold", [role])
            for role in ("user", "team_lead", "admin", "auditor")
        }

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx2.Response:
        """Send a request to `/admin/v1`, with the operator's key unless told otherwise."""
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30) as client:
            return await client.request(method, f"/admin/v1{path}", json=body)

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of what must succeed."""
        answer = await self.ask(method, path, body)
        assert answer.status_code in {200, 201}, (path, answer.text)
        return answer.json()

    async def until_known(self, key: str, *, known: bool = True) -> None:
        """Wait until the edge knows a key, or no longer does."""
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(self.edge.status_of, key) != 401) is not known:
                await asyncio.sleep(0.1)


@pytest.fixture(scope="module", name="pepper")
def _pepper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pepper") / "pepper"
    file.write_text("0123456789-0123456789-0123456789")
    return file


def _issuers(folder: Path) -> Path:
    """Return the file of an issuer of tokens whose users have every role."""
    (folder / "token-secret").write_text(_SECRET)
    issuer = {"name": "own", "issuer": "https://login.example.com/", "audience": ["spillway"], "tenant": "acme"}
    issuer |= {"algorithms": ["HS256"], "secret_file": str(folder / "token-secret"), "roles": ["admin"]}
    file = folder / "issuers.yaml"
    file.write_text(yaml.safe_dump({"issuers": [issuer]}))
    return file


@pytest.fixture(scope="module", name="admin")
async def _admin(
    postgres_url: str, redis_url: str, pepper: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Admin]:
    folder, port = tmp_path_factory.mktemp("admin"), free_port()
    url = database(postgres_url, f"admin-{uuid.uuid4()}")
    await migrate(Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))
    async with running_ledger(folder, url, redis_url, KEY_PEPPER_FILE=pepper) as ledger:
        with running_lone_edge(
            folder,
            EDGE_LEDGER_ADDRESS=ledger.address,
            EDGE_KEY_PEPPER_FILE=str(pepper),
            EDGE_ADMIN_PORT=str(port),
            EDGE_JWT_ISSUERS=str(_issuers(folder)),
        ) as edge:
            admin = Admin(edge, f"http://127.0.0.1:{port}", ledger)
            await admin.until_known(admin.keys["auditor"])
            yield admin


@pytest.fixture(name="tenant")
async def _tenant(admin: Admin) -> str:
    name = f"tenant-{uuid.uuid4()}"
    await admin.done("POST", "/tenants", {"tenant": name, "name": "Acme", "tier": "premium"})
    await admin.done("POST", f"/tenants/{name}/teams", {"team": "red"})
    await admin.done("POST", f"/tenants/{name}/users", {"user": "ada", "team": "red"})
    return name


async def test_from_a_tenant_to_a_dead_key(admin: Admin, tenant: str) -> None:
    """All that is made works and can be seen, changed and ended; each change is on record with the operator's key."""
    made = await admin.done("POST", "/keys", {"tenant": tenant, "user": "ada", "models": ["fast*"]})
    key_id = made["key"]["key_id"]
    await admin.until_known(made["secret_key"])
    changed = await admin.done(
        "PATCH",
        f"/keys/{key_id}",
        {"name": "ci", "roles": ["auditor"], "models": [], "expires_at": "2030-01-01T00:00:00Z"},
    )
    same: dict[str, Any] = {
        "tenant": tenant,
        "user": "ada",
        "team": None,
        "tier": None,
        "endpoints": [],
        "replaces": None,
    }
    new = {"name": "ci", "roles": ["auditor"], "models": [], "expires_at": "2030-01-01T00:00:00Z", "disabled_at": None}
    assert (same | new) == {name: changed[name] for name in same | new}
    assert (await admin.done("GET", f"/keys/{key_id}")) == changed
    rotated = await admin.done("POST", f"/keys/{key_id}/rotate", {"grace_seconds": 600})
    assert key_id == rotated["key"]["replaces"] == rotated["replaced"]["key_id"]
    await admin.until_known(rotated["secret_key"])
    await admin.done("PATCH", f"/tenants/{tenant}/users/ada", {"team": None, "tier": "free"})
    user = await admin.done("GET", f"/tenants/{tenant}/users/ada")
    assert (None, "free") == (user["team"], user["tier"])
    await admin.done("POST", f"/tenants/{tenant}/users/ada/disable")
    await admin.until_known(rotated["secret_key"], known=False)
    await admin.done("POST", f"/tenants/{tenant}/users/ada/enable")
    await admin.until_known(rotated["secret_key"])

    entries = (await admin.done("GET", f"/audit?tenant={tenant}"))["data"]
    assert {f"key:{admin.key.split('-')[2]}"} == {entry["actor"] for entry in entries}
    actions = [(entry["action"], entry["kind"]) for entry in entries]
    keys = [("rotate", "key"), ("create", "key"), ("update", "key"), ("create", "key")]
    start = [("create", "user"), ("create", "team"), ("create", "tenant")]
    assert [("enable", "user"), ("disable", "user"), ("update", "user"), *keys, *start] == actions
    assert ("red", None) == (entries[2]["before"]["team"], entries[2]["after"]["team"])
    for text in (made["secret_key"], rotated["secret_key"]):
        assert text.split("-", 3)[3] not in str(entries) + admin.edge.log_file.read_text()


async def test_lists_come_in_pages_and_by_owner(admin: Admin, tenant: str) -> None:
    """Each is in one page; another tenant's are in none."""
    for name in ("bob", "cleo"):
        await admin.done("POST", f"/tenants/{tenant}/users", {"user": name})
    seen, cursor = [], ""
    while cursor is not None:
        page = await admin.done("GET", f"/tenants/{tenant}/users?limit=2&cursor={cursor}")
        seen += [user["user"] for user in page["data"]]
        cursor = page["next_cursor"]
    key = (await admin.done("POST", "/keys", {"tenant": tenant, "team": "red"}))["key"]
    await admin.done("POST", "/keys", {"tenant": tenant, "user": "bob"})

    assert ["ada", "bob", "cleo"] == seen
    assert ["red"] == [each["team"] for each in (await admin.done("GET", f"/tenants/{tenant}/teams"))["data"]]
    assert 2 == len((await admin.done("GET", f"/keys?tenant={tenant}"))["data"])
    assert 1 == len((await admin.done("GET", f"/keys?tenant={tenant}&user=bob"))["data"])
    assert key["key_id"] not in str(await admin.done("GET", f"/keys?tenant={tenant}&user=bob"))
    assert tenant in {each["tenant"] for each in (await admin.done("GET", "/tenants?limit=1000"))["data"]}


async def test_keys_of_a_file_are_taken_over(admin: Admin) -> None:
    """With their roles; one that is known with another hash is named."""
    entry = {"key_id": uuid.uuid4().hex, "tenant": f"t-{uuid.uuid4()}", "user": "ada", "tier": "gold"}
    body = {"keys": [{**entry, "salt": "0" * 32, "sha256": "a" * 64, "roles": ["auditor"]}]}
    assert {"imported": 1, "known": 0, "differing": []} == await admin.done("POST", "/keys/import", body)
    body["keys"][0]["sha256"] = "b" * 64
    again = await admin.done("POST", "/keys/import", body)

    assert {"imported": 0, "known": 1, "differing": [entry["key_id"]]} == again
    shown = await admin.done("GET", f"/keys/{entry['key_id']}")
    assert (["auditor"], None) == (shown["roles"], shown["tier"])


async def test_what_is_made_is_what_was_asked_for(admin: Admin, tenant: str) -> None:
    """Endpoints, the grace of a rotation, tier and actor of an import; and no answer is kept on its way."""
    answer = await admin.ask("POST", "/keys", {"tenant": tenant, "endpoints": ["/chat", "/v1/*"]})
    made = answer.json()["key"]
    rotated = await admin.done("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 600})
    entry = {"key_id": uuid.uuid4().hex, "tenant": tenant, "user": "eve", "tier": "premium"}
    await admin.done("POST", "/keys/import", {"keys": [{**entry, "salt": "0" * 32, "sha256": "a" * 64}]})
    entries = (await admin.done("GET", f"/audit?tenant={tenant}"))["data"]

    assert "no-store" == answer.headers["cache-control"]
    assert ["/chat", "/v1/*"] == made["endpoints"]
    assert datetime.fromisoformat(rotated["replaced"]["expires_at"]) > datetime.now(UTC) + timedelta(seconds=300)
    assert "premium" == (await admin.done("GET", f"/keys/{entry['key_id']}"))["tier"]
    assert {f"key:{admin.key.split('-')[2]}"} == {each["actor"] for each in entries}


async def test_a_token_makes_nobody_an_operator(admin: Admin) -> None:
    """It is no key here, though the same edge takes it on its public port: an issuer is for its own tenants."""
    claims = {"iss": "https://login.example.com/", "aud": "spillway", "sub": "ada", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, _SECRET, "HS256")

    assert 401 != await asyncio.to_thread(admin.edge.status_of, token)
    assert 401 == (await admin.ask("GET", "/tenants", key=token)).status_code


async def test_a_budget_from_its_making_to_its_end(admin: Admin) -> None:
    """It is replaced as a whole, and each change is recorded with the operator's key."""
    path = "/budgets/of-teams"
    first = await admin.done("PUT", path, {"each": "team", "per": "month", "usd": "20", "zone": "Europe/Berlin"})
    second = await admin.done(
        "PUT", path, {"each": "team", "per": "day", "usd": "1.5", "stop_usd": "2", "tier": "free"}
    )
    listed = {each["name"]: each for each in (await admin.done("GET", "/budgets"))["data"]}
    removed = await admin.done("DELETE", path)
    changes = (await admin.done("GET", "/audit?kind=budget&id=of-teams"))["data"]

    assert ("of-teams", "20", None, "economy", "*", "Europe/Berlin") == tuple(
        first[name] for name in ("name", "usd", "stop_usd", "over", "tier", "zone")
    )
    assert listed["of-teams"] == second
    assert ("1.5", "2", "free", "UTC") == tuple(second[name] for name in ("usd", "stop_usd", "tier", "zone"))
    assert {"user-daily", "global-daily"} <= set(listed)
    assert {"name": "of-teams", "removed": True} == removed
    assert ["remove", "update", "create"] == [change["action"] for change in changes]
    assert 1 == len({change["actor"] for change in changes})
    assert changes[0]["actor"].startswith("key:")


async def test_only_operators_get_in(admin: Admin, tenant: str) -> None:
    """At every endpoint, before a body is read; nothing of it is on the public port."""
    places = [
        (
            method.upper(),
            path.removeprefix("/admin/v1").format(
                tenant=tenant, team="red", user="ada", key_id="k", name="b", request_id="r"
            ),
        )
        for path, operations in httpx2.get(f"{admin.url}/openapi.json", timeout=30).json()["paths"].items()
        for method in operations
    ]
    assert 32 == len(places)
    before = len((await admin.done("GET", "/audit?limit=1000"))["data"])
    for method, path in places:
        for role, key in admin.keys.items():
            answer = await admin.ask(method, path, {}, key)
            assert (path, role, 403, "permission_denied") == (
                path,
                role,
                answer.status_code,
                answer.json()["error"]["code"],
            )
        assert (path, 401) == (path, (await admin.ask(method, path, {}, admin.key + "x")).status_code)
        public = httpx2.request(
            method, f"{admin.edge.url}/admin/v1{path}", headers={"authorization": f"Bearer {admin.key}"}, timeout=30
        )
        assert (path, 404) == (path, public.status_code)
    assert before == len((await admin.done("GET", "/audit?limit=1000"))["data"])
    for path in ("/v1/models", "/v1/costs", "/chat"):
        assert 404 == httpx2.get(f"{admin.url}{path}", timeout=30).status_code
    assert (
        403
        == httpx2.get(
            f"{admin.edge.url}/v1/costs", headers={"authorization": f"Bearer {admin.key}"}, timeout=30
        ).status_code
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/tenants/nobody", None, 404, "not_found"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("DELETE", "/tenants/nobody", None, 405, "method_not_allowed"),
        ("PATCH", "/tenants/nobody", {"tier": "free"}, 404, "not_found"),
        ("PATCH", "/tenants/nobody", {}, 400, "invalid_request"),
        ("PATCH", "/tenants/nobody", {"tier": "gold"}, 400, "invalid_request"),
        ("PATCH", "/tenants/nobody", {"colour": "red"}, 400, "unknown_field"),
        ("POST", "/tenants", {"name": "x"}, 400, "invalid_request"),
        ("POST", "/tenants", {"tenant": "a\u0000b"}, 400, "invalid_request"),
        ("POST", "/tenants", "x" * 2_000_000, 413, "body_too_large"),
        ("POST", "/tenants/{tenant}/teams", {"team": "red"}, 409, "conflict"),
        ("POST", "/keys", {"tenant": "{tenant}", "user": "ada", "team": "red"}, 400, "invalid_request"),
        ("POST", "/keys", {"tenant": "{tenant}", "expires_at": "tomorrow"}, 400, "invalid_request"),
        ("GET", "/keys?colour=red", None, 400, "invalid_request"),
        ("GET", "/keys?limit=0", None, 400, "invalid_request"),
        ("GET", "/audit?cursor=x", None, 400, "invalid_request"),
        ("PUT", "/budgets/b", {"each": "user", "per": "day"}, 400, "invalid_request"),
        ("PUT", "/budgets/b", {"each": "user", "per": "day", "usd": "-1"}, 400, "invalid_request"),
        ("PUT", "/budgets/b", {"each": "user", "per": "day", "usd": "1e3"}, 400, "invalid_request"),
        ("PUT", "/budgets/b", {"each": "user", "per": "day", "usd": "1", "zone": "Mars"}, 400, "invalid_request"),
        ("PUT", "/budgets/b", {"each": "user", "per": "day", "usd": "1", "stop_usd": "0.5"}, 400, "invalid_request"),
        ("PUT", "/budgets/a%20b", {"each": "user", "per": "day", "usd": "1"}, 400, "invalid_request"),
        ("DELETE", "/budgets/none-of-this-name", None, 404, "not_found"),
    ],
)
async def test_what_cannot_be_done_is_said_as_everywhere(
    admin: Admin, tenant: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """In the one shape of errors, with the field that is wrong."""
    if isinstance(body, dict):
        body = {name: value.format(tenant=tenant) if isinstance(value, str) else value for name, value in body.items()}
    answer = await admin.ask(method, path.format(tenant=tenant), body)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    assert "false" == answer.headers["x-should-retry"]


async def test_a_key_that_has_ended_is_a_conflict(admin: Admin, tenant: str) -> None:
    """It is not rotated."""
    key_id = (await admin.done("POST", "/keys", {"tenant": tenant}))["key"]["key_id"]
    await admin.done("POST", f"/keys/{key_id}/disable")
    answer = await admin.ask("POST", f"/keys/{key_id}/rotate")

    assert (409, "conflict") == (answer.status_code, answer.json()["error"]["code"])


async def test_roles_are_those_of_the_contract(admin: Admin, tenant: str) -> None:
    """Each can be given."""
    roles = [role.removeprefix("ROLE_").lower() for role in accountspb.Role.keys()[1:]]
    made = await admin.done("POST", "/keys", {"tenant": tenant, "roles": roles})

    assert sorted(roles) == made["key"]["roles"]


async def test_without_the_ledger_the_answer_says_so(tmp_path: Path) -> None:
    """A change is not retried by itself: it may have been made."""
    port = free_port()
    with running_lone_edge(tmp_path, EDGE_ADMIN_PORT=str(port)) as edge:
        key = add_key(edge.keys_file, "ops", "olga", "gold", ["operator"])
        headers = {"authorization": f"Bearer {key}"}
        async with asyncio.timeout(30):
            while await asyncio.to_thread(edge.status_of, key) == 401:
                await asyncio.sleep(0.1)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/admin/v1", headers=headers) as client:
            reading = await client.get("/tenants", timeout=30)
            changing = await client.post("/tenants", json={"tenant": "acme"}, timeout=30)

    assert [(503, "true"), (503, "false")] == [
        (answer.status_code, answer.headers["x-should-retry"]) for answer in (reading, changing)
    ]
