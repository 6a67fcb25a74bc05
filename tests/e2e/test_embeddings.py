"""Embeddings and the list of models through the front door, by the official client."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
import uuid_utils.compat
import yaml

from fault_provider.embeddings import expected_vector
from kit.front_door.edge_client import Behind, EdgeClient, Json, Provider, Stores, nano


@pytest.fixture(name="client")
async def _client(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0, timeout=60) as client:
        yield client


async def _receipt(edge: EdgeClient, answer: Any) -> Json:
    return await edge.receipt(answer.headers["x-request-id"])


async def test_the_openai_client_gets_the_same_vectors_in_both_formats(client: openai.AsyncOpenAI) -> None:
    """Its own default, base64, and plain numbers agree to the last bit, and are what the provider made."""
    inputs = [f"text {number}" for number in range(20)]
    packed = await client.embeddings.create(model="vectors", input=inputs)
    plain = await client.embeddings.create(model="vectors", input=inputs, encoding_format="float")
    short = await client.embeddings.create(model="vectors", input="one", dimensions=7)

    expected = [expected_vector(text, 256) for text in inputs]
    assert expected == [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert [*range(20)] == [item.index for item in packed.data]
    assert [expected_vector("one", 7)] == [item.embedding for item in short.data]
    assert (1000, 1000) == (packed.usage.prompt_tokens, packed.usage.total_tokens)


@pytest.mark.parametrize("embedded", ["text", ["text"], [1, 2, 3], [[1], [2, 3]]], ids=str)
async def test_every_form_of_input_is_embedded(client: openai.AsyncOpenAI, embedded: Any) -> None:
    """A text, texts, tokens, lists of tokens."""
    answer = await client.embeddings.create(model="vectors", input=embedded, dimensions=4)

    inputs = [embedded] if isinstance(embedded, str) or isinstance(embedded[0], int) else embedded
    assert [expected_vector(each, 4) for each in inputs] == [item.embedding for item in answer.data]


async def test_the_most_inputs_of_a_common_size_pass(client: openai.AsyncOpenAI) -> None:
    """2048 vectors of 1536 numbers, from an engine that ignores base64, by a model whose name holds a slash."""
    inputs = [f"text {number}" for number in range(2048)]
    answer = await client.embeddings.create(model="org/vectors", input=inputs)

    assert 2048 == len(answer.data)
    assert expected_vector(inputs[-1], 1536) == answer.data[-1].embedding


async def test_vectors_are_accounted_to_the_nano_dollar(
    client: openai.AsyncOpenAI, edge: EdgeClient, stores: Stores
) -> None:
    """The input has a price, the output is none and free; receipt, Postgres and the day's costs say the same."""
    before = (await edge.get("/v1/costs")).json()["total"]
    raw = await client.embeddings.with_raw_response.create(model="vectors", input="accounted")

    assert "edge; fwd=bypass; detail=not_cacheable" == raw.headers["cache-status"]
    assert "answer;dur=" in raw.headers["server-timing"]
    receipt = await _receipt(edge, raw)
    cost = f"{nano('0.021', 1000):.9f}"
    assert ("/v1/embeddings", "vectors", "ok") == tuple(receipt[n] for n in ("endpoint", "requested_model", "outcome"))
    assert ("bypass", "not_cacheable") == (receipt["cache_status"], receipt["cache_bypass_reason"])
    assert (None, cost) == (receipt["finish_reason"], receipt["cost_usd"])
    (attempt,) = receipt["attempts"]
    assert ({"input_tokens": 1000, "output_tokens": 0}, "reported", cost) == (
        attempt["usage"],
        attempt["usage_source"],
        attempt["cost_usd"],
    )
    (row,) = await stores.rows(
        "SELECT input_tokens, output_tokens, cost_usd FROM attempts WHERE request_id = $1",
        uuid.UUID(receipt["request_id"]),
    )
    assert (1000, 0, cost) == (row["input_tokens"], row["output_tokens"], f"{row['cost_usd']:.9f}")
    after = (await edge.get("/v1/costs")).json()["total"]
    assert (1, 1000, 0) == tuple(after[f] - before[f] for f in ("requests", "input_tokens", "output_tokens"))


async def test_vectors_without_a_price_are_unpriced_not_free(client: openai.AsyncOpenAI, edge: EdgeClient) -> None:
    """Also when the provider counted nothing and the usage is an estimate."""
    raw = await client.embeddings.with_raw_response.create(model="vectors-unpriced", input="x" * 40)

    assert 10 == raw.parse().usage.prompt_tokens
    receipt = await _receipt(edge, raw)
    assert (None, "estimated") == (receipt["cost_usd"], receipt["attempts"][0]["usage_source"])


async def test_when_a_target_gives_bad_vectors_the_next_of_that_model_answers(
    client: openai.AsyncOpenAI, edge: EdgeClient, provider: Provider
) -> None:
    """One vector too few: the client sees nothing of it, the ledger both attempts, Anthropic no request at all."""
    raw = await client.embeddings.with_raw_response.create(model="vectors-fallback", input=["one", "two"])

    assert [expected_vector("one"), expected_vector("two")] == [item.embedding for item in raw.parse().data]
    receipt = await _receipt(edge, raw)
    assert [("vectors-fallback-2", "stream_broken"), ("vectors-fallback-3", None)] == [
        (attempt["target"], attempt["error_code"]) for attempt in receipt["attempts"]
    ]
    assert ["reported"] * 2 == [attempt["usage_source"] for attempt in receipt["attempts"]]
    assert [] == await provider.attempts("never")


