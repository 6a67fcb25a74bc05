"""Anthropic's contract to the letter, driven by its own client, whichever vendor answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text
from front_door import Door, Provider, nano, read_events
from scenarios import CLAUDE

Json = dict[str, Any]

WHOLE = expected_text("ok")
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CACHED = {"cache_control": {"type": "ephemeral"}}
# For requests that an earlier run has made in the same words.
UNCACHED = {"cache-control": "no-store"}
PIXEL = "iVBORw0KGgo="
WEATHER: Json = {
    "name": TOOL_NAME,
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TALK: list[Json] = [
    {"role": "user", "content": "What is the weather in Paris and in Rome?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": TOOL_NAME, "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": TOOL_NAME, "input": {"city": "Rome"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True},
            {"type": "text", "text": "And tomorrow?"},
        ],
    },
]


@pytest.fixture(name="client")
async def _client(door: Door) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=door.key, base_url=door.url, max_retries=0) as client:
        yield client


def asked(**fields: Any) -> Any:
    """Write a request that was not made before, unless its messages are given."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": f"hello {uuid.uuid4()}"}], **fields}


async def last_body(provider: Provider, test: str) -> Json:
    """Return what the provider was asked last, apart from what each target is told for itself."""
    body: Json = (await provider.attempts(test))[-1]["body"]
    return {name: value for name, value in body.items() if name not in {"model", "stream", "stream_options"}}


@pytest.mark.parametrize("model", ["claude", "cached"])
async def test_the_anthropic_client_gets_a_whole_message(client: anthropic.AsyncAnthropic, model: str) -> None:
    """One message object, from either vendor, with usage counted as Anthropic counts: the cache beside the input."""
    message = await client.messages.create(model=model, **asked())

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
async def test_the_anthropic_client_streams(client: anthropic.AsyncAnthropic, model: str) -> None:
    """The client's own helper puts the same message together, words as they come."""
    async with client.messages.stream(model=model, **asked()) as stream:
        words = [text async for text in stream.text_stream]
        message = await stream.get_final_message()

    assert WHOLE == "".join(words)
    assert len(words) > 1
    assert "end_turn" == message.stop_reason
    assert 8 == message.usage.output_tokens
    assert (350 if model == "claude" else 12) == message.usage.input_tokens


async def test_the_events_are_anthropics_in_order(door: Door) -> None:
    """Names, order and one stop for each start; the last two carry the end and its usage."""
    body = asked(model="claude", stream=True)
    async with door.stream("/v1/messages", body) as response:
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


async def test_a_message_is_accounted_like_any_other_answer(door: Door) -> None:
    """The receipt knows endpoint, attempt, usage and cost."""
    answer = await door.post("/v1/messages", orjson.dumps(asked(model="claude")))

    receipt = await door.receipt(answer.headers["x-request-id"])
    cost = nano("3.001", 350) + nano("0.301", 100) + nano("3.751", 50) + nano("15.013", 8)
    assert ("/v1/messages", "claude", False, f"{cost:.9f}") == (
        receipt["endpoint"],
        receipt["requested_model"],
        receipt["is_streaming"],
        receipt["cost_usd"],
    )
    assert ["anthropic"] == [attempt["provider"] for attempt in receipt["attempts"]]


@pytest.mark.parametrize("model", ["tools", "tools-claude"])
async def test_the_anthropic_client_gets_tool_calls_either_way(client: anthropic.AsyncAnthropic, model: str) -> None:
    """Whole and in pieces, from either vendor."""
    whole = await client.messages.create(model=model, **asked(tools=[WEATHER]))
    async with client.messages.stream(model=model, **asked(tools=[WEATHER])) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        streamed = await stream.get_final_message()

    for message in (whole, streamed):
        call: Any = message.content[0]
        assert (1, "tool_use") == (len(message.content), call.type)
        assert (TOOL_NAME, json.loads(TOOL_ARGUMENTS), "tool_use") == (call.name, call.input, message.stop_reason)
        assert call.id
    assert TOOL_ARGUMENTS == "".join(pieces)
    assert len(pieces) > 1


