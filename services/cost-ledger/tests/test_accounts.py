"""Tenants, teams, users and keys over the RPCs of the real process, and what Postgres then has."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from kit.ledger.process import LedgerProcess, running_ledger
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.accounts.v1 import accounts_pb2_grpc

Stub: TypeAlias = "accounts_pb2_grpc.AccountsServiceAsyncStub"
PEPPER = "pepper-of-the-tests-0123456789-abcdef"
ME = "cli:tests"


@pytest.fixture(scope="module", name="ledger")
async def _ledger(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerProcess]:
    folder: Path = tmp_path_factory.mktemp("ledger")
    (folder / "pepper").write_text(PEPPER + "\n")
    async with running_ledger(folder, database_url, redis_url, KEY_PEPPER_FILE=folder / "pepper") as ledger:
        yield ledger


@pytest.fixture(name="stub")
def _stub(ledger: LedgerProcess) -> Stub:
    return ledger.accounts


@pytest.fixture(name="tenant")
async def _tenant(stub: Stub) -> str:
    """Return a new tenant with the team `red` and the users `ada`, who is in it, and `bob`."""
    name = f"tenant-{uuid.uuid4()}"
    await stub.CreateTenant(accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant=name)))
    await stub.CreateTeam(accountspb.CreateTeamRequest(actor=ME, team=accountspb.Team(tenant=name, team="red")))
    for user, team in (("ada", "red"), ("bob", "")):
        made = accountspb.User(tenant=name, user=user, team=team)
        await stub.CreateUser(accountspb.CreateUserRequest(actor=ME, user=made))
    return name


async def refusal(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[grpc.StatusCode, str]:
    """Return how a call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def make_key(stub: Stub, tenant: str, **fields: Any) -> accountspb.CreateKeyResponse:
    """Make a key."""
    key = accountspb.Key(tenant=tenant, **fields)
    return await stub.CreateKey(accountspb.CreateKeyRequest(actor=ME, key=key))


async def changes(stub: Stub, since: int) -> Sequence[accountspb.KeyRecord]:
    """Return what an edge learns that knows all up to a revision."""
    return (await stub.ListKeyChanges(accountspb.ListKeyChangesRequest(since_revision=since))).records


async def revision(stub: Stub) -> int:
    """Return the revision of the last change."""
    return (await stub.ListKeyChanges(accountspb.ListKeyChangesRequest(since_revision=2**62))).revision


async def audit(stub: Stub, tenant: str, **filters: Any) -> Sequence[accountspb.AuditEntry]:
    """Return the changes of a tenant, the newest first."""
    return (await stub.ListAudit(accountspb.ListAuditRequest(tenant=tenant, **filters))).entries


def disabling_user(tenant: str, user: str, *, enable: bool = False) -> accountspb.DisableUserRequest:
    """Return the request that disables a user."""
    return accountspb.DisableUserRequest(actor=ME, tenant=tenant, user=user, enable=enable)


async def test_a_key_is_shown_once_and_kept_as_a_hash(
    ledger: LedgerProcess, stub: Stub, tenant: str, database_url: str
) -> None:
    """What edges get verifies the key with the pepper; neither the database nor the log holds the secret."""
    before = await revision(stub)
    made = await make_key(stub, tenant, user="ada", name="laptop", models=["fast*"], endpoints=["/v1/*"])
    key_id, _, secret = made.secret_key.removeprefix("sk-spillway-").partition("-")
    [record] = await changes(stub, before)
    shown = (await stub.GetKey(accountspb.GetKeyRequest(key_id=key_id))).key

    assert hmac.digest(PEPPER.encode(), f"{key_id}-{secret}".encode(), "sha256") == record.hash
    assert (accountspb.SCHEME_HMAC_SHA256, "red", accountspb.TIER_FREE) == (
        record.scheme,
        record.key.team,
        record.key.tier,
    )
    assert made.key == shown
    assert (key_id, "ada", "laptop", ["fast*"], ["/v1/*"], [accountspb.ROLE_USER], secret[-4:]) == (
        shown.key_id,
        shown.user,
        shown.name,
        list(shown.models),
        list(shown.endpoints),
        list(shown.roles),
        shown.last_characters,
    )
    rotated = await stub.RotateKey(accountspb.RotateKeyRequest(actor=ME, key_id=key_id))
    for made_key in (made, rotated):
        assert made_key.secret_key.split("-", 3)[3] not in ledger.log_file.read_text()
    connection = await asyncpg.connect(database_url)
    try:
        for table in ("api_keys", "audit_log"):
            rows = await connection.fetch(f"SELECT t::text FROM {table} AS t")  # noqa: S608
            assert not [row for row in rows if secret in row[0] or PEPPER in row[0]]
            assert table == "api_keys" or not [row for row in rows if record.hash.hex() in row[0]]
    finally:
        await connection.close()


