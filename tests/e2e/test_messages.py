"""Anthropic's contract to the letter, driven by Anthropic's own client, whichever vendor answers."""

from __future__ import annotations

import json
import uuid
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text
from kit.front_door.anthropic_requests import TALK, WEATHER, asked
from kit.front_door.edge_client import EdgeClient, Provider, nano, read_events
from kit.front_door.scenarios import CLAUDE

WHOLE = expected_text("ok")


@pytest.mark.parametrize("model", ["claude", "cached"])
async def test_the_anthropic_client_gets_a_whole_message(claude: anthropic.AsyncAnthropic, model: str) -> None:
    """One message object, from either vendor, with usage counted as Anthropic counts: the cache beside the input."""
    message = await claude.messages.create(model=model, **asked())

    assert ["text"] == [block.type for block in message.content]
    assert message.content[0].type == "text"
    assert WHOLE == message.content[0].text
    assert ("message", "assistant", "end_turn", None) == (
        message.type,
        message.role,
        message.stop_reason,
        message.stop_sequence,
    )
    usage = message.usage
    counted = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    assert ((350, 100, 50) if model == "claude" else (12, 0, None)) == counted
    assert 8 == usage.output_tokens
    assert message.id.startswith("msg_")
    assert "msg_" + str(message._request_id) == message.id


@pytest.mark.parametrize("model", ["claude", "late"])
async def test_the_anthropic_client_streams(claude: anthropic.AsyncAnthropic, model: str) -> None:
    """The client's stream helper assembles the same message; text arrives in pieces."""
    async with claude.messages.stream(model=model, **asked()) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()

    assert WHOLE == "".join(texts)
    assert len(texts) > 1
    assert "end_turn" == message.stop_reason
    assert 8 == message.usage.output_tokens
    assert (350 if model == "claude" else 12) == message.usage.input_tokens


async def test_the_events_are_anthropics_in_order(edge: EdgeClient) -> None:
    """Names, order and one stop for each start; the last two carry the end and its usage."""
    body = asked(model="claude", stream=True)
    async with edge.stream("/v1/messages", body) as response:
        events = [event async for event in read_events(response)]

    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 8,
        *("content_block_stop", "message_delta", "message_stop"),
    ] == [event.name for event in events]
    assert all(event.name == event.data["type"] for event in events)
    start, delta = events[0].data["message"], events[-2].data
    assert ([], None, CLAUDE) == (start["content"], start["stop_reason"], start["model"])
    assert {"stop_reason": "end_turn", "stop_sequence": None} == delta["delta"]
    assert {
        "input_tokens": 350,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 100,
        "output_tokens": 8,
    } == delta["usage"]


async def test_a_message_is_accounted_like_any_other_answer(edge: EdgeClient) -> None:
    """The receipt knows endpoint, attempt, usage and cost."""
    answer = await edge.post("/v1/messages", orjson.dumps(asked(model="claude")))

    receipt = await edge.receipt(answer.headers["x-request-id"])
    cost = nano("3.001", 350) + nano("0.301", 100) + nano("3.751", 50) + nano("15.013", 8)
    assert ("/v1/messages", "claude", False, f"{cost:.9f}") == (
        receipt["endpoint"],
        receipt["requested_model"],
        receipt["is_streaming"],
        receipt["cost_usd"],
    )
    assert ["anthropic"] == [attempt["provider"] for attempt in receipt["attempts"]]


@pytest.mark.parametrize("model", ["tools", "tools-claude"])
async def test_the_anthropic_client_gets_tool_calls_either_way(claude: anthropic.AsyncAnthropic, model: str) -> None:
    """Whole and in pieces, from either vendor."""
    whole = await claude.messages.create(model=model, **asked(tools=[WEATHER]))
    async with claude.messages.stream(model=model, **asked(tools=[WEATHER])) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        streamed = await stream.get_final_message()

    for message in (whole, streamed):
        call: Any = message.content[0]
        assert (1, "tool_use") == (len(message.content), call.type)
        assert (TOOL_NAME, json.loads(TOOL_ARGUMENTS), "tool_use") == (call.name, call.input, message.stop_reason)
        assert call.id
    assert TOOL_ARGUMENTS == "".join(pieces)
    assert len(pieces) > 1