async def test_the_same_message_again_is_a_hit(door: Door, provider: Provider) -> None:
    """Whole or streamed, at no cost, with the usage of the answer; another contract's answer is not taken for it."""
    body = asked(model="claude", messages=[{"role": "user", "content": f"twice {uuid.uuid4()}"}])
    first = await door.post("/v1/messages", orjson.dumps(body))
    again = await door.post("/v1/messages", orjson.dumps(body))
    async with door.stream("/v1/messages", {**body, "stream": True}) as response:
        events = [event async for event in read_events(response)]

    assert "edge; fwd=miss; stored" == first.headers["cache-status"]
    assert ["edge; hit"] * 2 == [again.headers["cache-status"], response.headers["cache-status"]]
    assert 1 == len(await provider.asked("claude", body["messages"][0]["content"]))
    assert first.json() | {"id": ""} == again.json() | {"id": ""}
    assert first.json()["usage"] == events[0].data["message"]["usage"] == events[-2].data["usage"]
    assert "0.000000000" == (await door.receipt(again.headers["x-request-id"]))["cost_usd"]

    other = await door.post("/v1/chat/completions", orjson.dumps({**body, "metadata": {}}))
    assert "edge; fwd=miss; stored" == other.headers["cache-status"]


# What Anthropic's contract can say: each arrives at an Anthropic target as the client sent it.
REQUESTS: dict[str, Json] = {
    "a question": {},
    "a system prompt": {"system": "Be brief."},
    "a system prompt in blocks": {"system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B", **CACHED}]},
    "many turns": {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "text", "text": "three"}]},
            {"role": "user", "content": "four"},
        ]
    },
    "a system turn": {"messages": [*HELLO, {"role": "system", "content": "Now in French."}]},
    "a system turn first": {"messages": [{"role": "system", "content": "In French."}, *HELLO]},
    "prefill": {"messages": [*HELLO, {"role": "assistant", "content": "The answer is ("}]},
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "image", "source": {"type": "url", "url": "https://pictures.test/a.png"}, **CACHED},
                    {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                    {"type": "text", "text": "Which?", **CACHED},
                ],
            }
        ]
    },
    "documents": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "It is so."},
                        "citations": {"enabled": True},
                        "title": "A page",
                    },
                    {"type": "text", "text": "Is it?"},
                ],
            }
        ]
    },
    "tools": {"tools": [WEATHER, {"name": "plain", "input_schema": {"type": "object"}}]},
    "tools with everything": {
        "tools": [{**WEATHER, "type": "custom", "strict": True, "eager_input_streaming": True, **CACHED}],
    },
    "Anthropic's own tools": {
        "tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "web_fetch_20250910", "name": "web_fetch"}]
    },
    **{
        f"tool_choice {name}": {"tools": [WEATHER], "tool_choice": choice}
        for name, choice in {
            "auto": {"type": "auto"},
            "any": {"type": "any"},
            "tool": {"type": "tool", "name": TOOL_NAME},
            "none": {"type": "none"},
            "one at a time": {"type": "auto", "disable_parallel_tool_use": True},
            "any, as many as it likes": {"type": "any", "disable_parallel_tool_use": False},
        }.items()
    },
    "calls and results": {"messages": TALK, "tools": [WEATHER]},
    "a result without content": {
        "messages": [*TALK[:2], {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}]
    },
    "results in turns of their own": {
        "messages": [
            *TALK[:2],
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "b"}]},
            {"role": "user", "content": "So?"},
        ]
    },
    "a result in blocks": {
        "messages": [
            *TALK[:2],
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": False,
                        **CACHED,
                        "content": [
                            {"type": "text", "text": "a map"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    }
                ],
            },
        ]
    },
    "thoughts": {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            *TALK[:1],
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
                    {"type": "redacted_thinking", "data": "b3BhcXVl"},
                    *TALK[1]["content"],
                ],
            },
            TALK[2],
        ],
    },
    "words behind a call": {
        "messages": [
            *HELLO,
            {
                "role": "assistant",
                "content": [TALK[1]["content"][1], {"type": "text", "text": "and"}, TALK[1]["content"][2]],
            },
            TALK[2],
        ]
    },
    "an answer sent back": {
        "messages": [
            *HELLO,
            {"role": "assistant", "content": [{"type": "text", "text": "Hi.", "citations": None}]},
            *HELLO,
        ]
    },
    "sampling": {"temperature": 0, "top_p": 0.5, "top_k": 7, "stop_sequences": ["END", "STOP"]},
    "effort and a schema": {
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    },
    "adaptive thinking": {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
    "no thinking": {"thinking": {"type": "disabled"}},
    "who asks": {"metadata": {"user_id": "u-1"}},
    "nobody asks": {"metadata": {"user_id": None}},
    "what only changes the price": {
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "service_tier": "standard_only",
    },
    "a field of next year": {"a_field_of_next_year": {"deep": [1, 2.5, "x", None]}},
    "a block of next year": {"messages": [{"role": "user", "content": [{"type": "dream", "of": "sheep"}]}]},
}


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
async def test_an_anthropic_request_arrives_at_anthropic_as_it_was_sent(
    door: Door, provider: Provider, fields: Json
) -> None:
    """Nothing is lost, added or moved on the way through the one chat body inside."""
    body = asked(**fields)
    answer = await door.post(
        "/v1/messages", orjson.dumps({"model": "echo-claude", **body}), {"cache-control": "no-store"}
    )

    assert 200 == answer.status_code, answer.text
    assert body == await last_body(provider, "echo-claude")


