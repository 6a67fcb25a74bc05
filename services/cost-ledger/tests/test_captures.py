"""Captured texts in the ledger: stored once, for who wants it, as long as was promised; every look is on record."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from kit.ledger.process import (
    LedgerProcess,
    Parts,
    environment,
    run_ledger_command,
    running_ledger,
    someone_waits_for_a_lock,
    until,
)
from servicekit.sealing import SealingKeys
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.captures.v1 import captures_pb2 as capturespb

ME = "cli:tests"
_KEY = bytes(range(32))


@pytest.fixture(scope="module", name="ledger")
async def _ledger(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerProcess]:
    async with running_ledger(tmp_path_factory.mktemp("ledger"), database_url, redis_url) as ledger:
        yield ledger


async def new_tenant(ledger: LedgerProcess, capture_days: int = 30) -> str:
    """Return a new tenant."""
    tenant = accountspb.Tenant(tenant=f"tenant-{uuid.uuid4()}", capture_days=capture_days)
    await ledger.accounts.CreateTenant(accountspb.CreateTenantRequest(actor=ME, tenant=tenant))
    return tenant.tenant


async def set_days(ledger: LedgerProcess, tenant: str, capture_days: int) -> None:
    """Change how long texts of a tenant are kept."""
    changed = accountspb.Tenant(tenant=tenant, capture_days=capture_days)
    asked = accountspb.UpdateTenantRequest(actor=ME, tenant=changed, mask=FieldMask(paths=["capture_days"]))
    await ledger.accounts.UpdateTenant(asked)


def a_capture(tenant: str, user: str = "ada", prompt: str = "Who?", **fields: Any) -> capturespb.Capture:
    """Return a capture as an edge sends it."""
    request_id = str(uuid.uuid4())
    texts = capturespb.Texts(prompt=prompt, answer="I.", outcome="ok", finish_reason="stop")
    sealed = SealingKeys({"one": _KEY}).seal(texts.SerializeToString(), f"{request_id}\n{tenant}".encode())
    capture = capturespb.Capture(
        request_id=request_id, tenant=tenant, user=user, texts=capturespb.SealedTexts(**sealed._asdict()), **fields
    )
    capture.asked_at.FromDatetime(datetime.now(UTC))
    return capture


async def record(ledger: LedgerProcess, *captures: capturespb.Capture) -> tuple[int, int, int]:
    """Send captures; return how many were recorded, known and unwanted."""
    done = await ledger.captures.Record(capturespb.RecordRequest(captures=captures))
    return done.recorded, done.duplicates, done.unwanted


async def get(ledger: LedgerProcess, tenant: str, request_id: str) -> capturespb.Capture:
    """Read one."""
    asked = capturespb.GetCaptureRequest(actor=ME, tenant=tenant, request_id=request_id)
    return (await ledger.captures.GetCapture(asked)).capture


async def listed(ledger: LedgerProcess, tenant: str, user: str = "", **page: Any) -> capturespb.ListCapturesResponse:
    """Read a page."""
    asked = capturespb.ListCapturesRequest(actor=ME, tenant=tenant, user=user, **page)
    return await ledger.captures.ListCaptures(asked)


async def audit(ledger: LedgerProcess, tenant: str) -> Sequence[tuple[str, str, str, str]]:
    """Return what is on record about captures of a tenant, the newest first."""
    entries = (await ledger.accounts.ListAudit(accountspb.ListAuditRequest(tenant=tenant, kind="capture"))).entries
    return [(entry.actor, entry.action, entry.id, entry.before + entry.after) for entry in entries]


async def status_of(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> grpc.StatusCode:
    """Return how a call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_what_is_stored_is_given_to_who_is_on_record(ledger: LedgerProcess) -> None:
    """As it came, with the end that the account gives it; the entry names who, what and no text."""
    tenant = await new_tenant(ledger, capture_days=7)
    sent = a_capture(tenant)
    assert (1, 0, 0) == await record(ledger, sent)

    found = await get(ledger, tenant, sent.request_id)

    assert sent.texts == found.texts
    assert ("ada", sent.asked_at) == (found.user, found.asked_at)
    lasts = found.expires_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=7) - timedelta(minutes=5) < lasts <= timedelta(days=7, minutes=5)
    assert [(ME, "read", sent.request_id, "")] == await audit(ledger, tenant)


