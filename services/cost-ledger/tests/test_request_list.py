"""Lists of requests from the real process: what is on a page, what follows it, and what is refused."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest

from cost_ledger.reading import requests as request_list
from cost_ledger.reading.reader import Reader
from kit.ledger.cost_events import MORNING, admitted, attempt, hit, request, settled, used
from kit.ledger.process import Parts, running_ledger, until
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc
from spillway.router.v1 import router_pb2 as routerpb

OLD = MORNING - timedelta(hours=2)


@pytest.fixture(scope="module")
async def stub(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ledger_pb2_grpc.LedgerServiceAsyncStub]:
    """Yield a client of a process that serves the module's database."""
    async with running_ledger(tmp_path_factory.mktemp("ledger"), database_url, redis_url) as ledger:
        yield ledger.stub


class Asker:
    """Asks the process for lists of one tenant."""

    def __init__(self, parts: Parts, stub: ledger_pb2_grpc.LedgerServiceAsyncStub) -> None:
        self.parts = parts
        self.stub = stub

    async def record(self, *events: ledgerpb.CostEvent) -> None:
        """Send events to the process and wait until they are recorded."""
        await self.parts.send(*events)
        await until(self.parts.is_drained)

    async def page(self, **fields: Any) -> ledgerpb.ListRequestsResponse:
        """Return one page."""
        return await self.stub.ListRequests(ledgerpb.ListRequestsRequest(**{"tenant": "acme", **fields}), timeout=10)

    async def ids(self, **fields: Any) -> list[str]:
        """Return the ids of all pages, in their order; no page but the last is empty or short."""
        found: list[str] = []
        token = ""
        while True:
            page = await self.page(page_token=token, **fields)
            found += [record.request.request_id for record in page.records]
            token = page.next_page_token
            if not token:
                return found
            assert fields.get("page_size", 50) == len(page.records)

    async def refusal(self, **fields: Any) -> str:
        """Return why a list is refused as the caller's error."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.page(**fields)
        assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
        return caught.value.details() or ""


@pytest.fixture
def ask(parts: Parts, stub: ledger_pb2_grpc.LedgerServiceAsyncStub) -> Asker:
    """Return what asks."""
    return Asker(parts, stub)


def newest_first(requests: Sequence[ledgerpb.Request]) -> list[str]:
    """Return the ids in the order of a list."""
    return sorted((each.request_id for each in requests), reverse=True)


async def test_a_list_has_every_request_once_newest_first(ask: Asker) -> None:
    """Whatever the size of a page, and none of another tenant."""
    asked = [request(at=OLD + timedelta(seconds=second)) for second in range(23)]
    foreign = [request(tenant="globex", at=OLD) for _ in range(5)]
    await ask.record(*map(settled, asked), *map(settled, foreign))

    for size in (1, 7, 23, 50):
        assert newest_first(asked) == await ask.ids(page_size=size), size
    assert newest_first(foreign) == await ask.ids(tenant="globex", page_size=2)
    assert [] == await ask.ids(tenant="initech")


async def test_a_record_of_a_list_is_the_receipt_without_attempts(ask: Asker) -> None:
    """Settled, a hit, still running: each says what its receipt says."""
    ended, replayed, running = request(), request(), request(at=OLD)
    await ask.record(settled(ended), hit(replayed, used()), admitted(running))

    for record in (await ask.page()).records:
        asked = ledgerpb.GetRequestRequest(tenant="acme", request_id=record.request.request_id)
        receipt = (await ask.stub.GetRequest(asked, timeout=10)).record
        assert len(receipt.attempts) == (record.request.request_id == ended.request_id)
        receipt.ClearField("attempts")
        assert receipt == record


async def test_a_list_stays_the_same_while_requests_come_in(ask: Asker) -> None:
    """What is recorded between two pages moves nothing: no row twice, none left out."""
    asked = [request(at=OLD + timedelta(seconds=second)) for second in range(10)]
    await ask.record(*map(settled, asked))
    first = await ask.page(page_size=4)
    await ask.record(*(settled(request(at=MORNING)) for _ in range(10)))
    rest = await ask.page(page_size=50, page_token=first.next_page_token)

    found = [record.request.request_id for page in (first, rest) for record in page.records]
    assert newest_first(asked) == found
    assert "" == rest.next_page_token


async def record_one_of_each(ask: Asker) -> dict[str, ledgerpb.Request]:
    """Record requests of which each differs from `usual` in one thing."""
    asked = {
        "usual": request(),
        "user": request(user="bob"),
        "model": request(model="smart"),
        "key": request(),
        "client's id": request(),
        "template": request(),
        "provider": request(),
        "target_model": request(),
        "failed": request(),
        "hit": request(),
        "running": request(),
        "lost": request(),
        "old": request(at=OLD),
    }
    asked["key"].key_id = "key-2"
    asked["client's id"].client_request_id = "trace/7 \0ü"
    failed = settled(asked["failed"])
    failed.settled.outcome = routerpb.OUTCOME_INTERRUPTED
    special = {
        "provider": settled(asked["provider"], [attempt(1, "anthropic", "claude-test"), attempt(2, usage=used())]),
        "target_model": settled(asked["target_model"], [attempt(1, "openai", "gpt-other", used())]),
        "failed": failed,
        "hit": hit(asked["hit"], used()),
        "running": admitted(asked["running"]),
        "lost": admitted(asked["lost"]),
    }
    await ask.record(*(special.get(name) or settled(each) for name, each in asked.items()))
    await ask.parts.pool.execute(
        "UPDATE requests SET state = CASE WHEN request_id = $1 THEN 'unsettled' ELSE state END, "
        "template = CASE WHEN request_id = $2 THEN 'summary' ELSE '' END",
        UUID(asked["lost"].request_id),
        UUID(asked["template"].request_id),
    )
    return asked


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "user": ({"user": "bob"}, {"user"}),
    "key": ({"key_id": "key-2"}, {"key"}),
    "client's id": ({"client_request_id": "trace/7 \0ü"}, {"client's id"}),
    "client's id of another": ({"client_request_id": "trace/7"}, set()),
    "model": ({"requested_model": "smart"}, {"model"}),
    "template": ({"template": "summary"}, {"template"}),
    "provider": ({"provider": "anthropic"}, {"provider"}),
    "target_model": ({"target_model": "gpt-other"}, {"target_model"}),
    "an attempt of both": ({"provider": "openai", "target_model": "claude-test"}, set()),
    "outcome": ({"outcome": routerpb.OUTCOME_INTERRUPTED}, {"failed"}),
    "state admitted": ({"state": ledgerpb.REQUEST_STATE_ADMITTED}, {"running"}),
    "state unsettled": ({"state": ledgerpb.REQUEST_STATE_UNSETTLED}, {"lost"}),
    "cache": ({"cache_status": ledgerpb.CACHE_STATUS_HIT}, {"hit"}),
    "to": ({"admitted_to": MORNING}, {"old"}),
    "from and to": ({"admitted_from": OLD, "admitted_to": OLD + timedelta(microseconds=1)}, {"old"}),
    "not before": ({"admitted_from": OLD + timedelta(microseconds=1), "admitted_to": MORNING}, set()),
    "two": ({"user": "ada", "cache_status": ledgerpb.CACHE_STATUS_HIT}, {"hit"}),
    "three": ({"user": "bob", "requested_model": "fast", "outcome": routerpb.OUTCOME_OK}, {"user"}),
    "contradiction": ({"user": "bob", "requested_model": "smart"}, set()),
    "unknown user": ({"user": "unknown"}, set()),
}
REST: dict[str, tuple[dict[str, Any], set[str]]] = {
    "outcome ok": ({"outcome": routerpb.OUTCOME_OK}, {"failed", "running", "lost"}),
    "state settled": ({"state": ledgerpb.REQUEST_STATE_SETTLED}, {"running", "lost"}),
    "from": ({"admitted_from": MORNING}, {"old"}),
}


async def test_each_filter_lets_through_what_it_names(ask: Asker) -> None:
    """Alone and together, each with what differs from the rest in just this."""
    asked = await record_one_of_each(ask)
    expected = FILTERS | {name: (fields, asked.keys() - others) for name, (fields, others) in REST.items()}
    for name, (fields, names) in expected.items():
        assert newest_first([asked[each] for each in names]) == await ask.ids(page_size=3, **fields), name


async def test_filters_without_an_index_are_applied_in_stretches(
    ask: Asker, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Few among many are all found, in order, and a page that has read its maximum goes on where it stopped."""
    asked = [request(at=OLD + timedelta(seconds=second)) for second in range(60)]
    await ask.record(*(hit(each, used()) if not place % 10 else settled(each) for place, each in enumerate(asked)))
    monkeypatch.setattr(request_list, "FIRST_STRETCH", 2)
    monkeypatch.setattr(request_list, "MAX_STRETCH", 8)
    monkeypatch.setattr(request_list, "MAX_ROWS_READ", 15)
    reader, place, found, lengths = Reader(parts.pool), None, [], []
    filters = request_list.RequestFilters(tenant="acme", cache_status="hit")
    while True:
        page = await reader.requests(filters, place, 2)
        found += [record.request.request_id for record in page.records]
        lengths.append(len(page.records))
        if page.next_cursor is None:
            break
        place = filters.place(page.next_cursor)
    assert newest_first(asked[::10]) == found
    assert {1, 2} >= set(lengths) - {0}
    assert len(lengths) > 3