@pytest.mark.parametrize(
    ("fields", "error", "reported"),
    [
        ({"input": ""}, openai.BadRequestError, "empty"),
        ({"input": ["a"] * 2049}, openai.BadRequestError, "2048"),
        ({"model": "nowhere"}, openai.NotFoundError, "does not exist"),
        ({"model": "vectors-claude"}, openai.BadRequestError, "has no embeddings"),
        ({"model": "local"}, openai.BadRequestError, "has no embeddings"),
        ({"model": "vectors-limited"}, openai.RateLimitError, "vectors-limited-1"),
        ({"model": "vectors-down"}, openai.InternalServerError, "cannot be mixed"),
    ],
    ids=str,
)
async def test_the_openai_client_raises_what_it_knows(
    client: openai.AsyncOpenAI, provider: Provider, fields: Any, error: type[openai.APIStatusError], reported: str
) -> None:
    """Each error is the client's own class, in words that help; vectors of another model are never given instead."""
    with pytest.raises(error, match=reported) as caught:
        await client.embeddings.create(**{"model": "vectors", "input": "one", **fields})

    assert {"message", "type", "param", "code", "retryable"} == set(caught.value.body or ())  # type: ignore[call-overload]
    assert [] == await provider.attempts("never")


async def test_a_failure_is_settled_with_its_attempts(client: openai.AsyncOpenAI, edge: EdgeClient) -> None:
    """Two tries at the only target of that model, both free of charge."""
    with pytest.raises(openai.InternalServerError) as caught:
        await client.embeddings.create(model="vectors-down", input="one")

    receipt = await edge.receipt(caught.value.response.headers["x-request-id"])
    assert ("provider_error", "all_targets_failed", "0.000000000", 2) == (
        receipt["outcome"],
        receipt["error_code"],
        receipt["cost_usd"],
        len(receipt["attempts"]),
    )


async def test_a_client_that_leaves_pays_for_what_it_began(edge: EdgeClient, provider: Provider) -> None:
    """The call is not cancelled: the provider finishes, and its own count is recorded."""
    request_id, text = str(uuid_utils.compat.uuid7()), edge.fresh("left")
    headers = {"authorization": f"Bearer {edge.key}", "x-request-id": request_id}
    async with httpx2.AsyncClient(base_url=edge.url, headers=headers) as client:
        leaving = asyncio.create_task(client.post("/v1/embeddings", json={"model": "vectors-slow", "input": text}))
        async with asyncio.timeout(20):
            while not await provider.asked("vectors-slow", text):
                await asyncio.sleep(0.01)
        leaving.cancel()

    (attempt,) = (await edge.receipt_by_client_id(request_id))["attempts"]
    assert ("ok", 12, "reported") == (attempt["outcome"], attempt["usage"]["input_tokens"], attempt["usage_source"])
    assert ["completed"] == [seen["finish"] for seen in await provider.asked("vectors-slow", text)]


@pytest.mark.local
async def test_no_text_of_a_request_for_vectors_is_logged(
    client: openai.AsyncOpenAI, behind: Behind, edge: EdgeClient
) -> None:
    """Neither in the edge nor in the router, and yet each has a line for the request."""
    raw = await client.embeddings.with_raw_response.create(model="vectors", input="unmistakable-secret-text")
    await _receipt(edge, raw)

    for name in ("edge", "llm-router", "cost-ledger"):
        assert "unmistakable-secret-text" not in behind.log(name)
        assert raw.headers["x-request-id"] in behind.log(name)


async def test_the_openai_client_lists_and_retrieves_models(client: openai.AsyncOpenAI) -> None:
    """Each listed model can be retrieved by its name, whatever is in it; another one is a 404."""
    listed = {model.id: model async for model in client.models.list()}
    assert {"default", "vectors", "org/vectors"} <= set(listed)
    for name in ("default", "org/vectors"):
        model = await client.models.retrieve(name)
        assert listed[name] == model
        assert ("model", "spillway") == (model.object, model.owned_by)
        assert model.created > 1_700_000_000

    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.models.retrieve("nowhere")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-nobody").models.retrieve("default")


@pytest.mark.local
async def test_the_list_follows_the_routes_within_ten_seconds(client: openai.AsyncOpenAI, behind: Behind) -> None:
    """A route that is added on disk is listed and answers; one that is taken away is gone."""
    file = behind.home / "routes.yaml"
    before = file.read_text()
    routes = yaml.safe_load(before)
    routes["routes"]["vectors-added"] = {"targets": ["vectors-1"]}

    async def listed() -> bool:
        return "vectors-added" in {model.id async for model in client.models.list()}

    try:
        file.write_text(yaml.safe_dump(routes))
        async with asyncio.timeout(10):
            while not await listed():
                await asyncio.sleep(0.1)
        assert 1 == len((await client.embeddings.create(model="vectors-added", input="one")).data)
    finally:
        file.write_text(before)
    async with asyncio.timeout(10):
        while await listed():
            await asyncio.sleep(0.1)
