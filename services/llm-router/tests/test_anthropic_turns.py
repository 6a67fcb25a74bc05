"""Conversations in OpenAI's contract as turns that the Messages API takes, whatever engine and client made of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_router.providers.anthropic.turns import Turns
from llm_router.providers.dropped import Dropped
from llm_router.providers.tool_names import ToolNames

Json = dict[str, Any]

USER: Json = {"role": "user", "content": "hi"}
SAID: Json = {"role": "assistant", "content": "yes"}


def read(*messages: Json) -> tuple[list[Json], list[Json]]:
    """Return the system prompt and the turns of a conversation."""
    return Turns(ToolNames(), Dropped()).read(list(messages))


def turns(*messages: Json) -> list[Json]:
    """Return the turns of a conversation."""
    return read(*messages)[1]


def calling(*ids: str | None, content: str | None = None) -> Json:
    """Write an assistant's message that calls a tool once for each id."""
    calls = [{"id": each, "type": "function", "function": {"name": "look", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(call_id: str, content: object = "red") -> Json:
    """Write a tool's message."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def kinds(turn: Json) -> list[str]:
    """Return the kinds of a turn's blocks."""
    content = turn["content"]
    return ["text"] if isinstance(content, str) else [block["type"] for block in content]


CONVERSATIONS: dict[str, list[Json]] = {
    "one question": [USER],
    "two questions": [USER, USER],
    "an answer first": [SAID, USER],
    "an answer alone": [SAID],
    "nothing": [],
    "no text": [{"role": "user", "content": ""}],
    "blanks": [{"role": "user", "content": [{"type": "text", "text": " \n"}]}],
    "an empty answer between questions": [USER, {"role": "assistant", "content": None}, USER],
    "an empty question at the end": [USER, SAID, {"role": "user", "content": " "}],
    "a system prompt alone": [{"role": "system", "content": "Be brief."}],
    "a system prompt at the end": [USER, SAID, {"role": "system", "content": "In French."}],
    "calls and results": [USER, calling("c1", "c2"), result("c1"), result("c2"), SAID, USER],
    "results in another order": [USER, calling("c1", "c2"), result("c2"), result("c1")],
    "words before a result": [USER, calling("c1"), USER, result("c1")],
    "words between results": [USER, calling("c1", "c2"), result("c1"), USER, result("c2")],
    "a call that nobody answered": [USER, calling("c1", "c2"), result("c2"), USER],
    "calls at the end": [USER, calling("c1")],
    "a call and then an answer": [USER, calling("c1"), SAID, USER],
    "a call that was answered too late": [USER, calling("c1"), USER, SAID, result("c1"), USER],
    "a result of no call": [USER, result("c9")],
    "a result first": [result("c9"), USER],
    "the same id in each answer": [USER, calling("0"), result("0"), calling("0"), result("0"), USER],
    "the same id twice in an answer": [USER, calling("0", "0"), result("0", "a"), result("0", "b")],
    "two results of a call": [USER, calling("c1"), result("c1"), result("c1")],
    "no ids": [USER, calling(None), USER],
    "ids of another form": [USER, calling("functions.lookup:0"), result("functions.lookup:0")],
    "an empty result": [USER, calling("c1"), result("c1", None), result("c1", " ")],
}


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_conversation_becomes_one_that_anthropic_takes(messages: list[Json]) -> None:
    """Roles alternate from a user on, no text is blank, and each call has its one result right behind it, and first."""
    written = turns(*messages)

    assert ["user", "assistant"] * (len(written) // 2) + ["user"] * (len(written) % 2) == [
        turn["role"] for turn in written
    ]
    waiting: list[str] = []
    seen: set[str] = set()
    for turn in written:
        blocks = [{"type": "text", "text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
        assert blocks
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert ["tool_result"] * len(results) == kinds(turn)[: len(results)]
        assert sorted(waiting) == sorted(results)
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert len(waiting) == len(set(waiting))
        assert seen.isdisjoint(waiting)
        assert all(re.fullmatch("[a-zA-Z0-9_-]+", each) for each in waiting)
        seen.update(waiting)
    assert [] == waiting


def test_results_belong_to_their_calls() -> None:
    """Also where an engine counts its calls anew in each answer, and gives two of them one id."""
    written = turns(USER, calling("0", "0"), result("0", "a"), result("0", "b"), calling("0"), result("0", "c"))

    told: dict[str, object] = {}
    for turn in written:
        told |= {block["tool_use_id"]: block["content"] for block in turn["content"] if "tool_use_id" in block}
    called = [
        block["id"] for turn in written for block in turn["content"] if isinstance(block, dict) and "name" in block
    ]
    assert ["a", "b", "c"] == [told[each] for each in called]


def test_ids_are_the_same_in_every_request() -> None:
    """Else no provider could cache the beginning of the conversation."""
    talk = [USER, calling("a:1"), result("a:1"), calling("a:1"), result("a:1"), SAID]

    assert turns(*talk) == turns(*talk, USER)[: len(turns(*talk))]


def test_what_nobody_answered_is_told() -> None:
    """A result that says so, and a result that comes too late in words."""
    waiting = turns(USER, calling("c1"), USER)[2]["content"]
    late = turns(USER, calling("c1"), USER, SAID, result("c1"))[-1]["content"]

    assert {"type": "tool_result", "tool_use_id": "c1", "content": "(no result)", "is_error": True} == waiting[0]
    assert ["The result of an earlier tool call:", "red"] == [block["text"] for block in late]


def test_a_system_prompt_alone_is_the_question() -> None:
    """Anthropic wants one turn at least."""
    assert ([], [{"role": "user", "content": "Be brief."}]) == read({"role": "system", "content": "Be brief."})


def test_an_answer_that_is_begun_has_no_space_at_its_end() -> None:
    """Anthropic refuses it there, and only there."""
    said = {"role": "assistant", "content": "The answer: "}

    assert "The answer:" == turns(USER, said)[-1]["content"]
    assert "The answer: " == turns(USER, said, USER)[1]["content"]
