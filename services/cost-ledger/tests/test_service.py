"""The RPCs of the real process: receipts, spend and prices of one tenant, and what is said when there is no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from cost_ledger.prices.file import load_price_file
from kit.ledger.cost_events import MORNING, admitted, attempt, hit, request, settled, used
from kit.ledger.process import PRICE_BOOK, Parts, running_ledger, until
from pricing.price_book import Price
from servicekit.rpc import is_serving
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc
from spillway.router.v1 import router_pb2 as routerpb

Stub: TypeAlias = "ledger_pb2_grpc.LedgerServiceAsyncStub"
YESTERDAY = MORNING - timedelta(days=1)
FULL = routerpb.Usage(
    input_tokens=2000,
    output_tokens=300,
    provider_cache_read_input_tokens=500,
    provider_cache_write_input_tokens=100,
    reasoning_output_tokens=40,
)


@pytest.fixture(scope="module")
async def stub(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stub]:
    """Yield a client of a process that serves the module's database."""
    async with running_ledger(tmp_path_factory.mktemp("ledger"), database_url, redis_url) as ledger:
        yield ledger.stub


async def record(parts: Parts, *events: ledgerpb.CostEvent) -> None:
    """Send events to the process and wait until they are recorded."""
    await parts.send(*events)
    await until(parts.is_drained)


def asking(asked: ledgerpb.Request, tenant: str = "acme") -> ledgerpb.GetRequestRequest:
    """Ask for the receipt of a request."""
    return ledgerpb.GetRequestRequest(tenant=tenant, request_id=asked.request_id)