async def correct(
    pool: asyncpg.Pool, asked: ledgerpb.Request, attempt_number: int, number: int, cost: str | None
) -> None:
    """Write a correction as `reprice` does."""
    await pool.execute(
        "INSERT INTO corrections (request_id, attempt_number, correction_number, tenant, before_price_version,"
        " cost_usd, price_version, reason) VALUES ($1, $2, $3, 'acme', 'v1', $4, 'v2', 'reprice')",
        UUID(asked.request_id),
        attempt_number,
        number,
        cost and Decimal(cost),
    )


async def test_the_newest_correction_of_each_attempt_counts(ask: Asker, parts: Parts) -> None:
    """In the receipt and in the list; what was recorded, and each correction, stays visible."""
    await parts.pool.execute("DELETE FROM corrections")
    plain, raised, unknown = (request(at=OLD + timedelta(seconds=second)) for second in range(3))
    two = [attempt(1, usage=used(1000, 0)), attempt(2, usage=used(2000, 0))]
    await ask.record(*(settled(each, two) for each in (plain, raised, unknown)))
    await correct(parts.pool, raised, 2, 1, "0.5")
    await correct(parts.pool, raised, 2, 2, "0.75")
    await correct(parts.pool, unknown, 1, 1, None)
    listed = [record.cost_usd if record.HasField("cost_usd") else None for record in (await ask.page()).records]
    receipts = [
        (
            await ask.stub.GetRequest(ledgerpb.GetRequestRequest(tenant="acme", request_id=each.request_id), timeout=10)
        ).record
        for each in (unknown, raised, plain)
    ]

    assert [None, "0.752506000", "0.007518000"] == listed
    assert listed == [record.cost_usd if record.HasField("cost_usd") else None for record in receipts]
    second = receipts[1].attempts[1]
    assert ("0.005012000", ["0.500000000", "0.750000000"], "v2", "reprice") == (
        second.cost_usd,
        [correction.cost_usd for correction in second.corrections],
        second.corrections[0].price_version,
        second.corrections[0].reason,
    )
    assert not receipts[0].attempts[0].corrections[0].HasField("cost_usd")
    await parts.pool.execute("DELETE FROM corrections")


