"""The judges of the matrix: each rule of a vendor refuses the body that breaks it, and a good body passes."""

from __future__ import annotations

from typing import Any

import pytest

from kit.wires import chat_completions, messages

Json = dict[str, Any]

OLD, NEW = "2023-06-01", "2026-10-21"
USER: Json = {"role": "user", "content": "hello"}
TOOL: Json = {"name": "look", "input_schema": {"type": "object"}}
USE: Json = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "red"}
TURNS: list[Json] = [USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]
OPEN: Json = {"type": "object", "properties": {}}
THINKING: Json = {"type": "enabled", "budget_tokens": 1024}
MARK: Json = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}

GOOD_MESSAGES: dict[str, Json] = {
    "a question": {},
    "sampling": {"temperature": 0.5, "top_k": 5},
    "tools": {"messages": TURNS, "tools": [TOOL], "tool_choice": {"type": "auto"}},
    "results in several turns of one role": {"messages": [*TURNS, USER], "tools": [TOOL]},
    "a system turn between": {"messages": [USER, {"role": "system", "content": "In French."}]},
    "thinking": {"thinking": THINKING},
    "thoughts before calls": {
        "thinking": THINKING,
        "tools": [TOOL],
        "messages": [
            USER,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, USE]},
            TURNS[2],
        ],
    },
    "a closed schema": {
        "output_config": {"format": {"type": "json_schema", "schema": {**OPEN, "additionalProperties": False}}}
    },
}
# Each with what the fault names.
BAD_MESSAGES: dict[str, tuple[Json, str]] = {
    "an unknown field": ({"frequency_penalty": 1}, ".frequency_penalty: unknown"),
    "a field of a beta": ({"context_management": {"edits": []}}, ".context_management: unknown"),
    "an unknown part": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, ".messages.0.content.0"),
    "a name": ({"messages": [{**USER, "name": "ada"}]}, ".messages.0.name: unknown"),
    "no limit": ({"max_tokens": None}, ".max_tokens"),
    "no message": ({"messages": []}, ".messages: at least one"),
    "too hot": ({"temperature": 1.5}, ".temperature: 1.5 is out of range"),
    "an empty text": ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "without any text"),
    "an empty message": ({"messages": [{"role": "assistant", "content": ""}, USER]}, "the first turn is the user's"),
    "white space at the end": (
        {"messages": [USER, {"role": "assistant", "content": "So: "}]},
        "ends with white space",
    ),
    "an id of another vendor": (
        {"messages": [USER, {"role": "assistant", "content": [{**USE, "id": "functions.look:0"}]}], "tools": [TOOL]},
        "'functions.look:0' does not match",
    ),
    "a call without result": ({"messages": [*TURNS[:2], USER], "tools": [TOOL]}, "without tool_result in the next"),
    "a result without call": ({"messages": [TURNS[2]], "tools": [TOOL]}, "the turn before did not call"),
    "a text before a result": (
        {
            "messages": [*TURNS[:2], {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]}],
            "tools": [TOOL],
        },
        "tool_result blocks come first",
    ),
    "calls without tools": ({"messages": TURNS}, ".tools: required"),
    "a schema of no object": ({"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "must be 'object'"),
    "a union at the top": ({"tools": [{**TOOL, "input_schema": {"type": "object", "anyOf": []}}]}, "no union"),
    "a name with dots": ({"tools": [{**TOOL, "name": "a.b"}]}, ".tools.0.name"),
    "tools of one name": ({"tools": [TOOL, TOOL]}, "names must be unique"),
    "a choice without tools": ({"tool_choice": {"type": "auto"}}, ".tool_choice: only with tools"),
    "a forced tool while thinking": (
        {"thinking": THINKING, "tools": [TOOL], "tool_choice": {"type": "any"}},
        "no tool can be forced",
    ),
    "sampling while thinking": ({"thinking": THINKING, "temperature": 0.5}, "no sampling while thinking"),
    "a small budget": ({"thinking": {**THINKING, "budget_tokens": 9}}, "at least 1024"),
    "thinking, and calls without thoughts": (
        {"thinking": THINKING, "messages": TURNS, "tools": [TOOL]},
        "expected a thinking block",
    ),
    "five marks": ({"messages": [{"role": "user", "content": [MARK] * 5}]}, "more than 4"),
    "an empty stop": ({"stop_sequences": ["\n"]}, ".stop_sequences.0"),
    "an open schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": OPEN}}},
        ".additionalProperties: must be false",
    ),
}


