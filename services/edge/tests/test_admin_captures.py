"""Captured texts at `/admin/v1/captures`: operators read them and are on record, nobody else does."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from edge.guard.keys import add_key
from kit.front_door.lone_edge import running_lone_edge
from kit.ledger.process import PRICE_BOOK, LedgerProcess, database, running_ledger
from servicekit.sealing import SealingKeys
from spillway.captures.v1 import captures_pb2 as capturespb
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

_KEY = bytes(range(32))


@dataclass
class Admin:
    """An edge with an admin port, and its ledger."""

    url: str
    ledger: LedgerProcess
    keys: dict[str, str]

    async def ask(self, path: str, method: str = "GET", body: Any = None, role: str = "operator") -> httpx2.Response:
        """Send a request with the key of a role."""
        headers = {"authorization": f"Bearer {self.keys[role]}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30) as client:
            return await client.request(method, f"/admin/v1{path}", json=body)

    async def capture(self, tenant: str, user: str = "ada", key_id: str = "one", about: str | None = None) -> str:
        """Store a capture as an edge does; return the id of its request."""
        request_id = str(uuid.uuid4())
        texts = capturespb.Texts(prompt='{"a":1}', answer="[]", prompt_cut=True, outcome="ok", finish_reason="stop")
        sealed = SealingKeys({key_id: _KEY}).seal(
            texts.SerializeToString(), f"{request_id}\n{about or tenant}".encode()
        )
        capture = capturespb.Capture(
            request_id=request_id, tenant=tenant, user=user, texts=capturespb.SealedTexts(**sealed._asdict())
        )
        capture.asked_at.FromJsonString("2026-11-29T12:00:00Z")
        done = await self.ledger.captures.Record(capturespb.RecordRequest(captures=[capture]))
        assert 1 == done.recorded
        return request_id

    async def tenant(self) -> str:
        """Return a new tenant whose texts are captured."""
        name = f"tenant-{uuid.uuid4()}"
        made = await self.ask("/tenants", "POST", {"tenant": name, "capture_days": 7})
        assert (201, 7) == (made.status_code, made.json()["capture_days"])
        return name

    async def audit(self, tenant: str) -> list[tuple[str, str]]:
        """Return what was done about captures of a tenant, the newest first."""
        entries = (await self.ask(f"/audit?tenant={tenant}&kind=capture")).json()["data"]
        actor = f"key:{self.keys['operator'].split('-')[2]}"
        assert {actor} >= {entry["actor"] for entry in entries}
        assert not any(entry["before"] or entry["after"] for entry in entries)
        return [(entry["action"], entry["id"]) for entry in entries]


@pytest.fixture(scope="module", name="admin")
async def _admin(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Admin]:
    folder: Path = tmp_path_factory.mktemp("admin")
    port, without = free_port(), free_port()
    url, nowhere = database(postgres_url, f"captures-{uuid.uuid4()}"), "redis://127.0.0.1:1/0"
    await migrate(Settings(postgres_url=url, redis_url=nowhere, price_book_file=PRICE_BOOK))
    (folder / "capture-keys").write_text(f"one: {base64.b64encode(_KEY).decode()}\n")
    (folder / "other").mkdir()
    roles = ("operator", "admin", "auditor", "user")
    keys = {role: add_key(folder / "keys.yaml", "ops", "olga", "gold", [role]) for role in roles}
    async with running_ledger(folder, url, nowhere) as ledger:
        own: dict[str, Any] = {"EDGE_LEDGER_ADDRESS": ledger.address, "EDGE_KEYS_FILE": str(folder / "keys.yaml")}
        with (
            running_lone_edge(
                folder, EDGE_ADMIN_PORT=str(port), EDGE_CAPTURE_KEY_FILE=str(folder / "capture-keys"), **own
            ),
            running_lone_edge(folder / "other", EDGE_ADMIN_PORT=str(without), **own),
        ):
            admin = Admin(f"http://127.0.0.1:{port}", ledger, keys)
            admin.keys["url of an edge without a key"] = f"http://127.0.0.1:{without}"
            yield admin


async def test_an_operator_reads_what_was_captured_and_is_on_record(admin: Admin) -> None:
    """The list has no texts; nothing of it may be kept on its way."""
    tenant = await admin.tenant()
    request_id, other = await admin.capture(tenant), await admin.capture(tenant, "bob")

    listed = await admin.ask(f"/captures?tenant={tenant}&limit=1")
    rest = await admin.ask(f"/captures?tenant={tenant}&cursor={listed.json()['next_cursor']}")
    of_bob = await admin.ask(f"/captures?tenant={tenant}&user=bob")
    shown = await admin.ask(f"/captures/{request_id}?tenant={tenant}")

    newest_first = sorted([request_id, other], reverse=True)
    assert newest_first == [each["request_id"] for each in listed.json()["data"] + rest.json()["data"]]
    assert [other] == [each["request_id"] for each in of_bob.json()["data"]]
    about = {"request_id": request_id, "tenant": tenant, "user": "ada", "asked_at": "2026-11-29T12:00:00Z"}
    found = shown.json()
    assert {**about, "key_id": "one", "expires_at": found["expires_at"]} in listed.json()["data"] + rest.json()["data"]
    texts = {"prompt": '{"a":1}', "answer": "[]", "prompt_cut": True, "answer_cut": False}
    ends = {"outcome": "ok", "finish_reason": "stop", "key_id": "one", "expires_at": found["expires_at"]}
    assert {**about, **texts, **ends} == found
    assert {"no-store"} == {each.headers["cache-control"] for each in (listed, shown)}
    assert [("read", request_id), ("list", "bob"), ("list", ""), ("list", "")] == await admin.audit(tenant)


async def test_what_is_another_tenants_is_not_there(admin: Admin) -> None:
    """Nor is what nobody has; and there is no reading without naming the tenant."""
    tenant, other = await admin.tenant(), await admin.tenant()
    request_id = await admin.capture(other)

    answers = {
        (await admin.ask(path)).status_code: path
        for path in (f"/captures/{request_id}?tenant={tenant}", f"/captures/{uuid.uuid4()}?tenant={other}")
    }
    refused = [
        (await admin.ask(path)).status_code
        for path in (
            f"/captures/{request_id}",
            f"/captures/{request_id}?tenant=",
            f"/captures/none?tenant={tenant}",
            "/captures",
            "/captures?tenant=%00",
            f"/captures?tenant={tenant}&limit=1001",
            f"/captures?tenant={tenant}&cursor=x",
            f"/captures?tenant={tenant}&sort=1",
        )
    ]

    assert [404] == [*answers]
    assert [400] * 8 == refused
    assert [] == (await admin.ask(f"/captures?tenant={tenant}")).json()["data"]


@pytest.mark.parametrize("role", ["admin", "auditor", "user"])
async def test_nobody_else_gets_in(admin: Admin, role: str) -> None:
    """Not even who sees all costs of the tenant."""
    tenant = await admin.tenant()
    request_id = await admin.capture(tenant)

    for path in (f"/captures?tenant={tenant}", f"/captures/{request_id}?tenant={tenant}"):
        assert 403 == (await admin.ask(path, role=role)).status_code
    assert [] == await admin.audit(tenant)


async def test_what_cannot_be_opened_says_which_key_it_needs(admin: Admin) -> None:
    """A key that is gone, a row that was moved here from another tenant, an edge without keys: 409, and on record."""
    tenant = await admin.tenant()
    lost, moved = await admin.capture(tenant, key_id="lost"), await admin.capture(tenant, about="another tenant")
    good = await admin.capture(tenant)
    keyless = Admin(admin.keys["url of an edge without a key"], admin.ledger, admin.keys)

    for where, request_id, reason in (
        (admin, lost, "sealed with the key 'lost', which is not in the key file"),
        (admin, moved, "the key 'one' does not open it"),
        (keyless, good, "sealed with the key 'one', and this edge has no EDGE_CAPTURE_KEY_FILE"),
    ):
        answer = await where.ask(f"/captures/{request_id}?tenant={tenant}")
        error = answer.json()["error"]
        assert (409, "capture_unreadable") == (answer.status_code, error["code"])
        assert reason in error["message"]
    assert [("read", good), ("read", moved), ("read", lost)] == await admin.audit(tenant)


@pytest.mark.parametrize(("days", "status"), [(0, 200), (365, 200), (366, 400), (-1, 400), ("x", 400), (None, 400)])
async def test_days_have_bounds(admin: Admin, days: object, status: int) -> None:
    """From never to a year."""
    tenant = await admin.tenant()

    answer = await admin.ask(f"/tenants/{tenant}", "PATCH", {"capture_days": days})

    assert status == answer.status_code
    expected = days if status == 200 else 7
    assert expected == (await admin.ask(f"/tenants/{tenant}")).json()["capture_days"]
