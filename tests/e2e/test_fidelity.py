"""Through the front door and back: requests and answers arrive as they were sent."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import openai
import orjson
import pytest

from kit.front_door.edge_client import EdgeClient, Provider

Json = dict[str, Any]

TOOL: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
SCHEMA: Json = {
    "name": "thing",
    "strict": True,
    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
OWN = ("model", "stream", "stream_options")


@pytest.fixture(name="client")
async def _client(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    # Nothing from the cache: every request has to arrive.
    headers = {"cache-control": "no-store"}
    async with openai.AsyncOpenAI(
        api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0, default_headers=headers
    ) as client:
        yield client


def question(content: object = "hello") -> Json:
    """Write a turn of the user."""
    return {"role": "user", "content": content}


async def asked(provider: Provider, test: str) -> Json:
    """Return the last body that the provider got, without the fields that the router sets for each target."""
    body: Json = (await provider.attempts(test))[-1]["body"]
    return {name: value for name, value in body.items() if name not in OWN}


REQUESTS: dict[str, Json] = {
    "many turns": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "hello", "name": "ada"},
            {"role": "assistant", "content": None, "refusal": "No."},
            question(),
        ]
    },
    "tools": {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    "one tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    "a tool of another kind": {"tools": [{"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}]},
    "calls and results": {
        "messages": [
            question(),
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "red"}]},
        ],
        "tools": [TOOL],
    },
    "the calls of before there were tools": {
        "messages": [
            question(),
            {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}},
            {"role": "function", "name": "look", "content": "red"},
        ],
        "functions": [{"name": "look", "parameters": {"type": "object"}}],
        "function_call": "auto",
    },
    "images": {
        "messages": [
            question(
                [
                    {"type": "text", "text": "Which?"},
                    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}},
                ]
            )
        ]
    },
    "sound and files": {
        "messages": [
            question(
                [
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                ]
            )
        ]
    },
    "JSON mode": {"response_format": {"type": "json_object"}},
    "a schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "stop": {"stop": "END"},
    "stops": {"stop": ["END", "STOP"]},
    "sampling": {"temperature": 0, "top_p": 0.1, "seed": 0, "presence_penalty": -1.5, "frequency_penalty": 0.25},
    "probabilities": {"logprobs": True, "top_logprobs": 3, "logit_bias": {"50256": -100}, "n": 2},
    "reasoning": {"reasoning_effort": "minimal", "max_completion_tokens": 50, "verbosity": "low"},
    "an old limit": {"max_tokens": 50},
    "a user": {"user": "u", "safety_identifier": "s", "metadata": {"a": "b"}, "store": True},
    "price and place": {"service_tier": "flex", "prompt_cache_key": "k", "prompt_cache_retention": "24h"},
    "prediction": {"prediction": {"type": "content", "content": "hello"}},
    "sound back": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}},
    "fields of next year": {"extra_body": {"a_field": {"deep": [1, 2.5, "x", None, True]}, "another": 0, "third": ""}},
    "an engine's own": {"extra_body": {"top_k": 5, "guided_regex": "a|b", "chat_template_kwargs": {"think": False}}},
    "a part of next year": {"messages": [question([{"type": "dream", "of": {"sheep": 2}}])]},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
async def test_an_openai_request_arrives_at_openai_as_it_was_sent(
    client: openai.AsyncOpenAI, provider: Provider, fields: Json, stream: bool
) -> None:
    """Nothing is lost, added or rewritten on the way."""
    request = {"messages": [question(f"hello {uuid.uuid4()}")], **fields}
    answer: Any = await client.chat.completions.create(model="echo-openai", stream=stream, **request)
    if stream:
        assert [chunk async for chunk in answer]

    extra = request.pop("extra_body", {})
    assert {**request, **extra} == await asked(provider, "echo-openai")


def chunk(*choices: Json, **more: object) -> Json:
    """Write a chunk of a provider."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return {**head, "choices": list(choices), **more}


def choice(delta: Json, index: int = 0, reason: str | None = None, logprobs: object = None, **more: object) -> Json:
    """Write what a chunk adds to one choice."""
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason, **more}


def fragment(index: int, arguments: str, name: str | None = None) -> Json:
    """Write a piece of a tool call; the first one names it."""
    if name is None:
        return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}


def token(text: str) -> Json:
    """Write the probability of a token."""
    likely = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    return {**likely, "top_logprobs": [likely]}