async def refusal(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[grpc.StatusCode, str]:
    """Return how a call failed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_receipt_gives_back_every_field_of_the_event(parts: Parts, stub: Stub) -> None:
    """All that the edge reported is returned as it was, with a price and a cost for each attempt and a sum."""
    asked = request()
    asked.client_request_id = "trace-1"
    ending = settled(asked, [attempt(1, "anthropic", "claude-test"), attempt(2, usage=FULL)])
    ending.settled.error_code = "made_up"
    ending.settled.cache_status = ledgerpb.CACHE_STATUS_BYPASS
    ending.settled.cache_bypass_reason = "cache_error"
    await record(parts, admitted(asked), ending)
    record_ = (await stub.GetRequest(asking(asked), timeout=10)).record

    assert asked == record_.request
    assert ledgerpb.REQUEST_STATE_SETTLED == record_.state
    assert list(ending.settled.attempts) == [each.attempt for each in record_.attempts]
    expected = ledgerpb.Settled()
    expected.CopyFrom(ending.settled)
    expected.ClearField("attempts")
    expected.ClearField("request")
    assert expected == record_.settled
    # 1500 x 2.506 + 500 x 0.25; 260 x 20.014 + 40 x 18.002; written tokens cost what other input costs
    assert ["0.000000000", "0.009807720"] == [each.cost_usd for each in record_.attempts]
    assert ["", "openai/gpt-test@2026-06-01"] == [each.price_version for each in record_.attempts]
    assert "0.009807720" == record_.cost_usd
    assert not record_.HasField("saved_cost_usd")


async def test_a_receipt_of_a_hit_names_what_was_saved(parts: Parts, stub: Stub) -> None:
    """It cost nothing, and the answer that it replayed is in it with its price."""
    asked = request()
    ending = hit(asked, used(1000, 50))
    await record(parts, admitted(asked), ending)
    record_ = (await stub.GetRequest(asking(asked), timeout=10)).record

    assert ("0.000000000", "0.003506700", []) == (record_.cost_usd, record_.saved_cost_usd, list(record_.attempts))
    assert ending.settled.saved == record_.settled.saved


async def test_a_receipt_without_a_price_has_no_cost(parts: Parts, stub: Stub) -> None:
    """Unpriced is absent and not zero, for the attempt and for the whole request."""
    asked = request()
    await record(parts, settled(asked, [attempt(1, "mystery", "m", used()), attempt(2, usage=used())]))
    record_ = (await stub.GetRequest(asking(asked), timeout=10)).record

    assert not record_.HasField("cost_usd")
    assert [False, True] == [each.HasField("cost_usd") for each in record_.attempts]


async def test_a_receipt_of_a_running_request_has_no_end(parts: Parts, stub: Stub) -> None:
    """It says that the request was admitted, and nothing that is not known yet."""
    asked = request(at=datetime.now(UTC).replace(microsecond=0))
    await record(parts, admitted(asked))
    record_ = (await stub.GetRequest(asking(asked), timeout=10)).record

    assert ledgerpb.REQUEST_STATE_ADMITTED == record_.state
    assert not record_.HasField("settled")
    assert not record_.HasField("cost_usd")


async def test_a_receipt_is_for_its_own_tenant(parts: Parts, stub: Stub) -> None:
    """Another tenant that knows the id learns no more than that it has no such request."""
    asked = request(tenant="acme")
    await record(parts, settled(asked))

    foreign = await refusal(stub.GetRequest(asking(asked, "globex"), timeout=10))
    unknown = await refusal(stub.GetRequest(asking(request(), "globex"), timeout=10))
    assert (grpc.StatusCode.NOT_FOUND, "this tenant has no such request") == foreign == unknown


@pytest.mark.parametrize(
    ("tenant", "request_id", "words"),
    [
        ("", "01a1fd55-7a80-78e6-ad31-616425609115", "tenant must be a name"),
        ("ac\0me", "01a1fd55-7a80-78e6-ad31-616425609115", "tenant must be a name"),
        ("acme", "", "request_id must be a UUID"),
        ("acme", "1234", "request_id must be a UUID"),
        ("acme", "'; DROP TABLE requests", "request_id must be a UUID"),
    ],
)
async def test_a_receipt_needs_a_tenant_and_an_id(
    parts: Parts, stub: Stub, tenant: str, request_id: str, words: str
) -> None:
    """The refusal names the invalid one of the two."""
    asked = ledgerpb.GetRequestRequest(tenant=tenant, request_id=request_id)

    assert (grpc.StatusCode.INVALID_ARGUMENT, words) == await refusal(stub.GetRequest(asked, timeout=10))


def spend_of(first: str, last: str, tenant: str = "acme") -> ledgerpb.GetSpendRequest:
    """Ask for spend."""
    return ledgerpb.GetSpendRequest(tenant=tenant, from_day=first, to_day=last)


async def test_spend_is_summed_by_day_user_and_model(parts: Parts, stub: Stub) -> None:
    """Days ascend, users and models go from the dearest; the sums agree, and days outside the range are not in them."""
    await record(
        parts,
        settled(request(user="ada", model="fast", at=YESTERDAY)),
        settled(request(user="bob", model="smart"), [attempt(1, usage=used(10_000, 1000))]),
        settled(request(user="ada", model="fast"), [attempt(1, "mystery", "m", used(1, 2))]),
        hit(request(user="bob", model="smart"), used(1000, 50)),
        settled(request(user="old", at=YESTERDAY - timedelta(days=1))),
        settled(request(user="foreign", tenant="globex")),
    )
    answer = await stub.GetSpend(spend_of("2026-11-20", "2026-11-21"), timeout=10)

    total = ledgerpb.SpendFigures(
        requests=4,
        attempts=3,
        input_tokens=10_101,
        output_tokens=1022,
        cost_usd="0.045724880",
        unpriced_attempts=1,
        cache_hits=1,
        cache_misses=3,
        cache_bypasses=0,
        saved_cost_usd="0.003506700",
    )
    assert total == answer.total
    by_day = [(each.key, each.figures.requests, each.figures.cost_usd) for each in answer.by_day]
    assert [("2026-11-20", 1, "0.000650880"), ("2026-11-21", 3, "0.045074000")] == by_day
    by_user = [(each.key, each.figures.requests, each.figures.cost_usd) for each in answer.by_user]
    assert [("bob", 2, "0.045074000"), ("ada", 2, "0.000650880")] == by_user
    assert ["smart", "fast"] == [each.key for each in answer.by_model]


async def test_today_is_returned_whatever_the_range(parts: Parts, stub: Stub) -> None:
    """The current UTC day has its own figures; a range without requests is zeros and not nothing."""
    now = datetime.now(UTC)
    await record(parts, settled(request(at=now)))
    answer = await stub.GetSpend(spend_of("2020-01-01", "2020-12-31"), timeout=10)

    today = datetime.now(UTC).date()
    assert today.isoformat() == answer.today_day
    assert now.date() != today or 1 == answer.today.requests
    assert ("0.000000000", 0, []) == (answer.total.cost_usd, answer.total.requests, list(answer.by_day))


async def test_spend_of_another_tenant_is_not_in_it(parts: Parts, stub: Stub) -> None:
    """A tenant without requests has no spend, whatever others had."""
    await record(parts, settled(request(tenant="acme")))
    answer = await stub.GetSpend(spend_of("2026-11-01", "2026-11-30", "globex"), timeout=10)

    assert (0, [], []) == (answer.total.requests, list(answer.by_user), list(answer.by_model))


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("", "", "must be days"),
        ("2026-11-31", "2026-12-01", "must be days"),
        ("20261101", "20261102", "must be days"),
        ("2026-W47-1", "2026-W47-2", "must be days"),
        ("2026-11-21T00:00:00", "2026-11-22", "must be days"),
        ("2026-11-21", "2026-11-20", "must not be before"),
        ("2025-11-20", "2026-11-21", "at most 366 days"),
        ("0001-01-01", "9999-12-31", "at most 366 days"),
    ],
)
async def test_the_range_of_spend_is_checked(parts: Parts, stub: Stub, first: str, last: str, words: str) -> None:
    """Invalid days, and ranges that are backward or too long, are refused with the rule."""
    code, details = await refusal(stub.GetSpend(spend_of(first, last), timeout=10))

    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert words in details


async def test_the_range_of_spend_may_be_a_leap_year(parts: Parts, stub: Stub) -> None:
    """366 days, both ends included."""
    answer = await stub.GetSpend(spend_of("2024-01-01", "2024-12-31"), timeout=10)

    assert 0 == answer.total.requests


async def test_at_most_a_thousand_users_are_returned(parts: Parts, stub: Stub) -> None:
    """The dearest thousand; the total holds all."""
    many = [settled(request(user=f"user-{number}"), [attempt(1, usage=used(number))]) for number in range(1005)]
    await record(parts, *many)
    answer = await stub.GetSpend(spend_of("2026-11-21", "2026-11-21"), timeout=10)

    assert (1000, 1005) == (len(answer.by_user), answer.total.requests)
    assert ["user-1004", "user-5"] == [answer.by_user[0].key, answer.by_user[-1].key]


async def test_the_whole_price_book_is_returned(parts: Parts, stub: Stub) -> None:
    """Past prices and present ones, as the file has them: the edge quotes with the very same figures."""
    answer = await stub.GetPriceBook(ledgerpb.GetPriceBookRequest(), timeout=10)

    expected = {price.price_version: price for price in load_price_file(PRICE_BOOK).prices}
    assert expected == {price.price_version: Price.from_proto(price) for price in answer.prices}


async def test_health_does_not_hang_on_postgres(redis_url: str, tmp_path: Path) -> None:
    """The process serves without a database, and logs the cause with the trace id of the caller and no traceback."""
    trace = (("traceparent", f"00-{'ab' * 16}-00f067aa0ba902b7-01"),)
    async with running_ledger(tmp_path, "postgresql://postgres@127.0.0.1:9/spillway", redis_url) as ledger:
        assert await is_serving(ledger.channel, "spillway.ledger.v1.LedgerService", 5.0)
        # One after the other: a call starts when it is made.
        for ask in (
            lambda: ledger.stub.GetSpend(spend_of("2026-11-01", "2026-11-21"), timeout=10, metadata=trace),
            lambda: ledger.stub.GetRequest(asking(request()), timeout=10, metadata=trace),
            lambda: ledger.stub.GetPriceBook(ledgerpb.GetPriceBookRequest(), timeout=10),
        ):
            code, details = await refusal(ask())
            assert grpc.StatusCode.UNAVAILABLE == code
            assert "the database does not answer; nothing is lost, try again" == details
        lines = [line for line in ledger.log_lines() if line["event"] == "question_not_answered"]
        assert ["ab" * 16, "ab" * 16, None] == [line.get("trace_id") for line in lines]
        assert "Traceback" not in ledger.log_file.read_text()
        assert 0 == ledger.stop()
