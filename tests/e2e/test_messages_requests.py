"""Requests in Anthropic's contract: what a target on either wire receives."""

from __future__ import annotations

import anthropic
import orjson
import pytest

from fault_provider.answers import TOOL_NAME
from kit.front_door.anthropic_requests import HELLO, TALK, UNCACHED, WEATHER, Json, asked, last_body
from kit.front_door.edge_client import EdgeClient, Provider

CACHED = {"cache_control": {"type": "ephemeral"}}
PIXEL = "iVBORw0KGgo="
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
    "tools of Anthropic's": {
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
    "text after a call": {
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
    "a user id": {"metadata": {"user_id": "u-1"}},
    "no user id": {"metadata": {"user_id": None}},
    "what only changes the price": {
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "service_tier": "standard_only",
    },
    "a field of next year": {"a_field_of_next_year": {"deep": [1, 2.5, "x", None]}},
    "a block of next year": {"messages": [{"role": "user", "content": [{"type": "dream", "of": "sheep"}]}]},
}


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
async def test_an_anthropic_request_arrives_at_anthropic_as_it_was_sent(
    edge: EdgeClient, provider: Provider, fields: Json
) -> None:
    """Nothing is lost, added or moved."""
    body = asked(**fields)
    answer = await edge.post(
        "/v1/messages", orjson.dumps({"model": "echo-claude", **body}), {"cache-control": "no-store"}
    )

    assert 200 == answer.status_code, answer.text
    assert body == await last_body(provider, "echo-claude")


async def test_a_beta_that_the_client_asks_for_is_asked_of_anthropic(
    claude: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Without the header Anthropic would refuse the fields that belong to it; other vendors do not get it."""
    beta = {"anthropic-beta": "context-management-2025-06-27,more-2026-01-01"}
    for model in ("echo-claude", "echo-openai"):
        await claude.messages.create(model=model, **asked(), extra_headers=beta)
    names = [(await provider.attempts(model))[-1]["header_names"] for model in ("echo-claude", "echo-openai")]

    assert [True, False] == ["anthropic-beta" in seen for seen in names]
    await claude.messages.create(model="echo-claude", **asked())
    assert "anthropic-beta" not in (await provider.attempts("echo-claude"))[-1]["header_names"]


async def test_an_anthropic_request_is_translated_for_openai(
    claude: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Fields with a counterpart are mapped, those that only change the price left out; a failed tool gets a text."""
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
    await claude.messages.create(model="echo-openai", **request, extra_headers=UNCACHED)

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
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": False},
        },
        "user": "u-1",
    } == await last_body(provider, "echo-openai")


UNTRANSLATABLE: dict[str, Json] = {
    "top_k": {"top_k": 5},
    "inference_geo": {"inference_geo": "us"},
    "output_config.format": {"output_config": {"format": {"type": "regex"}}},
    "messages.0.content.1": REQUESTS["images"]
    | {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "dream"}]}]},
    "messages.0.content.2": REQUESTS["images"],
    "messages.0.content.0": {
        "messages": [
            {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}
        ]
    },
    "tools.0": REQUESTS["tools of Anthropic's"],
}


@pytest.mark.parametrize(("field", "fields"), UNTRANSLATABLE.items(), ids=UNTRANSLATABLE.keys())
async def test_untranslatable_fields_are_named_or_sent_to_another_target(
    claude: anthropic.AsyncAnthropic, provider: Provider, field: str, fields: Json
) -> None:
    """The chain goes on to a target that can; when there is none, a 400 names the field as the client wrote it."""
    request = asked(**fields)
    extra = {name: request.pop(name) for name in ("output_config", "top_k") if name in request}
    before = len(await provider.attempts("echo-openai"))
    with pytest.raises(anthropic.BadRequestError) as caught:
        await claude.messages.create(model="echo-openai", **request, extra_body=extra)
    answered = await claude.messages.create(
        model="openai-then-claude", **request, extra_body=extra, extra_headers=UNCACHED
    )

    assert ("unsupported_parameter", "invalid_request_error") == (caught.value.error_code, caught.value.type)
    assert f"{field!r} has no counterpart" in str(caught.value.api_message)
    assert before == len(await provider.attempts("echo-openai"))
    assert "end_turn" == answered.stop_reason
    assert {**request, **extra} == await last_body(provider, "otc-claude")


async def test_an_engine_that_knows_top_k_is_asked_for_it(claude: anthropic.AsyncAnthropic, provider: Provider) -> None:
    """vLLM and similar engines have the field, with the same meaning."""
    await claude.messages.create(model="echo-vllm", **asked(extra_body={"top_k": 5}))

    assert 5 == (await last_body(provider, "echo-vllm"))["top_k"]


async def test_a_long_user_id_does_not_fail_the_request(claude: anthropic.AsyncAnthropic, provider: Provider) -> None:
    """Anthropic allows more characters than OpenAI, and the id does not change the answer."""
    await claude.messages.create(model="echo-openai", **asked(metadata={"user_id": "u" * 65}))

    assert "user" not in await last_body(provider, "echo-openai")


async def test_an_unsigned_thought_is_not_sent_to_anthropic(
    claude: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Anthropic would refuse the reasoning of another engine that the client sends back."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    answer = {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}]}
    request = asked(messages=[*HELLO, answer, *HELLO])
    await claude.messages.create(model="echo-claude", **request, extra_headers=UNCACHED)

    body = await last_body(provider, "echo-claude")
    assert [{"type": "text", "text": "Yes."}] == body["messages"][1]["content"]