async def test_a_beta_that_the_client_asks_for_is_asked_of_anthropic(
    client: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Without the header Anthropic would refuse the fields that belong to it; other vendors are not bothered."""
    beta = {"anthropic-beta": "context-management-2025-06-27,more-2026-01-01"}
    for model in ("echo-claude", "echo-openai"):
        await client.messages.create(model=model, **asked(), extra_headers=beta)
    names = [(await provider.attempts(model))[-1]["header_names"] for model in ("echo-claude", "echo-openai")]

    assert [True, False] == ["anthropic-beta" in seen for seen in names]
    await client.messages.create(model="echo-claude", **asked())
    assert "anthropic-beta" not in (await provider.attempts("echo-claude"))[-1]["header_names"]


async def test_an_anthropic_request_arrives_at_openai_in_openais_words(
    client: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """What has a word there is said with it, what only changes the price is left out, a failure is told in words."""
    choice = {"type": "any", "disable_parallel_tool_use": True}
    config = {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    thoughts = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}, **CACHED}
    request = asked(
        system=[{"type": "text", "text": "Be brief.", **CACHED}],
        messages=[
            {"role": "user", "content": [picture, {"type": "text", "text": "Here?", **CACHED}]},
            {"role": "assistant", "content": [thoughts, *TALK[1]["content"]]},
            TALK[2],
        ],
        tools=[{**WEATHER, **CACHED}],
        tool_choice=choice,
        output_config=config,
        thinking={"type": "adaptive"},
        stop_sequences=["END"],
        extra_body={"temperature": 0.5, "top_p": 0.9},
        service_tier="auto",
        metadata={"user_id": "u-1"},
    )
    await client.messages.create(model="echo-openai", **request, extra_headers=UNCACHED)

    function = {"name": TOOL_NAME, "description": "Tells the weather.", "parameters": WEATHER["input_schema"]}
    assert {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "text", "text": "Here?"},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Let me look."}],
                "tool_calls": [
                    {
                        "id": f"toolu_{number}",
                        "type": "function",
                        "function": {"name": TOOL_NAME, "arguments": f'{{"city":"{city}"}}'},
                    }
                    for number, city in ((1, "Paris"), (2, "Rome"))
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: no such city"},
            {"role": "user", "content": [{"type": "text", "text": "And tomorrow?"}]},
        ],
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
        "user": "u-1",
    } == await last_body(provider, "echo-openai")


UNSAID: dict[str, Json] = {
    "top_k": {"top_k": 5},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "inference_geo": {"inference_geo": "us"},
    "output_config.task_budget": {"output_config": {"task_budget": 5}},
    "messages.0.content.1": REQUESTS["images"]
    | {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "dream"}]}]},
    "messages.0.content.0": REQUESTS["documents"],
    "messages.2.content.0.content.1": REQUESTS["a result in blocks"],
    "tools.0": REQUESTS["Anthropic's own tools"],
    "tools.0.input_examples": {"tools": [{**WEATHER, "input_examples": [{"city": "Rome"}]}]},
    "a_field_of_next_year": REQUESTS["a field of next year"],
}


@pytest.mark.parametrize(("field", "fields"), UNSAID.items(), ids=UNSAID.keys())
async def test_what_openai_cannot_say_is_named_or_asked_of_another(
    client: anthropic.AsyncAnthropic, provider: Provider, field: str, fields: Json
) -> None:
    """The chain goes on to a target that can; when there is none, a 400 names the field as the caller wrote it."""
    request = asked(**fields)
    extra = {name: request.pop(name) for name in ("a_field_of_next_year", "output_config", "top_k") if name in request}
    before = len(await provider.attempts("echo-openai"))
    with pytest.raises(anthropic.BadRequestError) as caught:
        await client.messages.create(model="echo-openai", **request, extra_body=extra)
    answered = await client.messages.create(
        model="openai-then-claude", **request, extra_body=extra, extra_headers=UNCACHED
    )

    assert ("unsupported_parameter", "invalid_request_error") == (caught.value.error_code, caught.value.type)
    assert f"{field!r} has no counterpart" in str(caught.value.api_message)
    assert before == len(await provider.attempts("echo-openai"))
    assert "end_turn" == answered.stop_reason
    assert {**request, **extra} == await last_body(provider, "otc-claude")


async def test_an_engine_that_knows_top_k_is_asked_for_it(client: anthropic.AsyncAnthropic, provider: Provider) -> None:
    """vLLM and its like have the word, with the same meaning."""
    await client.messages.create(model="echo-vllm", **asked(extra_body={"top_k": 5}))

    assert 5 == (await last_body(provider, "echo-vllm"))["top_k"]


async def test_a_long_name_of_a_user_does_not_cost_the_answer(
    client: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Anthropic takes more characters than OpenAI; who asks does not change the answer."""
    await client.messages.create(model="echo-openai", **asked(metadata={"user_id": "u" * 65}))

    assert "user" not in await last_body(provider, "echo-openai")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "providers"), [("claude-down", "anthropic openai"), ("openai-down", "openai anthropic")]
)
async def test_an_answer_falls_back_between_the_wires(
    door: Door, client: anthropic.AsyncAnthropic, model: str, providers: str, stream: bool
) -> None:
    """From Anthropic to OpenAI and back, streaming and not, the client sees one good message."""
    request = asked(messages=TALK, tools=[WEATHER], system=str(uuid.uuid4()))
    if stream:
        async with client.messages.stream(model=model, **request) as streaming:
            message = await streaming.get_final_message()
            request_id = streaming.response.headers["x-request-id"]
    else:
        message = await client.messages.create(model=model, **request)
        request_id = message._request_id or ""

    assert message.content[0].type == "text"
    assert (WHOLE, "end_turn") == (message.content[0].text, message.stop_reason)
    attempts = (await door.receipt(request_id))["attempts"]
    assert providers == " ".join(dict.fromkeys(attempt["provider"] for attempt in attempts))