async def test_nothing_is_stored_unless_it_is_wanted(ledger: LedgerProcess, parts: Parts) -> None:
    """An edge that has not heard of it yet, or names a tenant that has no account, changes nothing."""
    wants, never, stopped = await new_tenant(ledger), await new_tenant(ledger, 0), await new_tenant(ledger)
    await set_days(ledger, stopped, 0)

    done = await record(ledger, *map(a_capture, (never, wants, stopped, f"nobody-{uuid.uuid4()}")))

    assert (1, 0, 3) == done
    tenants = await parts.rows("captured_texts", "tenant")
    assert {wants} == {tenant for (tenant,) in tenants} & {never, wants, stopped}


async def test_a_request_is_stored_once(ledger: LedgerProcess) -> None:
    """An edge may send again what it does not know to be stored."""
    tenant = await new_tenant(ledger)
    sent = a_capture(tenant)
    other = a_capture(tenant)
    other.request_id = sent.request_id

    assert (1, 0, 0) == await record(ledger, sent)
    assert (0, 2, 0) == await record(ledger, sent, other)
    assert sent.texts == (await get(ledger, tenant, sent.request_id)).texts


async def test_edges_learn_who_wants_it(ledger: LedgerProcess, parts: Parts) -> None:
    """All of them, page by page, and none that has turned it off."""
    wants, never = await new_tenant(ledger), await new_tenant(ledger, 0)
    await parts.pool.execute(
        "INSERT INTO tenants (tenant, capture_days) SELECT 'page-' || n, 1 FROM generate_series(1, 1500) AS n"
    )
    found: list[str] = []
    while True:
        asked = capturespb.ListCapturingTenantsRequest(after=found[-1] if found else "")
        page = await ledger.captures.ListCapturingTenants(asked)
        found += page.tenants
        assert len(page.tenants) <= 1000
        if not page.has_more:
            break
    await parts.pool.execute("DELETE FROM tenants WHERE tenant LIKE 'page-%'")

    assert wants in found
    assert never not in found
    assert 1500 == sum(tenant.startswith("page-") for tenant in found)
    assert len(found) == len(set(found))


async def test_nobody_gets_what_has_expired_or_is_another_tenants(ledger: LedgerProcess, parts: Parts) -> None:
    """Neither by its id nor in a list; it is as if it were not there, and nothing is on record."""
    tenant, other = await new_tenant(ledger), await new_tenant(ledger)
    old, mine = a_capture(tenant), a_capture(other)
    await record(ledger, old, mine)
    await parts.pool.execute(
        "UPDATE captured_texts SET expires_at = now() - interval '1 s' WHERE request_id = $1", old.request_id
    )

    for asked in ((tenant, old.request_id), (tenant, mine.request_id), (other, str(uuid.uuid4()))):
        request = capturespb.GetCaptureRequest(actor=ME, tenant=asked[0], request_id=asked[1])
        assert grpc.StatusCode.NOT_FOUND == await status_of(ledger.captures.GetCapture(request))
    assert [] == [*(await listed(ledger, tenant)).captures]
    assert [mine.request_id] == [each.request_id for each in (await listed(ledger, other)).captures]
    assert [(ME, "list", "", "")] == await audit(ledger, tenant)


async def test_a_list_has_no_texts_and_is_on_record(ledger: LedgerProcess) -> None:
    """Page by page, the newest first, of one user where that is asked for."""
    tenant = await new_tenant(ledger)
    sent = [a_capture(tenant, user) for user in ("ada", "bob") for _ in range(3)]
    await record(ledger, *sent)
    expected = sorted((each.request_id for each in sent), reverse=True)

    first = await listed(ledger, tenant, page_size=4)
    second = await listed(ledger, tenant, page_size=4, page_token=first.next_page_token)
    of_bob = await listed(ledger, tenant, "bob")

    assert expected == [each.request_id for each in [*first.captures, *second.captures]]
    assert "" == second.next_page_token
    assert {"bob"} == {each.user for each in of_bob.captures}
    assert 3 == len(of_bob.captures)
    assert {b""} == {each.texts.ciphertext for each in first.captures}
    assert [(ME, "list", "bob", ""), (ME, "list", "", ""), (ME, "list", "", "")] == await audit(ledger, tenant)


async def test_turned_off_what_is_there_stays_as_long_as_was_promised(ledger: LedgerProcess) -> None:
    """Neither longer nor shorter, whatever the account says afterwards."""
    tenant = await new_tenant(ledger, capture_days=10)
    sent = a_capture(tenant)
    await record(ledger, sent)
    end = (await get(ledger, tenant, sent.request_id)).expires_at

    for days in (0, 1, 365):
        await set_days(ledger, tenant, days)
        await record(ledger, sent)
        assert end == (await get(ledger, tenant, sent.request_id)).expires_at


