"""What a user gets: answers as they are made, the same answer again for nothing, another answerer when one fails."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest
import redis.asyncio as redis

from fault_provider.answers import expected_text
from kit.front_door.edge_client import Behind, EdgeClient, Provider, Stores, nano, read_events
from kit.front_door.scenarios import CLAUDE, HAPPY

WHOLE = expected_text("ok")


async def test_the_happy_path_streams_and_is_accounted_to_the_nano_dollar(
    edge: EdgeClient, stores: Stores, provider: Provider
) -> None:
    """Words arrive one by one; usage and cost land in Postgres and are what the price book says."""
    chat = await edge.chat("the happy path", model="happy")

    assert ["start", *["delta"] * 10, "done"] == chat.names
    assert expected_text(HAPPY) == chat.text
    times = [event.at for event in chat.events if event.name == "delta"]
    # Made 100 ms apart: a busy machine may hold one up until the next, but not all of them until the end.
    assert 5 <= len([later for earlier, later in pairwise(times) if later - earlier > 0.03])
    assert times[-1] - times[0] > 0.5
    assert len({event.event_id for event in chat.events}) == len(chat.events)
    done = chat.last
    usage = {"input_tokens": 1000, "output_tokens": 17}
    parts = {"provider_cache_read_input_tokens": 400, "reasoning_output_tokens": 7}
    assert usage | parts == done["usage"]
    cost = nano("1.253", 600) + nano("0.125", 400) + nano("10.007", 10) + nano("9.001", 7)
    assert f"{cost:.9f}" == done["cost_usd"]
    assert ("stop", "openai") == (done["finish_reason"], done["provider"])

    receipt = await edge.receipt(chat.request_id)
    (row,) = await stores.rows("SELECT * FROM requests WHERE request_id = $1", uuid.UUID(chat.request_id))
    (attempt,) = await stores.rows("SELECT * FROM attempts WHERE request_id = $1", uuid.UUID(chat.request_id))
    assert ("settled", "ok", cost) == (row["state"], row["outcome"], row["cost_usd"])
    assert (1000, 17, 400, 7) == (
        attempt["input_tokens"],
        attempt["output_tokens"],
        attempt["provider_cache_read_input_tokens"],
        attempt["reasoning_output_tokens"],
    )
    assert (cost, f"openai/{HAPPY}@2026-01-01") == (attempt["cost_usd"], attempt["price_version"])
    assert (f"{cost:.9f}", "blue-user") == (receipt["cost_usd"], receipt["user"])
    assert 1 == len(await provider.asked("happy", chat.query))


async def test_cache_reads_and_writes_of_anthropic_have_their_own_prices(edge: EdgeClient) -> None:
    """Anthropic counts them beside the input; here they are inside it, and priced by their own rates."""
    chat = await edge.chat("hello claude", model="claude")

    assert expected_text(CLAUDE) == chat.text
    usage = chat.last["usage"]
    assert (500, 100, 50) == (
        usage["input_tokens"],
        usage["provider_cache_read_input_tokens"],
        usage["provider_cache_write_input_tokens"],
    )
    cost = nano("3.001", 350) + nano("0.301", 100) + nano("3.751", 50) + nano("15.013", 8)
    assert f"{cost:.9f}" == chat.last["cost_usd"]
    assert f"{cost:.9f}" == (await edge.receipt(chat.request_id))["cost_usd"]


async def test_a_long_prompt_pays_the_long_prompt_rates(edge: EdgeClient) -> None:
    """Above the threshold every token of the attempt has the other price."""
    chat = await edge.chat("a long one", model="long")

    cost = nano("2.5", 2000) + nano("15", 300)
    assert f"{cost:.9f}" == chat.last["cost_usd"] == (await edge.receipt(chat.request_id))["cost_usd"]


async def test_an_answer_without_a_price_is_unpriced_not_free(edge: EdgeClient, stores: Stores) -> None:
    """No price is NULL, never 0."""
    count = "SELECT coalesce(sum(unpriced_attempts), 0)::int AS n FROM spend_daily WHERE requested_model='unpriced'"
    (before,) = await stores.rows(count)
    chat = await edge.chat("unpriced", model="unpriced")

    assert chat.last["cost_usd"] is None
    receipt = await edge.receipt(chat.request_id)
    assert (None, None) == (receipt["cost_usd"], receipt["attempts"][0]["cost_usd"])
    assert [{"n": before["n"] + 1}] == await stores.rows(count)


async def test_the_same_question_again_is_a_hit(edge: EdgeClient, stores: Stores, provider: Provider) -> None:
    """Same answer, as a stream, at no cost, naming what it saved; the provider is not called again."""
    first = await edge.chat("ask me twice", model="happy")
    second = await edge.chat("ask me twice", model="happy")

    assert ("edge; fwd=miss", "edge; hit") == (first.headers["cache-status"], second.headers["cache-status"])
    assert first.text == second.text
    assert second.names.count("delta") > 1
    assert 1 == len(await provider.asked("happy", first.query))
    assert ("0.000000000", []) == (second.last["cost_usd"], second.last["attempts"])
    assert first.last["cost_usd"] == second.last["cache"]["saved_cost_usd"]
    assert first.last["usage"] == second.last["usage"]
    assert first.request_id != second.request_id

    receipt = await edge.receipt(second.request_id)
    assert ("hit", "ok", "0.000000000", []) == (
        receipt["cache_status"],
        receipt["outcome"],
        receipt["cost_usd"],
        receipt["attempts"],
    )
    assert first.last["cost_usd"] == receipt["saved_cost_usd"]
    (row,) = await stores.rows("SELECT * FROM requests WHERE request_id = $1", uuid.UUID(second.request_id))
    assert Decimal(first.last["cost_usd"]) == row["saved_cost_usd"]


async def test_an_answer_lives_a_day_from_its_making(edge: EdgeClient, stores: Stores) -> None:
    """Redis is really asked, the 24 hours are really set, and a hit does not extend them."""
    client = redis.Redis.from_url(stores.redis_url)
    before = await stores.cache_keys()
    await edge.chat("how long do you live", model="cached")
    (key,) = await stores.cache_keys() - before
    assert 86_390 < await client.ttl(key) <= 86_400

    await client.expire(key, 1000)
    hit = await edge.chat("how long do you live", model="cached")
    assert "edge; hit" == hit.headers["cache-status"]
    assert await client.ttl(key) <= 1000
    await client.aclose()


CHANGES: list[dict[str, Any]] = [
    {"query": "another question"},
    {"system_prompt": "Be brief."},
    {"system_prompt": "Be very brief."},
    {"retrieved_context": "Paris is in France."},
    {"retrieved_context": ["Paris is in France.", "Lyon too."]},
    {"model": "other"},
    {"max_tokens": 5},
    {"max_tokens": 6},
    {"temperature": 0},
    {"temperature": 0.5},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"tools": [{"type": "function", "function": {"name": "g"}}]},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_each_field_that_can_change_the_answer_makes_a_miss(edge: EdgeClient, change: dict[str, Any]) -> None:
    """Only the very same request is a hit; unset is not zero."""
    same: dict[str, Any] = {"query": "the key test", "model": "cached"}
    await edge.chat(**same)
    assert "edge; hit" == (await edge.chat(**same)).headers["cache-status"]

    assert "edge; fwd=miss" == (await edge.chat(**same | change)).headers["cache-status"]
    assert "edge; hit" == (await edge.chat(**same | change)).headers["cache-status"]


async def test_what_cannot_change_the_answer_makes_no_miss(edge: EdgeClient) -> None:
    """Streamed or whole, `/chat` or `/v1/chat`: the answer is the same one."""
    await edge.chat("streamed or whole", model="cached")

    same = {"query": edge.fresh("streamed or whole"), "model": "cached", "stream": False}
    whole = await edge.post("/v1/chat", orjson.dumps(same))
    assert "edge; hit" == whole.headers["cache-status"]
    assert WHOLE == whole.json()["text"]


async def test_tenants_do_not_share_answers(edge: EdgeClient, other_edge: EdgeClient) -> None:
    """The same question of another tenant is a miss."""
    await edge.chat("whose answer", model="cached")

    assert "edge; fwd=miss" == (await other_edge.chat("whose answer", model="cached")).headers["cache-status"]


async def test_cache_control_is_obeyed(edge: EdgeClient) -> None:
    """`no-store` neither reads nor writes, `no-cache` only writes."""
    store, cache = {"cache-control": "no-store"}, {"cache-control": "no-cache"}
    unkept = await edge.chat("keep nothing", model="cached", headers=store)
    assert ("edge; fwd=bypass; detail=client_no_store", False) == (
        unkept.headers["cache-status"],
        unkept.last["cache"]["stored"],
    )
    assert "client_no_store" == unkept.last["cache"]["bypass_reason"]
    kept = await edge.chat("keep nothing", model="cached", headers=cache)
    assert ("edge; fwd=bypass; detail=client_no_cache", True) == (
        kept.headers["cache-status"],
        kept.last["cache"]["stored"],
    )

    assert "edge; hit" == (await edge.chat("keep nothing", model="cached")).headers["cache-status"]
    unread = await edge.chat("keep nothing", model="cached", headers=store)
    assert "edge; fwd=bypass; detail=client_no_store" == unread.headers["cache-status"]


@pytest.mark.parametrize(
    ("fault", "code", "tries"),
    [
        ("429", "rate_limited", 1),
        ("429-retry-after", "rate_limited", 1),
        ("500", "provider_unavailable", 2),
        ("503", "provider_unavailable", 2),
        ("quota", "credential_refused", 1),
        ("reset", "target_unreachable", 2),
        ("refused", "target_unreachable", 2),
        ("silence", "timeout", 1),
    ],
)
async def test_when_the_primary_is_down_the_user_sees_nothing_of_it(
    edge: EdgeClient, provider: Provider, fault: str, code: str, tries: int
) -> None:
    """The secondary answers; every attempt stands in the ledger."""
    chat = await edge.chat(f"primary {fault}", model=f"primary-{fault}")

    assert ["start", *["delta"] * 8, "done"] == chat.names
    assert WHOLE == chat.text
    assert "anthropic" == chat.last["provider"]
    receipt = await edge.receipt(chat.request_id)
    assert [code] * tries + [None] == [attempt["error_code"] for attempt in receipt["attempts"]]
    assert [*range(1, tries + 2)] == [attempt["attempt_number"] for attempt in receipt["attempts"]]
    assert "ok" == receipt["outcome"]
    if fault != "refused":
        assert tries == len(await provider.asked(f"primary-{fault}", chat.query))
    assert 1 == len(await provider.asked(f"primary-{fault}-next", chat.query))


async def test_when_both_vendors_are_down_the_real_small_model_answers(edge: EdgeClient) -> None:
    """The last target is a real model on our own processors; its answer is free, not unpriced."""
    question = {"query": "What is the capital of France?", "temperature": 0, "max_tokens": 20}
    chat = await edge.ask({**question, "model": "both-down"}, {"cache-control": "no-store"})

    assert "Paris" in chat.text
    assert ("vllm", "smollm2-135m-instruct") == (chat.last["provider"], chat.last["model"])
    assert "0.000000000" == chat.last["cost_usd"]
    receipt = await edge.receipt(chat.request_id)
    assert ["openai"] * 2 + ["anthropic"] * 2 + ["vllm"] == [attempt["provider"] for attempt in receipt["attempts"]]
    assert receipt["attempts"][-1]["usage"]["output_tokens"] > 0


async def test_when_all_are_down_there_is_one_honest_error(edge: EdgeClient, stores: Stores) -> None:
    """One error event, no success, nothing cached, every attempt recorded."""
    kept = await stores.cache_keys()
    chat = await edge.chat("all down", model="none-answers")

    assert ["start", "error"] == chat.names
    error = chat.last["error"]
    assert ("all_targets_failed", True) == (error["code"], error["retryable"])
    receipt = await edge.receipt(chat.request_id)
    assert ("provider_error", "all_targets_failed", 4) == (
        receipt["outcome"],
        receipt["error_code"],
        len(receipt["attempts"]),
    )
    again = await edge.chat("all down", model="none-answers")
    assert "edge; fwd=miss" == again.headers["cache-status"]
    assert kept == await stores.cache_keys()


@pytest.mark.parametrize("fault", ["cut", "stall", "malformed", "missing-end", "unknown-finish", "error-frame"])
async def test_a_stream_that_breaks_after_its_beginning_says_so(
    edge: EdgeClient, stores: Stores, provider: Provider, fault: str
) -> None:
    """What came stays, then one error and nothing that reads as success; nothing is cached, no one else is asked."""
    kept = await stores.cache_keys()
    chat = await edge.chat(f"broken {fault}", model=f"broken-{fault}")

    assert {"start", "delta", "error"} == set(chat.names)
    assert 1 == chat.names.count("error")
    assert "error" == chat.names[-1]
    assert "stream_interrupted" == chat.last["error"]["code"]
    assert WHOLE.startswith(chat.text)
    receipt = await edge.receipt(chat.request_id)
    (attempt,) = receipt["attempts"]
    assert ("interrupted", "interrupted") == (receipt["outcome"], attempt["outcome"])
    assert "estimated" == attempt["usage_source"]
    again = await edge.chat(f"broken {fault}", model=f"broken-{fault}")
    assert "edge; fwd=miss" == again.headers["cache-status"]
    assert kept == await stores.cache_keys()
    assert [] == await provider.attempts("never")


async def test_a_callers_error_is_told_once(edge: EdgeClient, provider: Provider) -> None:
    """A 400 of the provider comes back as the caller's error and nobody else is bothered."""
    chat = await edge.chat("bad request", model="bad-request")

    assert ["start", "error"] == chat.names
    assert ("invalid_request", False) == (chat.last["error"]["code"], chat.last["error"]["retryable"])
    assert 1 == len(await provider.asked("bad-request", chat.query))
    assert [] == await provider.attempts("never")