async def test_a_tool_call_falls_back_from_anthropic_to_openai(client: anthropic.AsyncAnthropic) -> None:
    """The call is Anthropic's block though OpenAI made it."""
    async with client.messages.stream(model="claude-tools-down", **asked(tools=[WEATHER])) as stream:
        message = await stream.get_final_message()

    assert message.content[0].type == "tool_use"
    assert (json.loads(TOOL_ARGUMENTS), "tool_use") == (message.content[0].input, message.stop_reason)


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_the_first_word_raise_the_clients_own_exceptions(
    client: anthropic.AsyncAnthropic, stream: bool
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
            await client.messages.create(model=model, stream=stream, **asked())
        error = caught.value
        assert (status, kind, code) == (error.status_code, error.type, error.error_code)
        assert error.request_id == error.response.headers["x-request-id"] == error.body["request_id"]  # type: ignore[index]
        assert (model == "all-limited") == ("7" == error.response.headers.get("retry-after"))


async def test_a_stream_that_breaks_raises_in_the_client_and_ends_with_the_error(
    door: Door, client: anthropic.AsyncAnthropic
) -> None:
    """The words that came were read; then `event: error`, and nothing that reads as success."""
    read: list[str] = []

    async def read_on() -> None:
        async with client.messages.stream(model="claude-cut", **asked()) as stream:
            async for text in stream.text_stream:
                read.append(text)  # noqa: PERF401 - what came before the exception counts

    with pytest.raises(anthropic.APIStatusError, match="broke off after 9 characters"):
        await read_on()
    assert "w0 w1 w2 " == "".join(read)

    async with door.stream("/v1/messages", asked(model="claude-cut", stream=True)) as response:
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
    "a tool billed by use": (
        b'{"model":"claude","max_tokens":5,"tools":[{"type":"web_search_20250305","name":"web_search"}],'
        b'"messages":[{"role":"user","content":"x"}]}',
        400,
        "invalid_request_error",
        "tools.0: tools of the type 'web_search_20250305' are billed by use",
    ),
    "a huge body": (b'{"model": "' + b"x" * 5_000_000 + b'"}', 413, "request_too_large", "4194304 bytes"),
    "a long prompt": (
        b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"' + b"x" * 500_000 + b'"}]}',
        400,
        "invalid_request_error",
        "about 125000 tokens",
    ),
}


