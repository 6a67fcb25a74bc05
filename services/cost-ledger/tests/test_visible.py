"""What a user, a team or a tenant sees of the books, over the RPCs of the real process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.keys import Keys
from cost_ledger.accounts.kinds import TEAM, TENANT, USER
from cost_ledger.errors import AccountExists
from kit.ledger.cost_events import request, settled
from kit.ledger.process import LedgerProcess, Parts, running_ledger, until
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

DAY = "2026-11-21"


@pytest.fixture(scope="module", name="ledger")
async def _ledger(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerProcess]:
    async with running_ledger(tmp_path_factory.mktemp("ledger"), database_url, redis_url) as ledger:
        yield ledger


@pytest.fixture(name="asked")
async def _asked(parts: Parts, ledger: LedgerProcess) -> dict[str, ledgerpb.Request]:
    """Record a request of each: ada and a key of the team red, bob of none, and an ada of another tenant in red."""
    accounts, keys = Accounts(parts.pool), Keys(parts.pool, Pepper(b"p" * 32))
    for tenant in ("acme", "globex"):
        try:
            await accounts.create(TENANT, "tests", accountspb.Tenant(tenant=tenant))
            await accounts.create(TEAM, "tests", accountspb.Team(tenant=tenant, team="red"))
            await accounts.create(USER, "tests", accountspb.User(tenant=tenant, user="ada", team="red"))
            # In `acme` somebody else has this name, who is in no team.
            if tenant == "globex":
                await accounts.create(USER, "tests", accountspb.User(tenant=tenant, user="bob", team="red"))
        except AccountExists:
            pass
    made = await keys.create("tests", accountspb.Key(tenant="acme", team="red"))
    requests = {
        "ada": request(user="ada"),
        "bob": request(user="bob"),
        "team key": request(user=f"key:{made.key.key_id}"),
        "stranger": request(user="ada", tenant="globex"),
    }
    await parts.send(*[settled(each) for each in requests.values()])
    await until(parts.is_drained)
    return requests


CASES = [
    (ledgerpb.Visible(), ["ada", "bob", "team key"]),
    (ledgerpb.Visible(user="ada"), ["ada"]),
    (ledgerpb.Visible(user="carol"), []),
    (ledgerpb.Visible(team="red"), ["ada", "team key"]),
    (ledgerpb.Visible(team="blue"), []),
]


@pytest.mark.parametrize(("visible", "names"), CASES)
async def test_only_what_is_visible_is_counted_listed_and_shown(
    ledger: LedgerProcess, asked: dict[str, ledgerpb.Request], visible: ledgerpb.Visible, names: Sequence[str]
) -> None:
    """Figures, groups, lists and receipts agree; a receipt whose id was guessed does not exist."""
    group_by = [ledgerpb.SPEND_DIMENSION_USER]
    spend = await ledger.stub.GetSpend(
        ledgerpb.GetSpendRequest(tenant="acme", visible=visible, group_by=group_by, from_day=DAY, to_day=DAY)
    )
    listed = await ledger.stub.ListRequests(ledgerpb.ListRequestsRequest(tenant="acme", visible=visible))
    shown = []
    for name, each in asked.items():
        question = ledgerpb.GetRequestRequest(tenant="acme", request_id=each.request_id, visible=visible)
        call = ledger.stub.GetRequest(question)
        if await call.code() == grpc.StatusCode.OK:
            assert each == (await call).record.request
            shown.append(name)
        else:
            assert grpc.StatusCode.NOT_FOUND == await call.code()

    users = sorted(asked[name].user for name in names)
    assert len(names) == spend.total.requests
    assert users == sorted(group.key for group in spend.by_user) == sorted(group.keys[0] for group in spend.groups)
    assert users == sorted(record.request.user for record in listed.records)
    assert list(names) == shown


async def test_a_filter_does_not_widen_what_is_visible(
    ledger: LedgerProcess, asked: dict[str, ledgerpb.Request]
) -> None:
    """Whoever asks for another user's requests gets none."""
    for visible, user, count in (("ada", "bob", 0), ("ada", "ada", 1)):
        question = ledgerpb.ListRequestsRequest(tenant="acme", user=user, visible=ledgerpb.Visible(user=visible))
        assert count == len((await ledger.stub.ListRequests(question)).records)
    question = ledgerpb.ListRequestsRequest(tenant="acme", user="bob", visible=ledgerpb.Visible(team="red"))
    assert not (await ledger.stub.ListRequests(question)).records


async def test_a_user_and_a_team_at_once_is_refused(ledger: LedgerProcess, tmp_path: Path) -> None:
    """So is a NUL."""
    for visible in (ledgerpb.Visible(user="a", team="b"), ledgerpb.Visible(user="\0"), ledgerpb.Visible(team="\0")):
        for call in (
            ledger.stub.ListRequests(ledgerpb.ListRequestsRequest(tenant="acme", visible=visible)),
            ledger.stub.GetSpend(ledgerpb.GetSpendRequest(tenant="acme", visible=visible, from_day=DAY, to_day=DAY)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
