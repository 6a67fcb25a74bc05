"""The embeddings wire, asked by the official client and byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from fault_provider.embeddings import expected_embeddings_usage, expected_vector
from fault_provider.plan import parse_model

INPUTS = ["one", "two", "three"]


@pytest.fixture(name="client")
async def _client(fault_provider_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{fault_provider_url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


async def _post(url: str, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.post(f"{url}/v1/embeddings", json={"input": INPUTS, **body})


async def test_vectors_and_usage_are_the_computed_ones_in_both_formats(client: openai.AsyncOpenAI) -> None:
    """The client's own default (base64) and plain floats say the same."""
    model = "ok?dimensions=5&prompt_tokens=9"
    packed = await client.embeddings.create(model=model, input=INPUTS)
    plain = await client.embeddings.create(model=model, input=INPUTS, encoding_format="float")

    expected = [expected_vector(text, 5) for text in INPUTS]
    assert expected == [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert len({tuple(vector) for vector in expected}) == 3
    assert [0, 1, 2] == [item.index for item in packed.data]
    assert {"prompt_tokens": 9, "total_tokens": 9} == packed.usage.model_dump()
    assert expected_embeddings_usage(parse_model(model)) == packed.usage.model_dump()


@pytest.mark.parametrize(("given", "inputs"), [("a", ["a"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])])
async def test_every_form_of_input_is_read(client: openai.AsyncOpenAI, given: Any, inputs: list[Any]) -> None:
    """A text, its tokens, or several of either; the request's dimensions go before the plan's."""
    answer = await client.embeddings.create(model="ok", input=given, dimensions=3)

    assert [expected_vector(each, 3) for each in inputs] == [item.embedding for item in answer.data]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("status-401", openai.AuthenticationError),
        ("status-429", openai.RateLimitError),
        ("status-503", openai.InternalServerError),
        ("insufficient-quota", openai.RateLimitError),
        ("context-too-long", openai.BadRequestError),
        ("reset", openai.APIConnectionError),
        ("cut", openai.APIConnectionError),
    ],
)
async def test_a_fault_is_the_error_that_the_official_client_knows(
    client: openai.AsyncOpenAI, model: str, error: type[openai.APIError]
) -> None:
    """The same vocabulary as for a chat."""
    with pytest.raises(error):
        await client.embeddings.create(model=model, input="a")


async def test_what_is_wrong_with_vectors_is_wrong_as_asked(fault_provider_url: str) -> None:
    """One vector too few, an index beside the row, lengths that differ, a number that is none, floats unasked."""

    async def items(model: str) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = (await _post(fault_provider_url, model=model)).json()["data"]
        return data

    assert 2 == len(await items("wrong-count"))
    assert [0, 1, 3] == [item["index"] for item in await items("wrong-index")]
    assert [8, 8, 7] == [len(item["embedding"]) for item in await items("wrong-dimensions")]
    assert (await items("not-finite"))[2]["embedding"][-1] is None
    assert [] == await items("empty")
    floats = (await _post(fault_provider_url, model="floats", encoding_format="base64")).json()["data"]
    assert expected_vector("one") == floats[0]["embedding"]
    assert "usage" not in (await _post(fault_provider_url, model="no-usage")).json()
    assert "error" in (await _post(fault_provider_url, model="error-frame")).json()
    malformed = await _post(fault_provider_url, model="malformed")
    assert (200, False) == (malformed.status_code, malformed.text.endswith("}"))


async def test_flaky_can_fail_by_any_fault(fault_provider_url: str) -> None:
    """The first call plays `fault`, later ones are good: so a second target of the same model can answer."""
    answers = [await _post(fault_provider_url, model="flaky?fault=wrong-count&test=flaky-vectors") for _ in range(2)]

    assert [2, 3] == [len(answer.json()["data"]) for answer in answers]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "ok", "input": ""},
        {"model": "ok", "input": []},
        {"model": "ok", "input": ["a", ""]},
        {"model": "ok", "input": None},
        {"model": "ok", "encoding_format": None},
        {"model": "ok", "encoding_format": "hex"},
        {"model": "flaky?fault=gremlin"},
        {},
    ],
)
async def test_a_wrong_request_is_refused(fault_provider_url: str, body: dict[str, Any]) -> None:
    """As at the vendors; an `encoding_format` of null is refused as by vLLM."""
    answer = await _post(fault_provider_url, **body)

    assert (400, "invalid_request_error") == (answer.status_code, answer.json()["error"]["type"])