@pytest.mark.parametrize(("body", "status", "kind", "told"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_answered_in_anthropics_shape(
    door: Door, body: bytes, status: int, kind: str, told: str
) -> None:
    """A clear error that names what is wrong."""
    answer = await door.post("/v1/messages", body, {"content-type": "application/json"})

    error = answer.json()
    assert (status, "error", kind) == (answer.status_code, error["type"], error["error"]["type"])
    assert told in error["error"]["message"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"] == error["request_id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/messages/count_tokens", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
    ],
)
async def test_what_is_not_there_is_told_in_anthropics_shape(
    door: Door, method: str, path: str, status: int, kind: str
) -> None:
    """Other paths keep the shape they have."""
    async with httpx2.AsyncClient(base_url=door.url, headers={"x-api-key": door.key}) as client:
        answer = await client.request(method, path)
        other = await client.get("/v1/messagesx")

    assert (status, "error", kind) == (answer.status_code, answer.json()["type"], answer.json()["error"]["type"])
    assert (404, "not_found") == (other.status_code, other.json()["error"]["code"])


async def test_a_key_is_taken_from_either_header(door: Door) -> None:
    """`x-api-key` as Anthropic's client sends it, or a bearer token; the version is taken and makes no difference."""
    body = asked(model="claude")
    async with httpx2.AsyncClient(base_url=door.url) as client:
        good = [
            await client.post("/v1/messages", json=body, headers=headers)
            for headers in (
                {"x-api-key": door.key},
                {"authorization": f"Bearer {door.key}"},
                {"x-api-key": door.key, "anthropic-version": "2023-06-01"},
                {"x-api-key": door.key, "anthropic-version": "2099-01-01"},
            )
        ]
        bad = [
            await client.post("/v1/messages", json=body, headers=headers)
            for headers in ({}, {"x-api-key": "sk-spillway-00000000-wrong"}, {"authorization": "Bearer nonsense"})
        ]
        elsewhere = await client.post("/chat", json={"query": "x"}, headers={"x-api-key": door.key})

    assert [200] * 4 == [answer.status_code for answer in good]
    assert [(401, "authentication_error")] * 3 == [
        (answer.status_code, answer.json()["error"]["type"]) for answer in bad
    ]
    assert 401 == elsewhere.status_code


def scripted(*events: Json) -> list[Any]:
    """Write the prompt that makes the provider send these events."""
    return [{"role": "user", "content": orjson.dumps(events).decode()}]


def message_of(stop: Json, *blocks: tuple[Json, list[Json]]) -> list[Json]:
    """Write the events of an Anthropic message: its blocks, each with the deltas that fill it, and its end."""
    events: list[Json] = [
        {"type": "message_start", "message": {"model": "m-1", "usage": {"input_tokens": 5, "output_tokens": 1}}}
    ]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]