async def test_every_change_is_an_audit_entry(stub: Stub, tenant: str) -> None:
    """Who, what, before and after, the newest first; of a refused change there is none."""
    await stub.UpdateUser(
        accountspb.UpdateUserRequest(
            actor="cli:root",
            user=accountspb.User(tenant=tenant, user="bob", tier=accountspb.TIER_PREMIUM, team="red"),
            mask=FieldMask(paths=["tier", "team"]),
        )
    )
    await stub.DisableUser(disabling_user(tenant, "bob"))
    await stub.DisableUser(disabling_user(tenant, "bob"))
    await refusal(stub.DisableUser(disabling_user(tenant, "carol")))
    entries = await audit(stub, tenant)

    assert [
        (ME, "disable", "user", "bob"),
        ("cli:root", "update", "user", "bob"),
        (ME, "create", "user", "bob"),
        (ME, "create", "user", "ada"),
        (ME, "create", "team", "red"),
        (ME, "create", "tenant", tenant),
    ] == [(each.actor, each.action, each.kind, each.id) for each in entries]
    before, after = json.loads(entries[1].before), json.loads(entries[1].after)
    assert (None, None, "premium", "red") == (before["tier"], before["team"], after["tier"], after["team"])
    assert "" == entries[2].before
    assert entries[0].changed_at.ToDatetime(tzinfo=UTC) > datetime.now(UTC) - timedelta(hours=1)
    assert [entries[0], entries[1], entries[2]] == list(await audit(stub, tenant, kind="user", id="bob"))


async def test_whoever_is_disabled_takes_their_keys_along(stub: Stub, tenant: str) -> None:
    """Edges learn of it as a change of each key, with its owner's state; enabling brings the keys back."""
    ada, bob = await make_key(stub, tenant, user="ada"), await make_key(stub, tenant, user="bob")
    own, team = await make_key(stub, tenant), await make_key(stub, tenant, team="red")
    cases: list[tuple[Any, set[str]]] = [
        (stub.DisableUser, {ada.key.key_id}),
        (stub.DisableTeam, {ada.key.key_id, team.key.key_id}),
        (stub.DisableTenant, {ada.key.key_id, bob.key.key_id, own.key.key_id, team.key.key_id}),
    ]
    requests: list[Any] = [
        disabling_user(tenant, "ada"),
        accountspb.DisableTeamRequest(actor=ME, tenant=tenant, team="red"),
        accountspb.DisableTenantRequest(actor=ME, tenant=tenant),
    ]
    for (call, expected), request in zip(cases, requests, strict=True):
        before = await revision(stub)
        await call(request)
        dead = await changes(stub, before)
        assert expected == {record.key.key_id for record in dead}
        assert all(record.key.HasField("disabled_at") for record in dead)
        request.enable = True
        before = await revision(stub)
        await call(request)
        alive = await changes(stub, before)
        assert expected == {record.key.key_id for record in alive}
        assert not any(record.key.HasField("disabled_at") for record in alive)


async def test_a_tier_is_inherited(stub: Stub, tenant: str) -> None:
    """A key's own tier goes before its user's, and that before its tenant's; a change reaches all that inherit it."""
    for user, tier in (("ada", accountspb.TIER_UNSPECIFIED), ("bob", accountspb.TIER_ENTERPRISE)):
        await make_key(stub, tenant, user=user, tier=tier)
    before = await revision(stub)
    changed = accountspb.Tenant(tenant=tenant, tier=accountspb.TIER_PREMIUM)
    await stub.UpdateTenant(accountspb.UpdateTenantRequest(actor=ME, tenant=changed, mask=FieldMask(paths=["tier"])))

    assert {"ada": accountspb.TIER_PREMIUM, "bob": accountspb.TIER_ENTERPRISE} == {
        record.key.user: record.key.tier for record in await changes(stub, before)
    }