async def test_what_is_stored_while_it_is_turned_off_is_not_there_afterwards(
    ledger: LedgerProcess, parts: Parts
) -> None:
    """The change waits for what is being stored, and what comes later is unwanted: erasing then erases all."""
    tenant = await new_tenant(ledger)
    async with parts.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE tenants SET capture_days = 0 WHERE tenant = $1", tenant)
        storing = asyncio.create_task(record(ledger, a_capture(tenant)))
        await until(lambda: someone_waits_for_a_lock(parts.pool))

    assert (0, 0, 1) == await storing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "none"),
        ("tenant", ""),
        ("tenant", "a\0b"),
        ("user", ""),
        ("user", "x" * 201),
        ("texts.key_id", "no such id"),
        ("texts.key_id", ""),
        ("texts.nonce", bytes(11)),
        ("texts.ciphertext", b""),
        ("texts.ciphertext", bytes(1024 * 1024 + 1)),
        ("asked_at.seconds", 2**62),
        ("asked_at.seconds", -(2**62)),
        ("asked_at.seconds", -62_135_596_801),
        ("asked_at.seconds", 253_402_300_799),
        ("asked_at.nanos", -1),
    ],
)
async def test_what_is_no_capture_is_refused(ledger: LedgerProcess, field: str, value: Any) -> None:
    """As a fault of its sender, and nothing of the batch is stored."""
    good = a_capture(await new_tenant(ledger))
    bad = capturespb.Capture.FromString(good.SerializeToString())
    bad.request_id = str(uuid.uuid4())
    *path, name = field.split(".")
    setattr(getattr(bad, path[0]) if path else bad, name, value)

    call = ledger.captures.Record(capturespb.RecordRequest(captures=[good, bad]))

    assert grpc.StatusCode.INVALID_ARGUMENT == await status_of(call)
    assert [] == [*(await listed(ledger, good.tenant)).captures]


async def test_questions_have_bounds(ledger: LedgerProcess) -> None:
    """Nobody without a name, no list without an end, no other token, no thousand captures at a time."""
    tenant = await new_tenant(ledger)
    request_id = str(uuid.uuid4())
    calls: Sequence[grpc.aio.UnaryUnaryCall[Any, Any]] = [
        ledger.captures.Record(capturespb.RecordRequest(captures=[a_capture(tenant)] * 101)),
        ledger.captures.GetCapture(capturespb.GetCaptureRequest(tenant=tenant, request_id=request_id)),
        ledger.captures.GetCapture(capturespb.GetCaptureRequest(actor=ME, request_id=request_id)),
        ledger.captures.GetCapture(capturespb.GetCaptureRequest(actor=ME, tenant=tenant, request_id="1")),
        ledger.captures.ListCaptures(capturespb.ListCapturesRequest(tenant=tenant)),
        ledger.captures.ListCaptures(capturespb.ListCapturesRequest(actor=ME)),
        ledger.captures.ListCaptures(capturespb.ListCapturesRequest(actor=ME, tenant=tenant, page_size=1001)),
        ledger.captures.ListCaptures(capturespb.ListCapturesRequest(actor=ME, tenant=tenant, page_token="x")),
        ledger.captures.ListCapturingTenants(capturespb.ListCapturingTenantsRequest(after="a\0")),
    ]
    for call in calls:
        assert grpc.StatusCode.INVALID_ARGUMENT == await status_of(call)


async def test_days_of_an_account_have_bounds_and_are_on_record(ledger: LedgerProcess) -> None:
    """What an operator opts in to is a change like any other."""
    tenant = await new_tenant(ledger, 0)
    await set_days(ledger, tenant, 365)
    too_long = accountspb.UpdateTenantRequest(
        actor=ME,
        tenant=accountspb.Tenant(tenant=tenant, capture_days=366),
        mask=FieldMask(paths=["capture_days"]),
    )

    assert grpc.StatusCode.INVALID_ARGUMENT == await status_of(ledger.accounts.UpdateTenant(too_long))
    entry = (await ledger.accounts.ListAudit(accountspb.ListAuditRequest(tenant=tenant))).entries[0]
    assert (0, 365) == (json.loads(entry.before)["capture_days"], json.loads(entry.after)["capture_days"])
    assert "update" == entry.action


