"""The contracts to the letter: OpenAI's by its own client, errors, reports, documentation."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.chat import ChatCompletionMessageParam

from fault_provider.answers import expected_text
from kit.front_door.edge_client import Behind, Chat, EdgeClient, Provider, Stores

WHOLE = expected_text("ok")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(name="client")
async def _client(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0) as client:
        yield client


async def test_the_openai_client_streams(client: openai.AsyncOpenAI) -> None:
    """Role first, words as they come, a finish reason, usage because it was asked for, no usage before."""
    stream = await client.chat.completions.create(
        model="late", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert 1 == len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks})
    assert "assistant" == chunks[0].choices[0].delta.role
    assert WHOLE == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "stop" == chunks[-2].choices[0].finish_reason
    assert [] == chunks[-1].choices
    assert chunks[-1].usage is not None
    assert (12, 8, 20) == (
        chunks[-1].usage.prompt_tokens,
        chunks[-1].usage.completion_tokens,
        chunks[-1].usage.total_tokens,
    )
    assert {None} == {chunk.usage for chunk in chunks[:-1]}


@pytest.mark.parametrize("options", [None, {"include_usage": False}])
async def test_nobody_gets_usage_who_did_not_ask(edge: EdgeClient, options: dict[str, bool] | None) -> None:
    """No usage field and no chunk without choices unless the client asked; `[DONE]` ends it."""
    body: dict[str, Any] = {"model": "cached", "messages": HELLO, "stream": True}
    if options is not None:
        body["stream_options"] = options
    lines = (await edge.post("/v1/chat/completions", orjson.dumps(body))).text.strip().split("\n\n")

    assert "data: [DONE]" == lines[-1]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)


async def test_the_openai_client_gets_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    """Not streaming: one completion object, with usage."""
    answer = await client.chat.completions.create(model="cached", messages=HELLO, n=2, logprobs=True)

    assert [WHOLE] * 2 == [choice.message.content for choice in answer.choices]
    assert ["stop"] * 2 == [choice.finish_reason for choice in answer.choices]
    assert answer.choices[1].logprobs is not None
    assert 8 == len(answer.choices[1].logprobs.content or [])
    assert answer.usage is not None
    assert (12, 16) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


async def test_the_openai_client_gets_tool_calls_either_way(client: openai.AsyncOpenAI) -> None:
    """Fragments in a stream, whole otherwise, from either vendor."""
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    for model in ("tools", "tools-claude"):
        whole = await client.chat.completions.create(model=model, messages=HELLO, tools=tools)
        (call,) = whole.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert ("get_weather", "Paris") == (call.function.name, json.loads(call.function.arguments)["city"])
        assert "tool_calls" == whole.choices[0].finish_reason

        stream = await client.chat.completions.create(model=model, messages=HELLO, tools=tools, stream=True)
        fragments = [
            call for chunk in [c async for c in stream] for c in chunk.choices for call in c.delta.tool_calls or []
        ]
        assert fragments[0].id
        assert call.function.arguments == "".join((f.function.arguments if f.function else "") or "" for f in fragments)


async def test_the_openai_client_lists_the_models(client: openai.AsyncOpenAI) -> None:
    """What may be asked for."""
    assert {"default", "local", "happy"} <= {model.id async for model in client.models.list()}


async def test_a_stream_that_breaks_raises_in_the_openai_client(client: openai.AsyncOpenAI) -> None:
    """The words that came were read; then the client's own error, no finish reason, no `[DONE]`."""
    stream = await client.chat.completions.create(model="broken-cut", messages=HELLO, stream=True)
    read: list[str] = []
    reasons: list[str | None] = []

    async def read_on() -> None:
        async for chunk in stream:
            read.append(chunk.choices[0].delta.content or "")
            reasons.append(chunk.choices[0].finish_reason)

    with pytest.raises(openai.APIError, match="broke off after 9 characters"):
        await read_on()

    assert "w0 w1 w2 " == "".join(read)
    assert {None} == set(reasons)


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_the_first_word_are_real_statuses(client: openai.AsyncOpenAI, stream: bool) -> None:
    """The client's exception classes come out right, streaming or not."""
    with pytest.raises(openai.InternalServerError) as all_down:
        await client.chat.completions.create(model="all-down", messages=HELLO, stream=stream)
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="all-limited", messages=HELLO, stream=stream)
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nope", messages=HELLO, stream=stream)
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.chat.completions.create(model="too-long", messages=HELLO, stream=stream)

    assert (502, "all_targets_failed") == (all_down.value.status_code, all_down.value.code)
    assert ("rate_limited", "7") == (limited.value.code, limited.value.response.headers["retry-after"])
    assert "model_not_found" == missing.value.code
    assert "there are: all-down, all-limited" in missing.value.message
    assert "context_length_exceeded" == too_long.value.code
    assert "maximum context length is 128000 tokens" in too_long.value.message