async def test_a_key_has_the_team_of_its_user(stub: Stub, tenant: str) -> None:
    """As it is now: edges learn of a new team, and of none, as of a change of the key; no other key is concerned."""
    made = await make_key(stub, tenant, user="bob")
    await make_key(stub, tenant, user="ada")
    for team in ("red", ""):
        before = await revision(stub)
        moved = accountspb.User(tenant=tenant, user="bob", team=team)
        await stub.UpdateUser(accountspb.UpdateUserRequest(actor=ME, user=moved, mask=FieldMask(paths=["team"])))
        [record] = await changes(stub, before)
        assert (made.key.key_id, "bob", team) == (record.key.key_id, record.key.user, record.key.team)


async def test_a_team_is_one_of_its_tenant(stub: Stub, tenant: str) -> None:
    """Another tenant may have one of the same name, with users of the same names: neither concerns the other."""
    other = f"tenant-{uuid.uuid4()}"
    await stub.CreateTenant(accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant=other)))
    await stub.CreateTeam(accountspb.CreateTeamRequest(actor=ME, team=accountspb.Team(tenant=other, team="red")))
    ada = accountspb.User(tenant=other, user="ada", team="red", tier=accountspb.TIER_PREMIUM)
    await stub.CreateUser(accountspb.CreateUserRequest(actor=ME, user=ada))
    at = await revision(stub)
    owners: list[dict[str, Any]] = [{"user": "ada"}, {"team": "red"}]
    ours = {(await make_key(stub, tenant, **owner)).key.key_id for owner in owners}
    theirs = {(await make_key(stub, other, **owner)).key.key_id for owner in owners}
    made = [(record.key.key_id, record.key.tenant, record.key.tier) for record in await changes(stub, at)]
    before = await revision(stub)
    await stub.DisableTeam(accountspb.DisableTeamRequest(actor=ME, tenant=tenant, team="red"))

    assert ours | theirs == {key_id for key_id, _, _ in made}
    assert 4 == len(made)
    assert {accountspb.TIER_FREE} == {tier for _, owner, tier in made if owner == tenant}
    assert {accountspb.TIER_PREMIUM, accountspb.TIER_FREE} == {tier for _, owner, tier in made if owner == other}
    assert ours == {record.key.key_id for record in await changes(stub, before)}
    for record in await changes(stub, at):
        assert (record.key.key_id in ours) == record.key.HasField("disabled_at")


async def test_a_rotated_key_ends_at_once_or_after_its_grace(stub: Stub, tenant: str) -> None:
    """The new one is like it in all but id and secret; one that has ended is not rotated again."""
    old = await make_key(stub, tenant, user="ada", name="ci", models=["fast"], roles=[accountspb.ROLE_ADMIN])
    kept = await stub.RotateKey(
        accountspb.RotateKeyRequest(actor=ME, key_id=old.key.key_id, grace=Duration(seconds=3600))
    )
    gone = await stub.RotateKey(accountspb.RotateKeyRequest(actor=ME, key_id=kept.key.key_id))

    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    assert abs(kept.replaced.expires_at.ToDatetime(tzinfo=UTC) - in_an_hour) < timedelta(minutes=5)
    assert not kept.replaced.HasField("disabled_at")
    assert gone.replaced.HasField("disabled_at")
    assert (old.key.key_id, kept.key.key_id) == (kept.key.replaces, gone.key.replaces)
    assert ("ci", ["fast"], [accountspb.ROLE_ADMIN], "ada") == (
        gone.key.name,
        list(gone.key.models),
        list(gone.key.roles),
        gone.key.user,
    )
    assert 3 == len({old.secret_key, kept.secret_key, gone.secret_key})
    again = accountspb.RotateKeyRequest(actor=ME, key_id=kept.key.key_id)
    assert (grpc.StatusCode.FAILED_PRECONDITION, "this key has ended; make a new one") == await refusal(
        stub.RotateKey(again)
    )
    assert ["rotate", "create", "rotate", "create", "create"] == [
        each.action for each in await audit(stub, tenant, kind="key")
    ]