async def test_a_tool_call_comes_whole_before_the_end(edge: EdgeClient) -> None:
    """`/chat` tells a tool call in one event, whoever made it."""
    for model in ("tools", "tools-claude"):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        chat = await edge.chat("weather?", model=model, tools=tools)

        assert ["start", "tool_call", "done"] == chat.names
        call = chat.events[1].data
        assert ("get_weather", '{"city":"Paris","unit":"celsius","days":[1,2,3]}') == (call["name"], call["arguments"])
        assert "tool_call" == chat.last["finish_reason"]


async def test_a_filtered_answer_is_passed_on(edge: EdgeClient) -> None:
    """A content filter is an answer."""
    chat = await edge.chat("filter me", model="filtered")

    assert "content_filter" == chat.last["finish_reason"]


async def test_a_client_that_leaves_is_settled_with_what_was_used(edge: EdgeClient, provider: Provider) -> None:
    """The provider's connection closes, and what it had made until then stands in the ledger as an estimate."""
    question = {"query": edge.fresh("I leave early"), "model": "slow"}
    async with edge.stream("/chat", question) as response:
        request_id = response.headers["x-request-id"]
        async for event in read_events(response):
            if event.name == "delta":
                break

    receipt = await edge.receipt(request_id)
    (attempt,) = receipt["attempts"]
    assert ("client_cancelled", "client_cancelled", "cancelled") == (
        receipt["outcome"],
        attempt["outcome"],
        receipt["finish_reason"],
    )
    assert "estimated" == attempt["usage_source"]
    assert attempt["usage"]["input_tokens"] > 0
    async with asyncio.timeout(10):
        while (seen := await provider.asked("slow", question["query"]))[-1]["finish"] == "open":
            await asyncio.sleep(0.02)
    assert ["client_closed"] == [attempt["finish"] for attempt in seen]