@pytest.mark.parametrize("fields", GOOD_MESSAGES.values(), ids=GOOD_MESSAGES.keys())
def test_a_body_that_anthropic_takes_has_no_fault(fields: Json) -> None:
    """Rules that are too strict would hide what works."""
    assert [] == messages.faults_of({"model": "m", "max_tokens": 2048, "messages": [USER], **fields}, OLD)


@pytest.mark.parametrize(("fields", "fault"), BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_a_body_that_anthropic_refuses_has_its_fault(fields: Json, fault: str) -> None:
    """The first fault names what is wrong."""
    faults = messages.faults_of({"model": "m", "max_tokens": 2048, "messages": [USER], **fields}, OLD)
    assert faults
    assert any(fault in each for each in faults), faults


def test_the_version_decides_on_sampling() -> None:
    """Version 2026-10-21 has none; with a beta its fields are known."""
    body = {"model": "m", "max_tokens": 1, "messages": [USER]}
    assert [".top_p: not in version '2026-10-21'"] == messages.faults_of({**body, "top_p": 1}, NEW)
    assert [] == messages.faults_of({**body, "context_management": {"edits": []}}, NEW, "context-management-2025-06-27")


FUNCTION: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLED: Json = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWERED: Json = {"role": "tool", "tool_call_id": "call_1", "content": "red"}
FORMAT: Json = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": OPEN}}

GOOD_CHAT: dict[str, Json] = {
    "a question": {},
    "a stream": {"stream": True, "stream_options": {"include_usage": True}},
    "tools": {"messages": [USER, CALLED, ANSWERED], "tools": [FUNCTION], "tool_choice": "auto"},
    "an object": {"messages": [{**USER, "content": "In JSON."}], "response_format": {"type": "json_object"}},
}
BAD_CHAT: dict[str, tuple[Json, str]] = {
    "an unknown field": ({"top_k": 5}, ".top_k: unknown"),
    "a part of another vendor": ({"messages": [{**USER, "content": [{"type": "image"}]}]}, ".messages.0.content.0"),
    "a mark in a part": ({"messages": [{**USER, "content": [MARK]}]}, ".cache_control: unknown"),
    "no content": ({"messages": [{"role": "assistant", "content": None}]}, ".messages.0.content: empty"),
    "options without stream": ({"stream_options": {"include_usage": True}}, ".stream_options: only with stream"),
    "two limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "not together"),
    "metadata without store": ({"metadata": {"user_id": "u"}}, ".metadata: only with store"),
    "five stops": ({"stop": ["a", "b", "c", "d", "e"]}, ".stop"),
    "too hot": ({"temperature": 3}, ".temperature"),
    "a speaker with a space": ({"messages": [{**USER, "name": "Ada L"}]}, ".messages.0.name"),
    "a long id": ({"messages": [USER, {**CALLED, "tool_calls": [{**CALL, "id": "x" * 41}]}]}, "longer than 40"),
    "a call without answer": ({"messages": [USER, CALLED, USER]}, "should have been answered"),
    "an answer without call": ({"messages": [USER, ANSWERED]}, "did not call"),
    "no tools in the list": ({"tools": []}, ".tools: 1 to 128"),
    "a choice without tools": ({"tool_choice": "auto"}, ".tool_choice: only with tools"),
    "a schema of no object": (
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "string"}}}]},
        "must be 'object'",
    ),
    "an open schema": ({"response_format": FORMAT}, ".additionalProperties: must be false"),
    "an object without the word": ({"response_format": {"type": "json_object"}}, "the word 'json'"),
    "a file without name": (
        {"messages": [{**USER, "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,x"}}]}]},
        ".file: needs",
    ),
}


@pytest.mark.parametrize("fields", GOOD_CHAT.values(), ids=GOOD_CHAT.keys())
def test_a_body_that_openai_takes_has_no_fault(fields: Json) -> None:
    """Rules that are too strict would hide what works."""
    assert [] == chat_completions.faults_of({"model": "m", "messages": [USER], **fields})


@pytest.mark.parametrize(("fields", "fault"), BAD_CHAT.values(), ids=BAD_CHAT.keys())
def test_a_body_that_openai_refuses_has_its_fault(fields: Json, fault: str) -> None:
    """The first fault names what is wrong."""
    faults = chat_completions.faults_of({"model": "m", "messages": [USER], **fields})
    assert faults
    assert any(fault in each for each in faults), faults
