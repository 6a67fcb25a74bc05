"""Requests that clients send as a matter of course, to a target of the other vendor: answered, and what it was not told
is in the receipt.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from kit.front_door.anthropic_requests import Json, last_body
from kit.front_door.edge_client import EdgeClient, Provider

PIXEL = "iVBORw0KGgo="
MARK: Json = {"cache_control": {"type": "ephemeral"}}
SCHEMA: Json = {"type": "object", "properties": {}}
LOOK: Json = {"type": "function", "function": {"name": "lookup", "parameters": SCHEMA}}


@pytest.fixture(name="client")
async def _client(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0) as client:
        yield client


def said(content: object = "hi", role: str = "user", **more: object) -> Json:
    """Write a message or a turn."""
    return {"role": role, "content": content, **more}


def called(call_id: str) -> Json:
    """Write a call of `lookup` in OpenAI's contract."""
    return {"id": call_id, "type": "function", "function": {"name": "lookup", "arguments": "{}"}}


def result(content: object) -> list[Json]:
    """Write a call and its result in Anthropic's contract."""
    use = {"type": "tool_use", "id": "t1", "name": "shot", "input": {}}
    back = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    return [said("see"), said([use], "assistant"), said([back])]


def as_format(**more: object) -> Json:
    """Write a format of OpenAI's contract."""
    return {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA, **more}}


# OpenAI's contract, at Anthropic: what is asked, and what is left out.
COMPLETIONS: dict[str, tuple[Json, list[str]]] = {
    "a name on a message": ({"messages": [said(name="bob")]}, ["messages.0.name"]),
    "ids on messages": ({"messages": [said(id="m1")]}, ["messages.0.id"]),
    "a mark on the system prompt": ({"messages": [said("x", "system", **MARK), said()]}, []),
    "a mark on a part": ({"messages": [said([{"type": "text", "text": "long", **MARK}])]}, []),
    "a mark on the body": ({"messages": [said()], **MARK}, []),
    "a described format": ({"messages": [said()], "response_format": as_format(description="d")}, []),
    "any JSON": ({"messages": [said()], "response_format": {"type": "json_object"}}, ["response_format"]),
    "sampling": (
        {"messages": [said()], "seed": 1, "presence_penalty": 0.5, "temperature": 1.7},
        ["seed", "presence_penalty", "temperature"],
    ),
    "metadata": ({"messages": [said()], "metadata": {"a": "b"}, "store": True}, ["metadata", "store"]),
    "little reasoning": ({"messages": [said()], "reasoning_effort": "minimal"}, ["reasoning_effort"]),
    "an id of another form": (
        {
            "messages": [
                said("go"),
                said(None, "assistant", tool_calls=[called("functions.lookup:0")]),
                said("42", "tool", tool_call_id="functions.lookup:0"),
            ],
            "tools": [LOOK],
        },
        [],
    ),
    "a PDF": (
        {
            "messages": [
                said(
                    [
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                        }
                    ]
                )
            ]
        },
        [],
    ),
    "a field of next year": ({"messages": [said()], "of_next_year": {}}, ["of_next_year"]),
}
# Anthropic's contract, at OpenAI.
MESSAGES: dict[str, tuple[Json, list[str]]] = {
    "manual thinking": (
        {"messages": [said()], "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        ["thinking"],
    ),
    "what coding agents send": (
        {
            "messages": [said([{"type": "text", "text": "hi", **MARK}])],
            "system": [{"type": "text", "text": "Be brief.", **MARK}],
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "medium"},
            "metadata": {"user_id": orjson.dumps({"device": "d" * 64}).decode()},
            "tools": [{"name": "look", "input_schema": SCHEMA, "defer_loading": True, "strict": True}],
        },
        [
            *("thinking", "context_management", "system.0.cache_control", "messages.0.content.0.cache_control"),
            *("tools.0.strict", "tools.0.defer_loading", "metadata.user_id"),
        ],
    ),
    "a thought that is sent back": (
        {
            "messages": [
                said(),
                said([{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}], "assistant"),
                said(),
            ]
        },
        ["messages.1.content.0"],
    ),
    "a picture as a result": (
        {
            "messages": result(
                [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]
            )
        },
        [],
    ),
    "a document": (
        {
            "messages": [
                said(
                    [
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "It is so."},
                            "citations": {"enabled": True},
                        }
                    ]
                )
            ]
        },
        ["messages.0.content.0.citations"],
    ),
    "a PDF": (
        {
            "messages": [
                said(
                    [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                        }
                    ]
                )
            ]
        },
        [],
    ),
    "a field of next year": ({"messages": [said()], "of_next_year": {"a": 1}}, ["of_next_year"]),
}
REQUESTS = [
    *(("/v1/chat/completions", "claude", body, dropped) for body, dropped in COMPLETIONS.values()),
    *(("/v1/messages", "openai", {"max_tokens": 100, **body}, dropped) for body, dropped in MESSAGES.values()),
]