async def test_a_grace_does_not_lengthen_a_key(stub: Stub, tenant: str) -> None:
    """One that would have ended before still does."""
    in_a_minute = Timestamp(seconds=int(datetime.now(UTC).timestamp()) + 60)
    old = await make_key(stub, tenant, expires_at=in_a_minute)
    grace = Duration(seconds=3600)
    done = await stub.RotateKey(accountspb.RotateKeyRequest(actor=ME, key_id=old.key.key_id, grace=grace))

    assert in_a_minute == done.replaced.expires_at == done.key.expires_at


def salted(key_id: str, tenant: str, **fields: Any) -> accountspb.KeyRecord:
    """Return a key as a key file has it."""
    salt = b"\x01" * 16
    return accountspb.KeyRecord(
        key=accountspb.Key(key_id=key_id, tenant=tenant, **fields),
        scheme=accountspb.SCHEME_SALTED_SHA256,
        salt=salt,
        hash=hashlib.sha256(salt + b"s3cret").digest(),
    )


async def test_keys_are_taken_over_with_their_hashes_and_owners(stub: Stub) -> None:
    """A second import adds nothing, and one bad key keeps all of its import out."""
    tenant, first, second = f"imported-{uuid.uuid4()}", uuid.uuid4().hex, uuid.uuid4().hex
    before = await revision(stub)
    records = [salted(first, tenant, user="ada", tier=accountspb.TIER_PREMIUM), salted(second, tenant, user="bob")]
    done = await stub.ImportKeys(accountspb.ImportKeysRequest(actor=ME, records=records))
    again = await stub.ImportKeys(accountspb.ImportKeysRequest(actor=ME, records=records))
    bad = [salted(uuid.uuid4().hex, tenant, user="eve"), salted("no-id", tenant)]
    code, details = await refusal(stub.ImportKeys(accountspb.ImportKeysRequest(actor=ME, records=bad)))

    assert (2, 0, 0, 2) == (done.imported, done.known, again.imported, again.known)
    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert "'no-id'" in details
    found = {record.key.key_id: record for record in await changes(stub, before)}
    assert {first, second} == found.keys()
    assert (records[0].hash, records[0].salt, accountspb.TIER_PREMIUM) == (
        found[first].hash,
        found[first].salt,
        found[first].key.tier,
    )
    users = await stub.ListUsers(accountspb.ListUsersRequest(tenant=tenant))
    assert ["ada", "bob"] == [user.user for user in users.users]
    assert {"import"} == {each.action for each in await audit(stub, tenant)}


async def test_a_known_key_with_another_hash_is_told(stub: Stub) -> None:
    """An import leaves it as it is: what is sent would not open, and nobody would know why."""
    tenant = f"imported-{uuid.uuid4()}"
    same, other, salty, new = (uuid.uuid4().hex for _ in range(4))
    records = [salted(key_id, tenant) for key_id in (same, other, salty)]
    await stub.ImportKeys(accountspb.ImportKeysRequest(actor=ME, records=records))
    before = await revision(stub)
    records[1].hash, records[2].salt = b"h" * 32, b"t" * 16
    again = await stub.ImportKeys(accountspb.ImportKeysRequest(actor=ME, records=[*records, salted(new, tenant)]))

    assert (1, 3, sorted([other, salty])) == (again.imported, again.known, list(again.differing))
    assert [new] == [record.key.key_id for record in await changes(stub, before)]


