"""When an answer may be continued by another target, and what that target is asked."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llm_router.providers.chat_body import ChatBody, MessagesForm
from llm_router.providers.provider import MessagesEvent
from llm_router.strategies.continuation import Delivered, continuation_of, may_be_continued

ASKED = [{"role": "user", "content": "Tell me of the river."}]


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({}, True),
        ({"n": 1, "logprobs": False, "response_format": {"type": "text"}, "tools": []}, True),
        ({"n": 2}, False),
        ({"logprobs": True}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, False),
        ({"response_format": "text"}, False),
        ({"messages": [*ASKED, {"role": "assistant", "content": "The river"}]}, False),
        ({"messages": []}, True),
    ],
)
def test_only_plain_text_may_be_continued(fields: dict[str, Any], may: bool) -> None:
    """Not several choices, probabilities, a format or a prefilled answer."""
    assert may == may_be_continued(ChatBody({"messages": ASKED, **fields}))


@pytest.mark.parametrize(
    ("delta", "is_plain"),
    [
        ({"reasoning_content": "hm"}, True),
        ({"reasoning": "hm", "role": "assistant"}, True),
        ({"tool_calls": [{"index": 0}]}, False),
        ({"refusal": "no"}, False),
        ({"content": None, "tool_calls": None}, True),
        ({"audio": {"id": "a"}}, False),
    ],
)
def test_open_tool_call_cannot_be_continued(delta: dict[str, Any], is_plain: bool) -> None:
    """Neither can anything else that is neither text nor thought."""
    delivered = Delivered(keeps_text=True)
    delivered.add(["Let me see. ", orjson.dumps([{"index": 0, "delta": delta}])])

    assert is_plain == delivered.is_plain
    assert "Let me see. " == delivered.text


def test_answer_with_a_native_event_cannot_be_continued() -> None:
    """Another target could not continue a block that only Anthropic has."""
    delivered = Delivered(keeps_text=True)
    delivered.add(["It rises ", MessagesEvent(b'{"type":"content_block_start"}'), "in the hills"])

    assert not delivered.is_plain
    assert "It rises in the hills" == delivered.text


def test_delivered_text_is_a_finished_turn_and_no_prefill() -> None:
    """The last turn is the user's."""
    chat = ChatBody({"messages": ASKED, "temperature": 0, "tools": [1]})
    body = continuation_of(chat, "It rises in the hills and").openai

    roles = [message["role"] for message in body["messages"]]
    assert ["user", "assistant", "user"] == roles
    assert "It rises in the hills and" == body["messages"][1]["content"]
    assert "<<<It rises in the hills and>>>" in body["messages"][2]["content"]
    assert (0, [1]) == (body["temperature"], body["tools"])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(1000, 1000 - 25 + 32), (20, 1 + 32)])
def test_limit_counts_over_both_attempts(name: str, limit: int, left: int) -> None:
    """What was delivered is taken off, with room for the words that are repeated."""
    assert left == continuation_of(ChatBody({"messages": ASKED, name: limit}), "x" * 100).openai[name]


def test_request_is_unchanged_when_nothing_was_delivered() -> None:
    """Only thoughts had come."""
    chat = ChatBody({"messages": ASKED}, MessagesForm({"messages": ASKED, "max_tokens": 5}))

    assert chat == continuation_of(chat, " ")