async def test_a_cursor_is_of_one_list_only(ask: Asker) -> None:
    """Of another tenant, of other filters, changed in a byte, cut or made up: refused with what to do."""
    await ask.record(*(settled(request(user=user)) for user in ("ada", "ada", "bob", "bob")))
    token = (await ask.page(user="ada", page_size=1)).next_page_token
    data = bytearray(base64.urlsafe_b64decode(token))
    changed = []
    for place in range(len(data)):
        data[place] ^= 1
        changed.append(base64.urlsafe_b64encode(data).decode())
        data[place] ^= 1

    assert 1 == len((await ask.page(user="ada", page_token=token)).records)
    refused = [
        await ask.refusal(user="bob", page_token=token),
        await ask.refusal(page_token=token),
        await ask.refusal(user="ada", tenant="globex", page_token=token),
        await ask.refusal(user="ada", requested_model="fast", page_token=token),
        *[await ask.refusal(user="ada", page_token=each) for each in changed],
        *[await ask.refusal(user="ada", page_token=each) for each in (token[:-1], token[:20], "0", "ü", token * 2)],
    ]
    assert {"the cursor is not one of this list; go on with the filters it was made with, or begin without it"} == set(
        refused
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tenant": ""}, "tenant must be a name"),
        ({"page_size": 1001}, "page_size must be at most 1000"),
        ({"user": "a\0da"}, "must be names"),
        ({"outcome": 99}, "Outcome has no value 99"),
        ({"state": 99}, "RequestState has no value 99"),
        ({"cache_status": 99}, "CacheStatus has no value 99"),
    ],
)
async def test_invalid_arguments_of_a_list_are_refused(ask: Asker, fields: dict[str, Any], words: str) -> None:
    """With the reason."""
    assert words in await ask.refusal(**fields)


async def test_a_time_without_ids_is_refused(ask: Asker) -> None:
    """Before 1970 no UUIDv7 exists, and the calendar has an end."""
    for seconds in (-1, 253_402_300_799, 10**15):
        moment = ledgerpb.ListRequestsRequest().admitted_from
        moment.seconds = seconds
        assert "must be times" in await ask.refusal(admitted_from=moment), seconds