@pytest.mark.parametrize("key", ["", " nonsense", " sk-spillway-00000000-wrong", " sk-spillway-"])
async def test_a_wrong_key_is_401_everywhere(edge: EdgeClient, key: str) -> None:
    """Nothing is read, answered or reported without a key."""
    async with httpx2.AsyncClient(base_url=edge.url, headers={"authorization": f"Bearer{key}"}) as client:
        answers = [
            await client.post("/chat", json={"query": "x"}),
            await client.post("/v1/chat/completions", json={"model": "default", "messages": HELLO}),
            *[await client.get(path) for path in ("/v1/models", "/v1/costs", f"/v1/requests/{uuid.uuid4()}")],
            await client.get("/v1/cache/stats"),
        ]

    for answer in answers:
        assert (401, "invalid_api_key") == (answer.status_code, answer.json()["error"]["code"])
        assert "Bearer" == answer.headers["www-authenticate"]


BAD: list[tuple[str, str, bytes, int, str, str]] = [
    ("not JSON", "/chat", b"hello", 400, "invalid_json", "line 1"),
    ("cut JSON", "/chat", b'{"query": "x"', 400, "invalid_json", "not JSON"),
    ("no object", "/chat", b"[]", 400, "invalid_request", "the body"),
    ("nothing", "/chat", b"", 400, "invalid_json", "not JSON"),
    ("no query", "/chat", b"{}", 400, "invalid_request", "query"),
    ("empty query", "/chat", b'{"query": ""}', 400, "invalid_request", "query: must not be blank"),
    ("blank query", "/chat", b'{"query": " \\n"}', 400, "invalid_request", "query: must not be blank"),
    ("wrong type", "/chat", b'{"query": 5}', 400, "invalid_request", "query: Input should be a valid string"),
    ("number as text", "/chat", b'{"query": "x", "max_tokens": "5"}', 400, "invalid_request", "max_tokens"),
    ("too hot", "/chat", b'{"query": "x", "temperature": 3}', 400, "invalid_request", "temperature"),
    ("unknown field", "/chat", b'{"query": "x", "colour": 1}', 400, "unknown_field", "unknown field 'colour'"),
    ("unknown model", "/chat", b'{"query": "x", "model": "nope"}', 404, "model_not_found", "there are: all-down"),
    ("no messages", "/v1/chat/completions", b'{"model": "default"}', 400, "invalid_request", "messages"),
    ("no model", "/v1/chat/completions", b'{"messages": [{"role": "user"}]}', 400, "invalid_request", "model"),
    (
        "wrong role",
        "/v1/chat/completions",
        b'{"model": "default", "messages": [{"role": "boss", "content": "x"}]}',
        400,
        "invalid_request",
        "messages.0.role",
    ),
    (
        "options without a stream",
        "/v1/chat/completions",
        b'{"model":"default","messages":[{"role":"user","content":"x"}],"stream":false,"stream_options":{}}',
        400,
        "invalid_request",
        "stream_options is only allowed with stream: true",
    ),
    ("huge body", "/chat", b'{"query": "' + b"x" * 35_000_000 + b'"}', 413, "body_too_large", "33554432 bytes"),
    (
        "long prompt",
        "/chat",
        b'{"query": "' + b"x" * 500_000 + b'"}',
        400,
        "context_length_exceeded",
        "prompt is too long: 125000 tokens > 100000 maximum",
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "reported"), [bad[1:] for bad in BAD], ids=[b[0] for b in BAD]
)
async def test_bad_input_is_answered_in_words_that_help(
    edge: EdgeClient, path: str, body: bytes, status: int, code: str, reported: str
) -> None:
    """A clear error, the right status, and the gateway none the worse."""
    answer = await edge.post(path, body, {"content-type": "application/json"})

    error = answer.json()["error"]
    assert (status, code) == (answer.status_code, error["code"])
    assert reported in error["message"]
    assert {"message", "type", "param", "code", "retryable"} == set(error)
    assert uuid.UUID(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/chat", 405, "method_not_allowed"),
        ("GET", "/v1/requests/not-an-id", 404, "request_not_found"),
        ("GET", "/v1/requests/508eddc6-a084-4046-9274-2d0fc02f63e7", 404, "request_not_found"),
        ("GET", "/v1/costs?from=yesterday", 400, "invalid_request"),
        ("GET", "/v1/costs?from=2026-02-01&to=2026-01-01", 400, "invalid_request"),
        ("GET", "/v1/costs?from=2020-01-01&to=2026-01-01", 400, "invalid_request"),
    ],
)
async def test_wrong_paths_and_parameters_have_the_same_shape_of_error(
    edge: EdgeClient, method: str, path: str, status: int, code: str
) -> None:
    """One shape for every error."""
    async with httpx2.AsyncClient(base_url=edge.url, headers={"authorization": f"Bearer {edge.key}"}) as client:
        answer = await client.request(method, path)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])