async def test_the_same_message_again_is_a_hit(edge: EdgeClient, provider: Provider) -> None:
    """Whole or streamed, at no cost, with the usage of the answer; another contract's answer is not taken for it."""
    body = asked(model="claude", messages=[{"role": "user", "content": f"twice {uuid.uuid4()}"}])
    first = await edge.post("/v1/messages", orjson.dumps(body))
    again = await edge.post("/v1/messages", orjson.dumps(body))
    async with edge.stream("/v1/messages", {**body, "stream": True}) as response:
        events = [event async for event in read_events(response)]

    assert "edge; fwd=miss; stored" == first.headers["cache-status"]
    assert ["edge; hit"] * 2 == [again.headers["cache-status"], response.headers["cache-status"]]
    assert 1 == len(await provider.asked("claude", body["messages"][0]["content"]))
    assert first.json() | {"id": ""} == again.json() | {"id": ""}
    assert first.json()["usage"] == events[0].data["message"]["usage"] == events[-2].data["usage"]
    assert "0.000000000" == (await edge.receipt(again.headers["x-request-id"]))["cost_usd"]

    other = await edge.post("/v1/chat/completions", orjson.dumps({**body, "metadata": {}}))
    assert "edge; fwd=miss; stored" == other.headers["cache-status"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "providers"), [("claude-down", "anthropic openai"), ("openai-down", "openai anthropic")]
)
async def test_an_answer_falls_back_between_the_wires(
    edge: EdgeClient, claude: anthropic.AsyncAnthropic, model: str, providers: str, stream: bool
) -> None:
    """From Anthropic to OpenAI and back, streaming and not, the client sees one good message."""
    request = asked(messages=TALK, tools=[WEATHER], system=str(uuid.uuid4()))
    if stream:
        async with claude.messages.stream(model=model, **request) as streaming:
            message = await streaming.get_final_message()
            request_id = streaming.response.headers["x-request-id"]
    else:
        message = await claude.messages.create(model=model, **request)
        request_id = message._request_id or ""

    assert message.content[0].type == "text"
    assert (WHOLE, "end_turn") == (message.content[0].text, message.stop_reason)
    attempts = (await edge.receipt(request_id))["attempts"]
    assert providers == " ".join(dict.fromkeys(attempt["provider"] for attempt in attempts))


async def test_a_tool_call_falls_back_from_anthropic_to_openai(claude: anthropic.AsyncAnthropic) -> None:
    """The call is Anthropic's block though OpenAI made it."""
    async with claude.messages.stream(model="claude-tools-down", **asked(tools=[WEATHER])) as stream:
        message = await stream.get_final_message()

    assert message.content[0].type == "tool_use"
    assert (json.loads(TOOL_ARGUMENTS), "tool_use") == (message.content[0].input, message.stop_reason)


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_the_first_content_raise_the_clients_own_exceptions(
    claude: anthropic.AsyncAnthropic, stream: bool
) -> None:
    """Status, class, type and our own code, streaming or not."""
    expected: list[tuple[str, type[anthropic.APIStatusError], int, str, str]] = [
        ("all-down", anthropic.InternalServerError, 502, "api_error", "all_targets_failed"),
        ("all-limited", anthropic.RateLimitError, 429, "rate_limit_error", "rate_limited"),
        ("nope", anthropic.NotFoundError, 404, "not_found_error", "model_not_found"),
        ("too-long", anthropic.BadRequestError, 400, "invalid_request_error", "context_length_exceeded"),
        ("callers-error", anthropic.BadRequestError, 400, "invalid_request_error", "invalid_request"),
    ]
    for model, error_class, status, kind, code in expected:
        with pytest.raises(error_class) as caught:
            await claude.messages.create(model=model, stream=stream, **asked())
        error = caught.value
        assert (status, kind, code) == (error.status_code, error.type, error.error_code)
        assert error.request_id == error.response.headers["x-request-id"] == error.body["request_id"]  # type: ignore[index]
        assert (model == "all-limited") == ("7" == error.response.headers.get("retry-after"))
        assert (model == "too-long") == error.body["error"]["message"].startswith("prompt is too long")  # type: ignore[index]


async def test_a_stream_that_breaks_raises_in_the_client_and_ends_with_the_error(
    edge: EdgeClient, claude: anthropic.AsyncAnthropic
) -> None:
    """The text so far was read; then `event: error`, and nothing that reads as success."""
    read: list[str] = []

    async def read_on() -> None:
        async with claude.messages.stream(model="claude-cut", **asked()) as stream:
            async for text in stream.text_stream:
                read.append(text)  # noqa: PERF401 - what came before the exception counts

    with pytest.raises(anthropic.APIStatusError, match="broke off after 9 characters"):
        await read_on()
    assert "w0 w1 w2 " == "".join(read)

    async with edge.stream("/v1/messages", asked(model="claude-cut", stream=True)) as response:
        events = [event async for event in read_events(response)]
    names = [event.name for event in events]
    assert (["error"], 0) == (names[-1:], names.count("message_stop") + names.count("message_delta"))
    assert {"type", "error", "request_id"} == events[-1].data.keys()
    assert ("error", "api_error", response.headers["x-request-id"]) == (
        events[-1].data["type"],
        events[-1].data["error"]["type"],
        events[-1].data["request_id"],
    )