ROLE = choice({"role": "assistant", "content": "", "refusal": None})
STOP = choice({}, reason="stop")
USAGE: Json = {
    "prompt_tokens": 50,
    "completion_tokens": 20,
    "total_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
# What the provider sends, and the message that it is when it is put together.
ANSWERS: dict[str, tuple[list[Json], list[Json]]] = {
    "text": (
        [chunk(ROLE), chunk(choice({"content": "Yes"})), chunk(choice({"content": "."})), chunk(STOP)],
        [{"role": "assistant", "content": "Yes.", "refusal": None}],
    ),
    "two calls whose pieces are mixed": (
        [
            chunk(choice({"role": "assistant", "content": None})),
            chunk(choice(fragment(0, "", "look"))),
            chunk(choice(fragment(1, "", "hear"))),
            chunk(choice(fragment(0, '{"a"'))),
            chunk(choice(fragment(1, '{"b":2'))),
            chunk(choice(fragment(0, ":1}"))),
            chunk(choice(fragment(1, "}"))),
            chunk(choice({}, reason="tool_calls")),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
                    {"id": "call_1", "type": "function", "function": {"name": "hear", "arguments": '{"b":2}'}},
                ],
            }
        ],
    ),
    "two calls in one chunk": (
        [
            chunk(
                choice(
                    {"tool_calls": fragment(0, "{}", "look")["tool_calls"] + fragment(1, "{}", "hear")["tool_calls"]}
                )
            ),
            chunk(choice({}, reason="tool_calls")),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                    {"id": "call_1", "type": "function", "function": {"name": "hear", "arguments": "{}"}},
                ],
            }
        ],
    ),
    "a call of before there were tools": (
        [
            chunk(choice({"function_call": {"name": "look", "arguments": ""}})),
            chunk(choice({"function_call": {"arguments": "{}"}})),
            chunk(choice({}, reason="function_call")),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "function_call": {"name": "look", "arguments": "{}"},
            }
        ],
    ),
    "a refusal": (
        [chunk(ROLE), chunk(choice({"refusal": "I will "})), chunk(choice({"refusal": "not."})), chunk(STOP)],
        [{"role": "assistant", "content": None, "refusal": "I will not."}],
    ),
    "probabilities": (
        [
            chunk(choice({"content": "Yes"}, logprobs={"content": [token("Yes")], "refusal": None})),
            chunk(choice({"content": "."}, logprobs={"content": [token(".")], "refusal": None})),
            chunk(STOP),
        ],
        [{"role": "assistant", "content": "Yes.", "refusal": None}],
    ),
    "several choices, mixed": (
        [
            chunk(choice({"content": "A"}), choice({"content": "B"}, 1)),
            chunk(choice({"content": "b"}, 1)),
            chunk(choice({"content": "a"})),
            chunk(choice({}, 1, "length")),
            chunk(STOP),
        ],
        [
            {"role": "assistant", "content": "Aa", "refusal": None},
            {"role": "assistant", "content": "Bb", "refusal": None},
        ],
    ),
    "reasoning": (
        [
            chunk(choice({"reasoning_content": "Hm"})),
            chunk(choice({"reasoning_content": "."})),
            chunk(choice({"content": "Yes."})),
            chunk(STOP),
        ],
        [{"role": "assistant", "content": "Yes.", "refusal": None, "reasoning_content": "Hm."}],
    ),
    "sound": (
        [
            chunk(choice({"audio": {"id": "a", "transcript": "Ye"}})),
            chunk(choice({"audio": {"data": "AAAA"}})),
            chunk(choice({"audio": {"data": "BBBB", "transcript": "s."}})),
            chunk(choice({"audio": {"expires_at": 5}})),
            chunk(STOP),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "audio": {"id": "a", "transcript": "Yes.", "data": "AAAABBBB", "expires_at": 5},
            }
        ],
    ),
    "fields of next year": (
        [
            chunk(choice({"content": "Yes", "mood": "good"})),
            chunk(choice({"content": "."}, token_ids=[5, 6])),
            chunk(STOP),
        ],
        [{"role": "assistant", "content": "Yes.", "refusal": None, "mood": "good"}],
    ),
    "cut by a filter": (
        [chunk(choice({"content": "Well"})), chunk(choice({}, reason="content_filter"))],
        [{"role": "assistant", "content": "Well", "refusal": None}],
    ),
}