async def test_a_body_needs_no_content_type(edge: EdgeClient) -> None:
    """`curl -d` sends another one; what counts is the JSON."""
    body = b'{"query": "no content type", "model": "cached", "stream": false}'
    answer = await edge.post("/chat", body, {"content-type": "application/x-www-form-urlencoded"})

    assert (200, WHOLE) == (answer.status_code, answer.json()["text"])


async def test_costs_add_up_for_one_tenant_only(edge: EdgeClient, other_edge: EdgeClient, stores: Stores) -> None:
    """Totals, per user, per model, today and by day: the same money however it is cut, and nobody else's."""
    for number in range(2):
        await edge.receipt((await edge.chat(f"costs {number}", model="happy")).request_id)
    await other_edge.receipt((await other_edge.chat("costs", model="happy")).request_id)

    costs = (await edge.get("/v1/costs")).json()
    assert ("USD", datetime.now(UTC).date().isoformat()) == (costs["currency"], costs["today"]["day"])
    for figure in ("requests", "attempts", "input_tokens", "output_tokens", "cache_hits"):
        assert costs["total"][figure] == sum(group[figure] for group in costs["by_model"])
        assert costs["total"][figure] == sum(group[figure] for group in costs["by_user"])
        assert costs["total"][figure] == sum(group[figure] for group in costs["by_day"])
    assert ["blue-user"] == [group["user"] for group in costs["by_user"]]
    (row,) = await stores.rows(
        "SELECT sum(a.cost_usd) AS cost, count(*) AS attempts FROM attempts a JOIN requests r USING (request_id)"
        " WHERE r.tenant = 'blue'"
    )
    assert (f"{row['cost']:.9f}", row["attempts"]) == (costs["total"]["cost_usd"], costs["total"]["attempts"])

    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    empty = (await edge.get("/v1/costs", params={"from": "2026-01-01", "to": yesterday[:8] + "01"})).json()
    assert (0, "0.000000000") == (empty["total"]["requests"], empty["total"]["cost_usd"])
    assert costs["today"]["requests"] == empty["today"]["requests"]


async def test_the_cache_tells_how_it_does(edge: EdgeClient) -> None:
    """Hits, misses and what they saved, from the ledger."""
    before = (await edge.get("/v1/cache/stats")).json()
    for _ in range(2):
        await edge.receipt((await edge.chat("cache stats", model="happy")).request_id)
    after = (await edge.get("/v1/cache/stats")).json()

    assert (1, 1) == (after["hits"] - before["hits"], after["misses"] - before["misses"])
    assert float(after["saved_cost_usd"]) > float(before["saved_cost_usd"])
    assert 86400 == after["ttl_seconds"]


async def test_receipts_are_private(edge: EdgeClient, other_edge: EdgeClient) -> None:
    """Another tenant's request does not exist."""
    chat = await edge.chat("private", model="cached")
    await edge.receipt(chat.request_id)

    answer = await other_edge.get(f"/v1/requests/{chat.request_id}")
    assert (404, "request_not_found") == (answer.status_code, answer.json()["error"]["code"])


