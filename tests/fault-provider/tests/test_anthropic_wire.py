"""The Anthropic wire, asked by the official client and byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text, expected_usage

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(name="client")
async def _client(fault_provider_url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=fault_provider_url, api_key="sk-test", max_retries=0) as client:
        yield client


async def _event_names(url: str, model: str) -> list[str]:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 100, "stream": True}
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{url}/v1/messages", json=body)
    return [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event: ")]


async def test_a_stream_carries_the_text_and_usage_that_answers_computes(client: anthropic.AsyncAnthropic) -> None:
    """The official client accumulates the stream; cache reads and writes stand beside the input tokens."""
    model = "ok?chunks=5&cached=3&cache_write=4&prompt_tokens=20&reasoning=7"
    async with client.messages.stream(model=model, messages=MESSAGES, max_tokens=100) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()

    assert expected_text(model) == text == "w0 w1 w2 w3 w4 "
    assert "end_turn" == message.stop_reason
    assert expected_usage(model, "anthropic") == message.usage.model_dump(exclude_none=True)
    assert (13, 3, 4, 12) == (
        message.usage.input_tokens,
        message.usage.cache_read_input_tokens,
        message.usage.cache_creation_input_tokens,
        message.usage.output_tokens,
    )


async def test_the_events_come_in_the_order_of_the_wire(fault_provider_url: str) -> None:
    """Start, ping, block, deltas, block end, message delta, stop."""
    assert [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == await _event_names(fault_provider_url, "ok?chunks=2")


@pytest.mark.parametrize(
    ("model", "last"),
    [
        ("missing-end", "content_block_delta"),
        ("missing-done", "message_delta"),
        ("error-frame?after=0", "error"),
        ("empty", "message_stop"),
    ],
)
async def test_a_stream_ends_as_its_behaviour_says(fault_provider_url: str, model: str, last: str) -> None:
    """The last event is that of the behaviour."""
    assert last == (await _event_names(fault_provider_url, model))[-1]


@pytest.mark.parametrize(
    ("model", "stop_reason", "text"),
    [
        ("content-filter?after=2", "refusal", "w0 w1 "),
        ("unknown-finish?chunks=1", "abort", "w0 "),
        ("ok?chunks=200", "max_tokens", expected_text("ok", max_tokens=100) or ""),
    ],
)
async def test_a_whole_answer_ends_with_the_reason_of_its_behaviour(
    client: anthropic.AsyncAnthropic, model: str, stop_reason: str, text: str
) -> None:
    """Without streaming the stop reason and the text are there too."""
    message = await client.messages.create(model=model, messages=MESSAGES, max_tokens=100)

    assert stop_reason == message.stop_reason
    assert message.content[0].type == "text"
    assert message.content[0].text.startswith(text)


async def test_a_tool_call_comes_in_fragments(client: anthropic.AsyncAnthropic) -> None:
    """The client joins the pieces of JSON to the input of the tool."""
    async with client.messages.stream(model="tool-call", messages=MESSAGES, max_tokens=100) as stream:
        message = await stream.get_final_message()

    [call] = message.content
    assert call.type == "tool_use"
    assert (TOOL_NAME, orjson.loads(TOOL_ARGUMENTS)) == (call.name, call.input)
    assert "tool_use" == message.stop_reason


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("status-401", 401, "authentication_error"),
        ("status-403", 403, "permission_error"),
        ("status-429", 429, "rate_limit_error"),
        ("status-529", 529, "overloaded_error"),
        ("insufficient-quota", 402, "billing_error"),
        ("context-too-long", 400, "invalid_request_error"),
    ],
)
async def test_a_refusal_is_the_error_that_the_official_client_knows(
    client: anthropic.AsyncAnthropic, model: str, status: int, kind: str
) -> None:
    """Status and type are the vendor's."""
    with pytest.raises(anthropic.APIStatusError) as refused:
        await client.messages.create(model=model, messages=MESSAGES, max_tokens=100)

    assert status == refused.value.status_code
    assert isinstance(refused.value.body, dict)
    assert kind == refused.value.body["error"]["type"]


async def test_max_tokens_is_required(fault_provider_url: str) -> None:
    """As at the vendor: a translation that forgets it is noticed."""
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{fault_provider_url}/v1/messages", json={"model": "ok", "messages": MESSAGES})

    assert 400 == response.status_code