EMPTY_TEXT: Json = {"type": "text", "text": ""}
EMPTY_THOUGHT: Json = {"type": "thinking", "thinking": "", "signature": ""}
CITATION = {
    "type": "char_location", "cited_text": "It is so.", "document_index": 0,
    "document_title": None, "start_char_index": 0, "end_char_index": 9, "file_id": None,
}  # fmt: skip
NOT_FETCHED = {"type": "web_fetch_tool_result_error", "error_code": "url_not_accessible"}
ANSWERS: dict[str, tuple[list[Json], list[Json], Json]] = {
    "thoughts with their signature": (
        message_of(
            {"stop_reason": "end_turn", "stop_sequence": None},
            (
                EMPTY_THOUGHT,
                [
                    {"type": "thinking_delta", "thinking": "Hm"},
                    {"type": "thinking_delta", "thinking": "."},
                    {"type": "signature_delta", "signature": "c2ln"},
                ],
            ),
            ({"type": "redacted_thinking", "data": "b3BhcXVl"}, []),
            (EMPTY_TEXT, [{"type": "text_delta", "text": "Yes"}, {"type": "text_delta", "text": "."}]),
        ),
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "b3BhcXVl"},
            {"type": "text", "text": "Yes."},
        ],
        {"stop_reason": "end_turn", "stop_sequence": None},
    ),
    "thoughts that are kept back": (
        message_of(
            {"stop_reason": "end_turn", "stop_sequence": None},
            (EMPTY_THOUGHT, [{"type": "signature_delta", "signature": "c2ln"}]),
            (EMPTY_TEXT, [{"type": "text_delta", "text": "Yes."}]),
        ),
        [{"type": "thinking", "thinking": "", "signature": "c2ln"}, {"type": "text", "text": "Yes."}],
        {"stop_reason": "end_turn", "stop_sequence": None},
    ),
    "a stop sequence": (
        message_of(
            {"stop_reason": "stop_sequence", "stop_sequence": "END"},
            (EMPTY_TEXT, [{"type": "text_delta", "text": "Yes."}]),
        ),
        [{"type": "text", "text": "Yes."}],
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
    ),
    "no more room": (
        message_of(
            {"stop_reason": "model_context_window_exceeded", "stop_sequence": None},
            (EMPTY_TEXT, [{"type": "text_delta", "text": "Yes."}]),
        ),
        [{"type": "text", "text": "Yes."}],
        {"stop_reason": "model_context_window_exceeded", "stop_sequence": None},
    ),
    "nothing at all": (
        message_of({"stop_reason": "end_turn", "stop_sequence": None}),
        [],
        {"stop_reason": "end_turn", "stop_sequence": None},
    ),
    "words, calls and words": (
        message_of(
            {"stop_reason": "tool_use", "stop_sequence": None},
            (EMPTY_TEXT, [{"type": "text_delta", "text": "Look: "}]),
            ({"type": "tool_use", "id": "t1", "name": "look", "input": {}}, []),
            (
                {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
                [
                    {"type": "input_json_delta", "partial_json": '{"a"'},
                    {"type": "input_json_delta", "partial_json": ":1}"},
                ],
            ),
            (EMPTY_TEXT, [{"type": "text_delta", "text": "there."}]),
        ),
        [
            {"type": "text", "text": "Look: "},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {"a": 1}},
            {"type": "text", "text": "there."},
        ],
        {"stop_reason": "tool_use", "stop_sequence": None},
    ),
    "texts apart for their sources": (
        message_of(
            {"stop_reason": "end_turn", "stop_sequence": None},
            (EMPTY_TEXT, [{"type": "text_delta", "text": "One. "}]),
            (EMPTY_TEXT, [{"type": "citations_delta", "citation": CITATION}, {"type": "text_delta", "text": "Two."}]),
        ),
        [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two.", "citations": [CITATION]}],
        {"stop_reason": "end_turn", "stop_sequence": None},
    ),
    "a tool of Anthropic's own": (
        message_of(
            {"stop_reason": "pause_turn", "stop_sequence": None},
            (
                {"type": "server_tool_use", "id": "s1", "name": "web_fetch", "input": {}},
                [{"type": "input_json_delta", "partial_json": '{"url":"https://a.test"}'}],
            ),
            ({"type": "web_fetch_tool_result", "tool_use_id": "s1", "content": NOT_FETCHED}, []),
        ),
        [
            {"type": "server_tool_use", "id": "s1", "name": "web_fetch", "input": {"url": "https://a.test"}},
            {"type": "web_fetch_tool_result", "tool_use_id": "s1", "content": NOT_FETCHED},
        ],
        {"stop_reason": "pause_turn", "stop_sequence": None},
    ),
}