async def test_the_receipt_is_there_when_the_answer_is(edge: EdgeClient) -> None:
    """Who has seen `done` finds the receipt, at the latest a moment later."""
    chat = await edge.chat("receipt", model="cached", temperature=0.25)

    receipt = await edge.receipt(chat.request_id)
    assert ("/chat", "cached", "blue", True) == (
        receipt["endpoint"],
        receipt["requested_model"],
        receipt["tenant"],
        receipt["is_streaming"],
    )
    assert receipt["duration_seconds"] > receipt["time_to_first_token_seconds"] > 0


def uuid7(milliseconds: int) -> str:
    """Return a UUIDv7 of a time."""
    random = uuid.uuid4().int & ((1 << 80) - 1)
    return str(uuid.UUID(int=(milliseconds << 80 | random) & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62))


async def test_a_clients_own_id_goes_beside_ours(edge: EdgeClient) -> None:
    """A fresh UUIDv7 is not taken for ours either; the receipt shows it and lists are filtered by it."""
    mine = uuid7(int(time.time() * 1000))
    chat = await edge.chat("my own id", model="cached", headers={"x-request-id": mine, "cache-control": "no-store"})

    assert mine == chat.headers["x-client-request-id"]
    assert mine != chat.request_id == chat.events[0].data["request_id"]
    receipt = await edge.receipt(chat.request_id)
    assert ("settled", mine) == (receipt["state"], receipt["client_request_id"])
    assert 404 == (await edge.get(f"/v1/requests/{mine}")).status_code
    assert chat.request_id == (await edge.receipt_by_client_id(mine))["request_id"]


@pytest.mark.local
async def test_each_service_names_the_request_in_its_log(edge: EdgeClient, behind: Behind) -> None:
    """By its id in the edge, the router and the ledger; the edge names the client's own as well."""
    mine = str(uuid.uuid4())
    chat = await edge.chat("my own id", model="cached", headers={"x-request-id": mine, "cache-control": "no-store"})
    await edge.receipt(chat.request_id)

    for name in ("edge", "llm-router", "cost-ledger"):
        assert chat.request_id in behind.log(name), name
    assert mine in behind.log("edge")


async def test_an_id_used_twice_never_loses_a_request(edge: EdgeClient, provider: Provider) -> None:
    """Proxies repeat ids when they retry: each request has an id of its own, and both are found by the client's."""
    mine = str(uuid.uuid4())
    headers = {"x-request-id": mine, "cache-control": "no-store"}
    chats = [await edge.chat("twice", model="other", headers=headers) for _ in range(2)]

    receipts = [await edge.receipt(chat.request_id) for chat in chats]
    assert 2 == sum(len(receipt["attempts"]) for receipt in receipts)
    assert 2 == len(await provider.asked("other", chats[0].query))
    rows = (await edge.get("/v1/requests", params={"client_request_id": mine})).json()["data"]
    assert [chat.request_id for chat in reversed(chats)] == [row["request_id"] for row in rows]


@pytest.mark.parametrize(
    ("offered", "shown"),
    [("abc", "abc"), ("order 17; a=1", "order 17; a=1"), ("0" * 500, "0" * 200), ("tab\there", "tab\ufffdhere")],
)
async def test_a_clients_own_id_may_be_any_text(edge: EdgeClient, offered: str, shown: str) -> None:
    """It comes back without what could harm a log, and ours is an UUIDv7 of its own."""
    answer = await edge.get("/v1/models", headers={"x-request-id": offered})

    (echoed,) = [value for name, value in answer.headers.raw if name.lower() == b"x-client-request-id"]
    assert shown == echoed.decode()
    assert 7 == uuid.UUID(answer.headers["x-request-id"]).version


async def test_health_tells_dependency_by_dependency(edge: EdgeClient) -> None:
    """No key is needed, and each of the three says how it is."""
    async with httpx2.AsyncClient(base_url=edge.url) as client:
        live, ready, health = [(await client.get(path)) for path in ("/health/live", "/health/ready", "/health")]

    assert [200] * 3 == [answer.status_code for answer in (live, ready, health)]
    assert "ok" == health.json()["status"]
    assert {"llm-router", "cost-ledger", "redis"} == set(health.json()["dependencies"])