BAD: dict[str, tuple[bytes, int, str, str]] = {
    "not JSON": (b"hello", 400, "invalid_request_error", "line 1"),
    "no object": (b"[]", 400, "invalid_request_error", "the body"),
    "no limit": (
        b'{"model":"claude","messages":[{"role":"user","content":"x"}]}',
        400,
        "invalid_request_error",
        "max_tokens",
    ),
    "no messages": (b'{"model":"claude","max_tokens":5,"messages":[]}', 400, "invalid_request_error", "messages"),
    "a wrong role": (
        b'{"model":"claude","max_tokens":5,"messages":[{"role":"tool","content":"x"}]}',
        400,
        "invalid_request_error",
        "messages.0.role",
    ),
    "a block without text": (
        b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text"}]}]}',
        400,
        "invalid_request_error",
        "messages.0.content.0.text: must be a text",
    ),
    "a block without a type": (
        b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":[{}]}]}',
        400,
        "invalid_request_error",
        "messages.0.content.0.type",
    ),
    "too hot": (
        b'{"model":"claude","max_tokens":5,"temperature":1.5,"messages":[{"role":"user","content":"x"}]}',
        400,
        "invalid_request_error",
        "temperature",
    ),
    "a stop that is OpenAI's": (
        b'{"model":"claude","max_tokens":5,"stop_sequences":"x","messages":[{"role":"user","content":"x"}]}',
        400,
        "invalid_request_error",
        "stop_sequences",
    ),
    "a tool billed by a use that nobody counts": (
        b'{"model":"claude","max_tokens":5,"tools":[{"type":"advisor_20260301","name":"advisor","model":"m"}],'
        b'"messages":[{"role":"user","content":"x"}]}',
        400,
        "invalid_request_error",
        "tools.0: tools of the type 'advisor_20260301' are billed by a use that no usage counts",
    ),
    "a huge body": (b'{"model": "' + b"x" * 35_000_000 + b'"}', 413, "request_too_large", "33554432 bytes"),
    "a long prompt": (
        b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"' + b"x" * 500_000 + b'"}]}',
        400,
        "invalid_request_error",
        "prompt is too long: 125000 tokens > 100000 maximum",
    ),
}


@pytest.mark.parametrize(("body", "status", "kind", "explanation"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_answered_in_anthropics_shape(
    edge: EdgeClient, body: bytes, status: int, kind: str, explanation: str
) -> None:
    """A clear error that names what is wrong."""
    answer = await edge.post("/v1/messages", body, {"content-type": "application/json"})

    error = answer.json()
    assert (status, "error", kind) == (answer.status_code, error["type"], error["error"]["type"])
    assert explanation in error["error"]["message"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == error["request_id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/messages/count_tokens", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
    ],
)
async def test_unknown_paths_are_answered_in_anthropics_shape(
    edge: EdgeClient, method: str, path: str, status: int, kind: str
) -> None:
    """Other paths keep the shape they have."""
    async with httpx2.AsyncClient(base_url=edge.url, headers={"x-api-key": edge.key}) as client:
        answer = await client.request(method, path)
        other = await client.get("/v1/messagesx")

    assert (status, "error", kind) == (answer.status_code, answer.json()["type"], answer.json()["error"]["type"])
    assert (404, "not_found") == (other.status_code, other.json()["error"]["code"])


async def test_a_key_is_taken_from_either_header(edge: EdgeClient) -> None:
    """`x-api-key` as Anthropic's client sends it, or a bearer token; the version is taken and makes no difference."""
    body = asked(model="claude")
    async with httpx2.AsyncClient(base_url=edge.url) as client:
        good = [
            await client.post("/v1/messages", json=body, headers=headers)
            for headers in (
                {"x-api-key": edge.key},
                {"authorization": f"Bearer {edge.key}"},
                {"x-api-key": edge.key, "anthropic-version": "2023-06-01"},
                {"x-api-key": edge.key, "anthropic-version": "2099-01-01"},
            )
        ]
        bad = [
            await client.post("/v1/messages", json=body, headers=headers)
            for headers in ({}, {"x-api-key": "sk-spillway-00000000-wrong"}, {"authorization": "Bearer nonsense"})
        ]
        elsewhere = await client.post("/chat", json={"query": "x"}, headers={"x-api-key": edge.key})

    assert [200] * 4 == [answer.status_code for answer in good]
    assert [(401, "authentication_error")] * 3 == [
        (answer.status_code, answer.json()["error"]["type"]) for answer in bad
    ]
    assert 200 == elsewhere.status_code


async def test_the_small_model_answers_in_anthropics_contract(claude: anthropic.AsyncAnthropic) -> None:
    """Blocks, a system prompt and many turns reach an engine on the OpenAI wire in a form that it accepts."""
    message = await claude.messages.create(
        model="local",
        max_tokens=20,
        system=[{"type": "text", "text": "Answer in one sentence."}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello! How can I help you?"}]},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        extra_body={"top_k": 1, "temperature": 0},
    )

    assert message.content[0].type == "text"
    assert message.content[0].text
    assert message.stop_reason in {"end_turn", "max_tokens"}
    assert message.usage.input_tokens > 0