@pytest.mark.parametrize(("events", "content", "stop"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_of_anthropics_arrives_as_it_was_sent(
    door: Door, client: anthropic.AsyncAnthropic, events: list[Json], content: list[Json], stop: Json
) -> None:
    """Blocks, their order, signatures, sources, the reason of the end: whole, streamed and from the cache."""
    request = asked(model="script-claude", messages=scripted(*events))
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    async with door.stream("/v1/messages", {**request, "stream": True}) as response:
        raw = [event.data async for event in read_events(response)]
    whole = (await door.post("/v1/messages", orjson.dumps(request), {"cache-control": "no-store"})).json()

    assert "edge; hit" == response.headers["cache-status"]
    assert content == whole["content"]
    assert content == [
        {name: value for name, value in block.to_dict().items() if value is not None or name == "signature"}
        for block in streamed.content
    ]
    assert stop == {name: whole[name] for name in stop} == raw[-2]["delta"]
    assert stop["stop_reason"] == streamed.stop_reason
    starts = [event["index"] for event in raw if event["type"] == "content_block_start"]
    stops = [event["index"] for event in raw if event["type"] == "content_block_stop"]
    assert [*range(len(content))] == starts == stops
    assert (5, 9) == (whole["usage"]["input_tokens"], whole["usage"]["output_tokens"])


def chunk(delta: Json, reason: str | None = None) -> Json:
    """Write a chunk of OpenAI's."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [choice]}


def fragment(index: int, arguments: str, name: str | None = None) -> Json:
    """Write a piece of a tool call of OpenAI's; the first one names it."""
    identity = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"tool_calls": [{"index": index, **identity, "function": function}]}


OPENAI_ANSWERS: dict[str, tuple[list[Json], list[Json], str]] = {
    "calls whose pieces are mixed": (
        [
            chunk({"content": "Look: "}),
            chunk(fragment(0, "", "look")),
            chunk(fragment(1, '{"b"', "listen")),
            chunk(fragment(0, '{"a":')),
            chunk(fragment(1, ":2}")),
            chunk(fragment(0, "1}")),
            chunk({}, "tool_calls"),
        ],
        [
            {"type": "text", "text": "Look: "},
            {"type": "tool_use", "id": "call_0", "name": "look", "input": {"a": 1}},
            {"type": "tool_use", "id": "call_1", "name": "listen", "input": {"b": 2}},
        ],
        "tool_use",
    ),
    "reasoning": (
        [
            chunk({"reasoning_content": "Hm"}),
            chunk({"reasoning_content": "."}),
            chunk({"content": "Yes."}),
            chunk({}, "stop"),
        ],
        [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "Yes."}],
        "end_turn",
    ),
    "a refusal": (
        [chunk({"refusal": "I will "}), chunk({"refusal": "not."}), chunk({}, "stop")],
        [{"type": "text", "text": "I will not."}],
        "refusal",
    ),
    "filtered": (
        [chunk({"content": "Well"}), chunk({}, "content_filter")],
        [{"type": "text", "text": "Well"}],
        "refusal",
    ),
    "cut short": ([chunk({"content": "Well"}), chunk({}, "length")], [{"type": "text", "text": "Well"}], "max_tokens"),
}


@pytest.mark.parametrize(("chunks", "content", "reason"), OPENAI_ANSWERS.values(), ids=OPENAI_ANSWERS.keys())
async def test_an_answer_of_openais_becomes_blocks_one_after_the_other(
    door: Door, client: anthropic.AsyncAnthropic, chunks: list[Json], content: list[Json], reason: str
) -> None:
    """Pieces that come mixed are sorted; what was reasoned is a thought without a signature."""
    usage: Json = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}}
    prompt = [{"role": "user", "content": orjson.dumps([*chunks, chunk({}) | usage, "[DONE]"]).decode()}]
    request = asked(model="script-openai", messages=prompt)
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    whole = (await door.post("/v1/messages", orjson.dumps(request))).json()

    assert (content, reason) == (whole["content"], whole["stop_reason"])
    assert content == [
        {name: value for name, value in block.to_dict().items() if value is not None} for block in streamed.content
    ]
    assert (reason, 5, 9) == (streamed.stop_reason, streamed.usage.input_tokens, streamed.usage.output_tokens)


async def test_a_thought_that_nobody_signed_is_not_sent_to_anthropic(
    client: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Another engine's reasoning, sent back by the client, would be refused there."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    answer = {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}]}
    request = asked(messages=[*HELLO, answer, *HELLO])
    await client.messages.create(model="echo-claude", **request, extra_headers=UNCACHED)

    body = await last_body(provider, "echo-claude")
    assert [{"type": "text", "text": "Yes."}] == body["messages"][1]["content"]


async def test_the_small_model_answers_in_anthropics_contract(client: anthropic.AsyncAnthropic) -> None:
    """Blocks, a system prompt and many turns reach an engine on the OpenAI wire in words that it takes."""
    message = await client.messages.create(
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