@pytest.mark.local
async def test_metrics_name_no_person_and_no_request(edge: EdgeClient, behind: Behind) -> None:
    """Labels have few values; people, keys and ids are for the ledger and the logs."""
    await edge.chat("metrics", model="cached")
    addresses = [process["metrics_address"] for process in behind.run["processes"] if process["metrics_address"]]
    async with httpx2.AsyncClient() as client:
        texts = [(await client.get(f"http://{address}/metrics")).text for address in set(addresses)]

    assert len(texts) >= 3
    assert any("edge_requests_total" in text for text in texts)
    for text in texts:
        assert not re.search(r"blue|red-user|[0-9a-f]{8}-[0-9a-f]{4}-7", text)


async def test_the_documentation_is_complete(edge: EdgeClient) -> None:
    """Every operation has a summary, errors and an example; every reference leads somewhere."""
    async with httpx2.AsyncClient(base_url=edge.url) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")

    assert 200 == page.status_code
    assert {
        "/chat", "/v1/chat", "/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/models",
        "/v1/models/{model}", "/v1/costs", "/v1/requests", "/v1/requests/{request_id}",
        "/v1/cache/stats", "/health", "/health/live", "/health/ready", "/v1/responses",
        "/v1/responses/{response_id}", "/v1/responses/{response_id}/input_items", "/v1/responses/{response_id}/cancel",
    } == set(document["paths"])  # fmt: skip
    schemas = document["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in schemas
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            content = operation["responses"]["200"]["content"]
            assert all("example" in media for media in content.values()), path
            assert path.startswith("/health") or "401" in operation["responses"], path
    for name in ("ChatRequest", "CompletionRequest", "EmbeddingRequest"):
        assert schemas[name]["examples"], name


async def test_many_at_once_are_all_answered_and_recorded(edge: EdgeClient, provider: Provider) -> None:
    """Fifty streams at the same time: each whole, each with one attempt in the ledger.

    A slow machine may refuse some at once; their clients come again when they were told to, and nothing was spent.
    """

    async def ask(number: int) -> Chat:
        while True:
            chat = await edge.chat(f"many at once {number}")
            if chat.status != 503:
                return chat
            assert "overloaded" == chat.last["error"]["code"]
            await asyncio.sleep(int(chat.headers["retry-after"]) + 0.05 * number)

    async with asyncio.timeout(60):
        chats = await asyncio.gather(*(ask(number) for number in range(50)))

    assert [WHOLE] * 50 == [chat.text for chat in chats]
    receipts = await asyncio.gather(*(edge.receipt(chat.request_id) for chat in chats))
    assert [1] * 50 == [len(receipt["attempts"]) for receipt in receipts]
    assert 50 == len(await provider.asked("default", "many at once"))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_with_an_idempotency_key_is_run_once(
    edge: EdgeClient, provider: Provider, *, stream: bool
) -> None:
    """The vendor's client sends it again: the same answer, one attempt, one request in the ledger."""
    key = {"idempotency-key": f"order-{uuid.uuid4()}"}
    words = f"idempotent {stream}"
    body = {"model": "other", "stream": stream, "messages": [{"role": "user", "content": edge.fresh(words)}]}
    once, again = [await edge.post("/v1/chat/completions", orjson.dumps(body), key) for _ in range(2)]
    receipts = [await edge.receipt(once.headers["x-request-id"])]
    other = await edge.post("/v1/chat/completions", orjson.dumps({**body, "temperature": 1}), key)

    assert [200, 200, 422] == [answer.status_code for answer in (once, again, other)]
    assert [None, "true"] == [answer.headers.get("idempotency-replayed") for answer in (once, again)]
    assert once.content == again.content
    assert once.headers["content-type"] == again.headers["content-type"]
    assert "idempotency_key_reused" == other.json()["error"]["code"]
    assert [1] == [len(receipt["attempts"]) for receipt in receipts]
    assert 1 == len(await provider.asked("other", words))
    assert 404 == (await edge.get(f"/v1/requests/{again.headers['x-request-id']}")).status_code
