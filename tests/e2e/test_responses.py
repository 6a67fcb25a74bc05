"""OpenAI's Responses API, driven by OpenAI's own client, whichever vendor answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text
from kit.front_door.edge_client import EdgeClient

WHOLE = expected_text("ok")
TOOL: Any = {
    "type": "function",
    "name": TOOL_NAME,
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture(name="client")
async def _client(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["cached", "claude"])
async def test_the_openai_client_gets_a_whole_response(client: openai.AsyncOpenAI, model: str) -> None:
    """From either vendor, with usage."""
    response = await client.responses.create(model=model, input="hello", instructions="Be brief.")

    assert ("completed", WHOLE) == (response.status, response.output_text)
    assert response.usage is not None
    assert (500 if model == "claude" else 12, 8) == (response.usage.input_tokens, response.usage.output_tokens)
    assert "Be brief." == response.instructions


@pytest.mark.parametrize("model", ["late", "claude"])
async def test_the_openai_client_streams_a_response(client: openai.AsyncOpenAI, model: str) -> None:
    """The client's own stream helper puts the same response together."""
    async with client.responses.stream(model=model, input="hello, stream") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        response = await stream.get_final_response()

    assert WHOLE == "".join(deltas) == response.output_text
    assert len(deltas) > 1
    assert "completed" == response.status


@pytest.mark.parametrize("model", ["tools", "tools-claude"])
async def test_a_tool_goes_round(client: openai.AsyncOpenAI, edge: EdgeClient, model: str) -> None:
    """The call comes as an item; its result goes on from the response, and the provider gets both."""
    first = await client.responses.create(model=model, input="weather?", tools=[TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (TOOL_NAME, TOOL_ARGUMENTS) == (call.name, call.arguments)

    second = await client.responses.create(
        model="echo-claude" if model == "tools-claude" else "echo-openai",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
        tools=[TOOL],
    )
    assert WHOLE == second.output_text
    assert first.id == (await client.responses.retrieve(second.id)).previous_response_id
    receipt = await edge.receipt(_request_id(second.id))
    assert ("/v1/responses", "ok") == (receipt["endpoint"], receipt["outcome"])


async def test_a_response_that_breaks_off_has_failed(client: openai.AsyncOpenAI) -> None:
    """The client is told by `response.failed`, and nothing that reads as success follows."""
    stream = await client.responses.create(model="cut-alone", input="hello", stream=True)
    events = [event async for event in stream]

    assert "response.failed" == events[-1].type
    assert events[-1].response.error is not None
    assert "server_error" == events[-1].response.error.code
    assert "response.completed" not in {event.type for event in events}


async def test_a_cut_answer_is_incomplete(client: openai.AsyncOpenAI) -> None:
    """Filtered content ends a response as incomplete."""
    response = await client.responses.create(model="filtered", input="hello")

    assert "incomplete" == response.status
    assert response.incomplete_details is not None
    assert "content_filter" == response.incomplete_details.reason


async def test_errors_are_openais(client: openai.AsyncOpenAI) -> None:
    """With the client's own exceptions: what is not there, what cannot be done, whom nobody knows."""
    with pytest.raises(openai.NotFoundError, match="there is no response"):
        await client.responses.create(model="cached", input="x", previous_response_id="resp_nothing")
    with pytest.raises(openai.BadRequestError, match="background"):
        await client.responses.create(model="cached", input="x", background=True)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-spillway-none-none").responses.create(model="cached", input="x")


async def test_a_response_is_its_tenants(client: openai.AsyncOpenAI, other_edge: EdgeClient) -> None:
    """Another tenant finds nothing under its id; its own reads its input, and deletes it."""
    response = await client.responses.create(model="cached", input="keep this")
    stranger = openai.AsyncOpenAI(api_key=other_edge.key, base_url=f"{other_edge.url}/v1", max_retries=0)
    async with stranger:
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.retrieve(response.id)

    items = await client.responses.input_items.list(response.id)
    (item,) = items.data
    assert "keep this" == item.content[0].text  # type: ignore[index, union-attr]
    await client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


def _request_id(response_id: str) -> str:
    """Return the id of the request that a response answers."""
    digits = response_id.removeprefix("resp_")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