async def test_whoever_follows_revisions_misses_no_key(stub: Stub, tenant: str) -> None:
    """While many are made at a time, each page goes on where the last one ended, and all are seen."""
    at = await revision(stub)
    seen: set[str] = set()
    making = asyncio.gather(*(make_key(stub, tenant, user="ada") for _ in range(40)))
    while len(seen) < 40:
        asked = accountspb.ListKeyChangesRequest(since_revision=at, limit=3)
        page = await stub.ListKeyChanges(asked, timeout=20)
        revisions = [record.key.revision for record in page.records]
        assert sorted(set(revisions)) == revisions
        seen |= {record.key.key_id for record in page.records}
        at = revisions[-1] if revisions else at
        assert page.revision >= at
        if making.done() and not revisions:
            break

    assert {made.key.key_id for made in await making} <= seen


async def test_lists_go_on_where_a_page_ended(stub: Stub, tenant: str) -> None:
    """Each user is in one page, in the order of their ids; keys can be listed by user."""
    for number in range(5):
        user = accountspb.User(tenant=tenant, user=f"user-{number}")
        await stub.CreateUser(accountspb.CreateUserRequest(actor=ME, user=user))
    seen: list[str] = []
    token = ""
    while not seen or token:
        page = await stub.ListUsers(accountspb.ListUsersRequest(tenant=tenant, page_size=3, page_token=token))
        seen += [user.user for user in page.users]
        token = page.next_page_token
    key = await make_key(stub, tenant, user="bob")
    await make_key(stub, tenant, user="ada")
    listed = await stub.ListKeys(accountspb.ListKeysRequest(tenant=tenant, user="bob"))

    assert ["ada", "bob", *(f"user-{number}" for number in range(5))] == seen
    assert [key.key.key_id] == [each.key_id for each in listed.keys]
    pages = [(await stub.ListAudit(accountspb.ListAuditRequest(tenant=tenant, page_size=4))).next_page_token]
    rest = await stub.ListAudit(accountspb.ListAuditRequest(tenant=tenant, page_token=pages[0]))
    assert 7 == len(rest.entries)


async def test_what_is_not_there_or_there_already(stub: Stub, tenant: str) -> None:
    """The status says which, and nothing was changed."""
    twice = accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant=tenant))
    nobody = accountspb.CreateKeyRequest(actor=ME, key=accountspb.Key(tenant=tenant, user="carol"))
    other = accountspb.GetUserRequest(tenant=f"{tenant}x", user="ada")

    assert (grpc.StatusCode.ALREADY_EXISTS, "this tenant is there already") == await refusal(stub.CreateTenant(twice))
    assert grpc.StatusCode.NOT_FOUND == (await refusal(stub.CreateKey(nobody)))[0]
    assert (grpc.StatusCode.NOT_FOUND, "there is no such user") == await refusal(stub.GetUser(other))
    assert 4 == len(await audit(stub, tenant))


KEY = {"actor": ME, "key": {"tenant": "acme"}}


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        ("CreateTenant", {"tenant": {"tenant": "acme"}}, "actor must not be empty"),
        ("CreateTenant", {"actor": ME, "tenant": {"tenant": ""}}, "tenant must not be empty"),
        ("CreateTenant", {"actor": ME, "tenant": {"tenant": "ac\0me"}}, "tenant must not have control characters"),
        ("CreateTenant", {"actor": ME, "tenant": {"tenant": "x" * 201}}, "tenant must have at most 200 characters"),
        ("CreateTenant", {"actor": ME, "tenant": {"tenant": "a", "tier": 99}}, "tier must be free, premium or"),
        ("CreateUser", {"actor": ME, "user": {"tenant": "a", "user": "key:1"}}, "user must not begin with"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "user": "b", "team": "c"}}, "a key has one owner"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "key_id": "b"}}, "key_id is made by the ledger"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "roles": [77]}}, "roles must be roles that there are"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "models": ["x"] * 101}}, "models must be at most 100"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "endpoints": ["v1"]}}, "endpoints must be paths"),
        ("CreateKey", {"actor": ME, "key": {"tenant": "a", "expires_at": Timestamp(seconds=2**50)}}, "expires_at must"),
        ("UpdateTenant", {"actor": ME, "tenant": {"tenant": "a"}, "mask": {"paths": ["disabled_at"]}}, "mask must"),
        ("UpdateTenant", {"actor": ME, "tenant": {"tenant": "a"}}, "mask must name some of: name, tier"),
        ("RotateKey", {"actor": ME, "key_id": "a", "grace": {"seconds": -1}}, "grace must be from 0"),
        ("RotateKey", {"actor": ME, "key_id": "a", "grace": {"seconds": 2**62}}, "grace must be from 0"),
        ("ListTenants", {"page_size": 1001}, "page_size must be at most 1000"),
        ("ListTenants", {"page_token": "!"}, "page_token is none of this list"),
        ("ListAudit", {"kind": "cat"}, "kind must be one of"),
        ("ListAudit", {"page_token": "-1"}, "page_token is none"),
        (
            "PutBudget",
            {"actor": ME, "budget": {"name": "b", "each": "user", "per": "day", "usd": "a"}},
            "usd must be an",
        ),
        ("PutBudget", {"actor": ME, "budget": {"name": "b", "usd": "1" * 41}}, "usd is too long"),
        (
            "PutBudget",
            {"budget": {"name": "b", "each": "user", "per": "day", "usd": "1", "over": "warn"}},
            "actor must",
        ),
        ("RemoveBudget", {"actor": "a\0b", "name": "user-daily"}, "actor must"),
        ("ListKeyChanges", {"since_revision": -1}, "since_revision must not be negative"),
    ],
)
async def test_fields_are_checked(stub: Stub, method: str, fields: dict[str, Any], words: str) -> None:
    """The refusal names the field and the rule."""
    request = getattr(accountspb, f"{method}Request")(**fields)
    code, details = await refusal(getattr(stub, method)(request))

    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert words in details


