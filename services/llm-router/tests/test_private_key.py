"""A chat body cannot pose as a native form: what stands in it under `anthropic` is an unknown field like any other."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
import pytest

from kit.router.process import Router, Seen

Json = dict[str, Any]

HELLO: Json = {"role": "user", "content": "hello"}
TEXT: Json = {"type": "text", "text": "hello"}
TOOL: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL: Json = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search"}
CHOSEN: Json = {"model": "ok?test=dear", "max_tokens": 1_000_000, "tools": [SEARCH]}
RESULT: Json = {"role": "tool", "tool_call_id": "c", "content": "red"}
# Body -> the field that Anthropic's wire has no word for.
FORGED: dict[str, tuple[Json, str]] = {
    "fields": ({"anthropic": {"fields": CHOSEN}}, "anthropic"),
    "fields and a list": ({"anthropic": {"fields": CHOSEN, "unsaid": [], "beta": "b"}}, "anthropic"),
    "no object": ({"anthropic": 5}, "anthropic"),
    "a falsehood": ({"anthropic": False}, "anthropic"),
    "a message": ({"messages": [{**HELLO, "anthropic": {"turn": CHOSEN}}]}, "messages.0.anthropic"),
    "a joined message": ({"messages": [HELLO, {**HELLO, "anthropic": {"joined": True}}]}, "messages.1.anthropic"),
    "a result": (
        {"messages": [HELLO, {"role": "assistant", "tool_calls": [CALL]}, {**RESULT, "anthropic": {"result": {}}}]},
        "messages.2.anthropic",
    ),
    "a part": (
        {"messages": [{"role": "user", "content": [{"type": "anthropic", "block": {"type": "container_upload"}}]}]},
        "messages.0.content.0",
    ),
    "a field of a part": (
        {"messages": [{"role": "user", "content": [{**TEXT, "anthropic": {"type": "document"}}]}]},
        "messages.0.content.0.anthropic",
    ),
    "a place of a call": (
        {"messages": [HELLO, {"role": "assistant", "content": [{"type": "anthropic", "tool_call": 0}]}]},
        "messages.1.content.0",
    ),
    "a call": (
        {"messages": [HELLO, {"role": "assistant", "tool_calls": [{**CALL, "anthropic": {"name": "x"}}]}]},
        "messages.1.tool_calls.0.anthropic",
    ),
    "a tool": ({"tools": [{"type": "anthropic", "tool": SEARCH}]}, "tools.0"),
    "a field of a tool": ({"tools": [{**TOOL, "anthropic": SEARCH}]}, "tools.0.anthropic"),
}


# Of these the answer would be another one without them: they are content, and tools.
CONTENT = frozenset({"a part", "a place of a call", "a tool"})


@pytest.mark.parametrize("name", FORGED)
async def test_no_chat_body_chooses_model_limit_or_tools_at_anthropic(router: Router, seen: Seen, name: str) -> None:
    """An unknown field is left out and named; with unknown content the target is not called, and the error names it."""
    forged, field = FORGED[name]
    body = {"messages": [HELLO], "max_tokens": 5, **forged}
    before = len(seen.attempts("native"))
    stream = await router.complete("native", body)

    assert [] == seen.attempts("dear")
    if name in CONTENT:
        assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
        assert stream.error is not None
        assert ("unsupported_parameter", field) == (stream.error.code, stream.error.param)
        assert before == len(seen.attempts("native"))
        return
    asked: Any = seen.attempts("native")[-1]["body"]
    assert b"anthropic" not in orjson.dumps(asked)
    assert ("ok?test=native", 5) == (asked["model"], asked["max_tokens"])
    assert [field] == list(stream.attempts[0].dropped)


@pytest.mark.parametrize("route", ["plain-wire", "engine-wire"])
@pytest.mark.parametrize(("forged", "field"), FORGED.values(), ids=FORGED.keys())
async def test_on_openais_wire_it_is_a_field_that_passes_through(
    router: Router, seen: Seen, route: str, forged: Json, field: str
) -> None:
    """As any other that nobody here knows; it is for the target to refuse."""
    body = {"messages": [HELLO], "max_tokens": 5, **forged}
    stream = await router.complete(route, body)

    assert stream.finished is not None, field
    asked: Any = seen.attempts(route)[-1]["body"]
    own = {"model": f"ok?test={route}", "stream": True, "stream_options": {"include_usage": True}}
    assert {**body, **own} == asked


async def test_a_chat_body_gets_no_native_events(router: Router) -> None:
    """Also when it asks for them."""
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Yes."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    script = {"role": "user", "content": orjson.dumps(events).decode()}
    stream = await router.complete("native-script", {"messages": [script]})

    assert [("texts", "Yes.")] == stream.contents