@pytest.mark.parametrize(
    ("path", "vendor", "body", "dropped"),
    REQUESTS,
    ids=[*(f"chat: {name}" for name in COMPLETIONS), *(f"messages: {name}" for name in MESSAGES)],
)
async def test_an_ordinary_request_is_answered_by_the_other_vendor(
    edge: EdgeClient, path: str, vendor: str, body: Json, dropped: list[str]
) -> None:
    """With 200, and its receipt names what the target was not told, as the ledger has recorded it."""
    sent = orjson.dumps({"model": f"echo-{vendor}", **body})
    answer = await edge.post(path, sent, {"cache-control": "no-store"})

    assert 200 == answer.status_code, answer.text
    receipt = await edge.receipt(answer.headers["x-request-id"])
    assert dropped == receipt["attempts"][0]["dropped"]


@pytest.mark.parametrize(
    ("path", "route", "body"),
    [
        ("/v1/chat/completions", "openai-down", {"messages": [said(name="bob")], "seed": 1}),
        ("/v1/messages", "claude-down", {"messages": [said()], "max_tokens": 9, "context_management": {}}),
    ],
)
async def test_the_other_vendor_answers_where_the_first_is_away(
    edge: EdgeClient, path: str, route: str, body: Json
) -> None:
    """Only the attempt that answered has left something out."""
    answer = await edge.post(path, orjson.dumps({"model": route, **body}), {"cache-control": "no-store"})

    assert 200 == answer.status_code, answer.text
    receipt = await edge.receipt(answer.headers["x-request-id"])
    assert {"ok": True} == {each["outcome"]: True for each in receipt["attempts"] if each["dropped"]}


async def test_chat_tells_what_was_left_out(edge: EdgeClient) -> None:
    """In the receipt that its answers end with."""
    answer = await edge.post(
        "/chat",
        orjson.dumps({"query": f"hi {uuid.uuid4()}", "model": "echo-claude", "temperature": 1.5, "stream": False}),
    )

    assert [["temperature"]] == [attempt["dropped"] for attempt in answer.json()["attempts"]]


async def test_a_custom_tool_is_called_by_anthropic(client: openai.AsyncOpenAI, provider: Provider) -> None:
    """Its input is a text in both directions, and its caller sees a custom call."""
    events = [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t1", "name": "patch", "input": {}},
        },
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in ('{"input": "*** Be', 'gin"}')
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    request: Any = {
        "messages": [said(orjson.dumps(events).decode())],
        "tools": [{"type": "custom", "custom": {"name": "patch"}}],
    }
    answer = await client.chat.completions.create(model="script-claude", **request)

    called: Any = answer.choices[0].message.tool_calls
    assert [("custom", "t1", "*** Begin")] == [(call.type, call.id, call.custom.input) for call in called]
    assert "tool_calls" == answer.choices[0].finish_reason
    assert ["patch"] == [tool["name"] for tool in (await last_body(provider, "script-claude"))["tools"]]


async def test_sdks_that_keep_threads_send_the_whole_conversation_here(
    claude: anthropic.AsyncAnthropic, provider: Provider
) -> None:
    """Anthropic's runner of tools begins a thread, is refused, and goes on without one."""

    @anthropic.beta_async_tool
    async def lookup() -> str:
        """Look it up."""
        return "42"

    question: Any = said(f"hello {uuid.uuid4()}")
    runner = claude.beta.messages.tool_runner(model="echo-claude", max_tokens=50, messages=[question], tools=[lookup])
    message = await runner.until_done()

    assert message.content
    assert "thread" not in await last_body(provider, "echo-claude")


@pytest.mark.parametrize(("sent", "arrives"), [("2026-10-21", "2026-10-21"), (None, "2023-06-01")])
async def test_anthropics_version_is_the_clients(
    edge: EdgeClient, provider: Provider, sent: str | None, arrives: str
) -> None:
    """Where it names one; else it is one that takes a temperature."""
    headers = {"cache-control": "no-store", **({"anthropic-version": sent} if sent else {})}
    body = {"model": "echo-claude", "max_tokens": 5, "messages": [said()], "temperature": 0.5}
    answer = await edge.post("/v1/messages", orjson.dumps(body), headers)

    assert 200 == answer.status_code
    assert arrives == (await provider.attempts("echo-claude"))[-1]["anthropic_version"]