def content_of(chunks: Sequence[Json]) -> list[Json]:
    """Return the choices that add something, in order; the ends of choices are compared by themselves."""
    return [
        {**one, "finish_reason": None}
        for chunk in chunks
        for one in chunk["choices"]
        if any(value for name, value in one["delta"].items() if name != "role")
    ]


def ends(chunks: Sequence[Json]) -> dict[int, str]:
    """Return why each choice ended."""
    return {one["index"]: one["finish_reason"] for chunk in chunks for one in chunk["choices"] if one["finish_reason"]}


@pytest.mark.parametrize(("sent", "messages"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_openai_answer_arrives_as_it_was_sent(
    client: openai.AsyncOpenAI, sent: list[Json], messages: list[Json]
) -> None:
    """Chunk by chunk in a stream, put together otherwise; reasons and usage as the provider reported them."""
    sent = [{**one, "system_fingerprint": "fp_1"} for one in sent]
    script = orjson.dumps([*sent, chunk(usage=USAGE), "[DONE]"]).decode()
    request: Any = {"model": "script-openai", "messages": [question(script)], "n": len(messages)}
    stream = await client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    chunks = [one.model_dump(exclude_unset=True) async for one in stream]
    whole = (await client.chat.completions.create(**request)).model_dump(exclude_unset=True)

    assert content_of(sent) == content_of(chunks)
    assert ends(sent) == ends(chunks)
    assert USAGE == chunks[-1]["usage"] == whole["usage"]
    assert "fp_1" == chunks[-1]["system_fingerprint"] == whole["system_fingerprint"]
    assert messages == [one["message"] for one in whole["choices"]]
    assert ends(sent) == {one["index"]: one["finish_reason"] for one in whole["choices"]}


async def test_further_fields_of_the_last_chunk_are_passed_on(client: openai.AsyncOpenAI) -> None:
    """What an engine reports besides the finish reason is not lost."""
    sent = [chunk(choice({"content": "Yes"})), chunk(choice({}, reason="stop", stop_reason="END"))]
    script = orjson.dumps([*sent, "[DONE]"]).decode()
    request: Any = {"model": "script-openai", "messages": [question(script)]}
    stream = await client.chat.completions.create(**request, stream=True)
    chunks = [one.model_dump(exclude_unset=True) async for one in stream]

    assert ["END"] == [one["stop_reason"] for each in chunks for one in each["choices"] if "stop_reason" in one]
    assert {0: "stop"} == ends(chunks)


async def test_an_openai_request_is_translated_for_anthropic(client: openai.AsyncOpenAI, provider: Provider) -> None:
    """Every field that has a counterpart."""
    request: Any = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            question([{"type": "text", "text": "Which?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]),
            {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "red"},
            question(),
        ],
        "max_completion_tokens": 50,
        "stop": "END",
        "temperature": 0.5,
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
        "user": "u",
    }
    await client.chat.completions.create(model="echo-claude", **request)

    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    use = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "it"}}
    assert {
        "system": "Be brief.",
        "messages": [
            question([{"type": "text", "text": "Which?"}, {"type": "image", "source": image}]),
            {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, use]},
            question(
                [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "red"},
                    {"type": "text", "text": question()["content"]},
                ]
            ),
        ],
        "max_tokens": 50,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA["schema"]}},
        "metadata": {"user_id": "u"},
    } == await asked(provider, "echo-claude")


UNTRANSLATABLE: dict[str, Json] = {
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "stop": {"stop": "\n"},
    "messages.0.content.1": {
        "messages": [question([{"type": "text", "text": "x"}, {"type": "file", "file": {"file_id": "f"}}])]
    },
    "messages.1.content.0": {
        "messages": [
            question(),
            question([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]),
        ]
    },
    "tools.1": {"tools": [TOOL, {"type": "dream"}]},
}


@pytest.mark.parametrize(("field", "fields"), UNTRANSLATABLE.items(), ids=UNTRANSLATABLE.keys())
async def test_untranslatable_fields_are_named_or_sent_to_another_target(
    client: openai.AsyncOpenAI, provider: Provider, field: str, fields: Json
) -> None:
    """The chain goes on to a target that can; when there is none, a 400 names the field by its place."""
    request: Any = {"messages": [question(f"hello {uuid.uuid4()}")], **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="echo-claude", **request)
    answer = await client.chat.completions.create(model="claude-then-openai", **request)

    assert ("unsupported_parameter", field) == (caught.value.code, caught.value.param)
    assert answer.choices[0].message.content
    extra = request.pop("extra_body", {})
    assert {**request, **extra} == await asked(provider, "cto-openai")