class Commands:
    """Runs the operator's commands on the module's database."""

    def __init__(self, postgres_url: str, redis_url: str, folder: Path) -> None:
        self._values = environment(postgres_url, redis_url)
        self.key_file = folder / "keys"
        self.key_file.write_text(f"one: {base64.b64encode(_KEY).decode()}\n")

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one."""
        return await asyncio.to_thread(run_ledger_command, self._values, *arguments)

    async def out(self, *arguments: str) -> str:
        """Return what one prints that must succeed."""
        done = await self.run(*arguments)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    async def show(self, tenant: str, request_id: str) -> subprocess.CompletedProcess[str]:
        """Show one."""
        return await self.run("captures", "show", request_id, "--tenant", tenant, "--key-file", str(self.key_file))


@pytest.fixture(name="commands")
def _commands(database_url: str, redis_url: str, tmp_path: Path) -> Commands:
    return Commands(database_url, redis_url, tmp_path)


async def test_an_operator_opts_in_lists_shows_and_erases(ledger: LedgerProcess, commands: Commands) -> None:
    """With a command each; all of it is on record."""
    tenant = f"tenant-{uuid.uuid4()}"
    await commands.out("tenants", "create", tenant)
    await commands.out("tenants", "update", tenant, "--capture-days", "14")
    assert "14" in (await commands.out("tenants", "show", tenant)).split("capture_days:")[1]
    ada, bob = a_capture(tenant, prompt="From \x1b[31mada"), a_capture(tenant, "bob")
    await record(ledger, ada, bob)

    table = await commands.out("captures", "list", "--tenant", tenant)
    of_bob = await commands.out("captures", "list", "--tenant", tenant, "--user", "bob")
    shown = (await commands.show(tenant, ada.request_id)).stdout

    assert ada.request_id in table
    assert bob.request_id in table
    assert ada.request_id not in of_bob
    assert "prompt:\nFrom \\u001b[31mada\n" in shown
    assert "answer:\nI.\n" in shown
    assert "ended:   ok, stop\n" in shown
    erased = await commands.out("captures", "delete", "--tenant", tenant, "--user", "bob")
    assert "deleted 1 captures\n" == erased
    assert [ada.request_id] == [each.request_id for each in (await listed(ledger, tenant)).captures]
    assert "deleted 1 captures\n" == await commands.out("captures", "delete", "--tenant", tenant)
    assert "deleted 0 captures\n" == await commands.out("captures", "delete", "--tenant", tenant)
    on_record = [entry[1:] for entry in await audit(ledger, tenant) if entry[0] != ME]
    assert [
        ("delete", "", '{"captures": 0}'),
        ("delete", "", '{"captures": 1}'),
        ("delete", "bob", '{"captures": 1}'),
        ("read", ada.request_id, ""),
        ("list", "bob", ""),
        ("list", "", ""),
    ] == on_record
    await commands.out("tenants", "update", tenant, "--capture-days", "0")


async def test_a_text_that_cannot_be_shown_says_why(ledger: LedgerProcess, commands: Commands) -> None:
    """The key is gone, or another, or the row was moved: one line that names the key, and status 2."""
    tenant, other = await new_tenant(ledger), await new_tenant(ledger)
    sent = a_capture(tenant)
    moved = a_capture(other)
    moved.texts.CopyFrom(sent.texts)
    await record(ledger, sent, moved)

    shown = await commands.show(other, moved.request_id)
    commands.key_file.write_text(f"two: {base64.b64encode(bytes(32)).decode()}\n")
    lost = await commands.show(tenant, sent.request_id)
    commands.key_file.write_text("")
    no_key = await commands.show(tenant, sent.request_id)
    nothing = await commands.run("captures", "show", "1", "--tenant", tenant, "--key-file", "/nowhere")

    for done, reason in (
        (shown, "the key 'one' does not open it"),
        (lost, "sealed with the key 'one', which is not in the key file"),
        (no_key, "must have 1 to 100 keys"),
        (nothing, "/nowhere: No such file"),
    ):
        assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
        assert reason in done.stderr


@pytest.mark.parametrize("days", ["-1", "366", "soon"])
async def test_days_that_there_are_not_are_refused(commands: Commands, days: str) -> None:
    """A command says what may be."""
    done = await commands.run("tenants", "create", "never", "--capture-days", days)

    assert 2 == done.returncode
    assert "--capture-days" in done.stderr