@pytest.mark.local
@pytest.mark.usefixtures("thawed")
async def test_a_redis_that_hangs_costs_nobody_an_answer_and_no_event(edge: EdgeClient, behind: Behind) -> None:
    """The cache is passed by, cost events wait in the spool and reach the ledger when Redis is back."""
    os.kill(behind.pid("valkey"), signal.SIGSTOP)
    chats = [await edge.chat(f"redis hangs {number}", model="cached") for number in range(3)]
    os.kill(behind.pid("valkey"), signal.SIGCONT)

    for chat in chats:
        assert (WHOLE, "edge; fwd=bypass; detail=cache_error") == (chat.text, chat.headers["cache-status"])
        assert ("cache_error", False) == (chat.last["cache"]["bypass_reason"], chat.last["cache"]["stored"])
        receipt = await edge.receipt(chat.request_id)
        assert ("ok", 1) == (receipt["outcome"], len(receipt["attempts"]))


@pytest.mark.local
@pytest.mark.usefixtures("thawed")
async def test_a_ledger_that_hangs_costs_nobody_an_answer(edge: EdgeClient, behind: Behind) -> None:
    """The ledger is not on the request path: answers come with their quote, and are recorded later."""
    os.kill(behind.pid("cost-ledger"), signal.SIGSTOP)
    chat = await edge.chat("the ledger hangs", model="happy")
    os.kill(behind.pid("cost-ledger"), signal.SIGCONT)

    assert "done" == chat.names[-1]
    assert chat.last["cost_usd"] == (await edge.receipt(chat.request_id))["cost_usd"]