async def test_any_text_anywhere_is_answered(ledger: LedgerProcess, stub: Stub) -> None:
    """Whatever a text field of a request or of its message holds, nothing crashes."""
    texts = ("", "\0", "x" * 100_000, "\U0010ffff\u202e", "'; DROP TABLE api_keys; --", "%", "{}")
    service = accountspb.DESCRIPTOR.services_by_name["AccountsService"]
    allowed = {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
    for method in service.methods:
        for text in texts:
            request = getattr(accountspb, method.input_type.name)()
            for field in method.input_type.fields:
                inner = getattr(request, field.name)
                if field.type == field.TYPE_STRING:
                    setattr(request, field.name, text)
                elif field.name in {"tenant", "team", "user", "key"}:
                    for each in inner.DESCRIPTOR.fields:
                        if each.type == each.TYPE_STRING and each.name not in {"key_id", "last_characters"}:
                            value = [text] if each.is_repeated else text
                            inner.MergeFrom(type(inner)(**{each.name: value}))
                elif field.name == "mask":
                    inner.paths.extend([text, "name"])
            status = grpc.StatusCode.OK
            try:
                await getattr(stub, method.name)(request, timeout=20.0)
            except grpc.aio.AioRpcError as error:
                status = error.code()
            assert status in allowed, (method.name, text[:20], status)
    assert not [line for line in ledger.log_lines() if line.get("level") in {"error", "critical"}]


async def test_without_a_pepper_no_key_is_made(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """The refusal says what to set; everything else works."""
    async with running_ledger(tmp_path, database_url, redis_url) as ledger:
        name = f"tenant-{uuid.uuid4()}"
        created = accountspb.CreateTenantRequest(actor=ME, tenant=accountspb.Tenant(tenant=name))
        await ledger.accounts.CreateTenant(created)
        asked = accountspb.CreateKeyRequest(actor=ME, key=accountspb.Key(tenant=name))
        code, details = await refusal(ledger.accounts.CreateKey(asked))

    assert grpc.StatusCode.FAILED_PRECONDITION == code
    assert "COST_LEDGER_KEY_PEPPER_FILE" in details


async def test_without_postgres_the_answer_says_so(redis_url: str, tmp_path: Path) -> None:
    """It is UNAVAILABLE, and no traceback is logged."""
    async with running_ledger(tmp_path, "postgresql://postgres@127.0.0.1:9/spillway", redis_url) as ledger:
        asked = ledger.accounts.ListTenants(accountspb.ListTenantsRequest(), timeout=10)
        assert grpc.StatusCode.UNAVAILABLE == (await refusal(asked))[0]
        assert "Traceback" not in ledger.log_file.read_text()