# Attempts to pass off a body of this contract as one of Anthropic's, and the content that is refused; None: nothing is.
FORGED: dict[str, tuple[Json, str | None]] = {
    "a model and a limit": (
        {"anthropic": {"fields": {"model": "ok?test=forged", "max_tokens": 99_999}, "unsaid": []}},
        None,
    ),
    "tools billed by use": (
        {"anthropic": {"fields": {"tools": [{"type": "web_search_20250305", "name": "w"}]}, "unsaid": [], "beta": "b"}},
        None,
    ),
    "fields of Anthropic's": ({"mcp_servers": [{"type": "url"}], "container": "c", "fallbacks": "default"}, None),
    "no fields": ({"anthropic": {}}, None),
    "a number": ({"anthropic": 5}, None),
    "a native form": ({"messages_form": {"body": "{}", "untranslatable": []}}, None),
    "a key on a message": (
        {"messages": [{**question(), "anthropic": {"turn": {"cache_control": {"type": "ephemeral"}}}}]},
        None,
    ),
    "a part": (
        {"messages": [question([{"type": "anthropic", "block": {"type": "container_upload", "file_id": "f"}}])]},
        "messages.0.content.0",
    ),
    "a tool": (
        {"tools": [{"type": "anthropic", "tool": {"type": "web_search_20250305", "name": "web_search"}}]},
        "tools.0",
    ),
}


@pytest.mark.parametrize(("forged", "content"), FORGED.values(), ids=FORGED.keys())
async def test_a_body_of_openais_contract_chooses_no_model_limit_or_tool_of_anthropics(
    edge: EdgeClient, provider: Provider, forged: Json, content: str | None
) -> None:
    """Unknown fields are left out, unknown content is refused; to OpenAI both are passed on like any other."""
    words = f"hello {uuid.uuid4()}"
    body = {"messages": [question(words)], **forged}
    before = len(await provider.attempts("echo-claude"))
    answered = await edge.post("/v1/chat/completions", orjson.dumps({"model": "echo-claude", **body}))
    passed = await edge.post("/v1/chat/completions", orjson.dumps({"model": "echo-openai", **body}))

    if content is None:
        assert 200 == answered.status_code
        assert {"messages", "max_tokens"} == (await asked(provider, "echo-claude")).keys()
    else:
        error = answered.json()["error"]
        assert (400, "unsupported_parameter", content) == (answered.status_code, error["code"], error["param"])
        assert before == len(await provider.attempts("echo-claude"))
    assert (200, body) == (passed.status_code, await asked(provider, "echo-openai"))
    assert [] == await provider.attempts("forged")


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/chat/completions", "echo-claude", {"messages": [question([{"type": "x" * 300_000}])], "n": 2}),
        ("/v1/messages", "echo-openai", {"messages": [question([{"type": "x" * 300_000}])], "max_tokens": 5}),
    ],
)
async def test_content_of_an_endless_kind_is_refused_like_any_other(
    edge: EdgeClient, path: str, model: str, body: Json
) -> None:
    """An error longer than gRPC allows would be lost, and other calls with it."""
    answer = await edge.post(path, orjson.dumps({"model": model, **body}))

    assert 400 == answer.status_code
    assert "unsupported_parameter" in answer.text
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("path", "model", "place"),
    [
        ("/v1/chat/completions", "echo-claude", {}),
        ("/v1/messages", "echo-openai", {"max_tokens": 5}),
        ("/v1/messages", "echo-openai", {"max_tokens": 5, "output_config": {"y" * 300_000: 1}}),
    ],
)
async def test_a_field_with_an_endless_name_is_left_out_like_any_other(
    edge: EdgeClient, path: str, model: str, place: Json
) -> None:
    """The receipt has the beginning of its name."""
    body = {"model": model, "messages": [question(f"hello {uuid.uuid4()}")], "x" * 300_000: 1, **place}
    answer = await edge.post(path, orjson.dumps(body))

    assert 200 == answer.status_code
    receipt = await edge.receipt(answer.headers["x-request-id"])
    assert "x" * 100 in receipt["attempts"][0]["dropped"]
