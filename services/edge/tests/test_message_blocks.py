"""Chunks become content blocks: in order, nothing lost or doubled, however the chunks were split and mixed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.assembly import MalformedChunk, MessagesEvent
from edge.contracts.messages.blocks import MessageBlocks, joined_blocks

Json = dict[str, Any]


def chunk(delta: Json) -> bytes:
    """Write what a provider's chunk adds to choice 0."""
    return orjson.dumps([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])


def call(index: int, arguments: str = "", **identity: str) -> bytes:
    """Write a fragment of a tool call."""
    name = {"name": identity.pop("name")} if "name" in identity else {}
    return chunk({"tool_calls": [{"index": index, **identity, "function": {**name, "arguments": arguments}}]})


def native(kind: str, **more: object) -> MessagesEvent:
    """Write an event that only the Messages API has."""
    return MessagesEvent(orjson.dumps({"type": kind, **more}))


START = native("content_block_start", content_block={"type": "thinking", "thinking": ""})


def events_of(*chunks: str | bytes) -> list[Json]:
    """Return all events of an answer, taken chunk by chunk."""
    blocks = MessageBlocks()
    events = [event for one in chunks for event in blocks.take([one])]
    return [*events, *blocks.close()]


def check_order(events: list[Json]) -> None:
    """Every block starts once, with the next index, and stops before the next one starts."""
    is_open, count = False, 0
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert (False, count) == (is_open, event["index"])
                is_open = True
            case "content_block_delta":
                assert (True, count) == (is_open, event["index"])
            case "content_block_stop":
                assert (True, count) == (is_open, event["index"])
                is_open, count = False, count + 1
    assert not is_open


def test_text_is_written_as_it_comes() -> None:
    """One block, and one delta for each chunk without delay."""
    blocks = MessageBlocks()

    assert ["content_block_start", "content_block_delta"] == [event["type"] for event in blocks.take(["Hi"])]
    assert [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}}] == blocks.take(
        ["!"]
    )
    assert [{"type": "content_block_stop", "index": 0}] == blocks.close()


def test_the_first_call_is_written_as_it_comes_and_others_wait_for_its_end() -> None:
    """Interleaved arguments are sorted, and those of the first call are not delayed."""
    blocks = MessageBlocks()
    first = blocks.take([call(0, "", id="a", name="look"), call(0, '{"x"')])
    mixed = blocks.take([call(1, '{"y"', id="b", name="hear"), call(0, ":1}"), call(1, ":2}")])
    events = [*first, *mixed, *blocks.close()]

    assert '{"x"' == first[-1]["delta"]["partial_json"]
    assert [":1}"] == [event["delta"]["partial_json"] for event in mixed]
    check_order(events)
    assert [
        {"type": "tool_use", "id": "a", "name": "look", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "hear", "input": {"y": 2}},
    ] == joined_blocks(events)


def test_a_call_that_has_ended_lets_the_next_one_start() -> None:
    """Anthropic announces the end of each block, so no arguments wait."""
    blocks = MessageBlocks()
    blocks.take([call(0, "{}", id="a", name="look"), native("content_block_stop")])

    assert ["content_block_start", "content_block_delta"] == [
        event["type"] for event in blocks.take([call(1, "{", id="b", name="hear")])
    ]


def test_text_among_the_fragments_of_a_call_follows_it() -> None:
    """A call cannot continue once its block has ended, so the text waits."""
    events = events_of(call(0, '{"x"', id="a", name="look"), "and", call(0, ":1}"), " so")

    check_order(events)
    assert [
        {"type": "tool_use", "id": "a", "name": "look", "input": {"x": 1}},
        {"type": "text", "text": "and so"},
    ] == joined_blocks(events)


def test_a_call_without_an_id_gets_one() -> None:
    """The client needs it for the tool result."""
    (block,) = joined_blocks(events_of(call(0, "{}", name="look")))

    assert block["id"]


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "5", "null"])
def test_arguments_that_are_not_an_object_are_marked(arguments: str) -> None:
    """A whole message cannot carry them as `input`, and must neither invent nor lose them."""
    (block,) = joined_blocks(events_of(call(0, arguments, id="a", name="look")))

    assert {"INVALID_JSON": arguments} == block["input"]


def test_arguments_with_a_lone_surrogate_are_arguments() -> None:
    """One bad character costs no call."""
    (block,) = joined_blocks(events_of(call(0, '{"x": "\\ud800"}', id="a", name="look")))

    assert {"x": "\ufffd"} == block["input"]


def test_other_choices_are_not_part_of_a_message() -> None:
    """A message has one answer."""
    assert [] == events_of(orjson.dumps([{"index": 1, "delta": {"content": "x"}}]))


@pytest.mark.parametrize(
    "chunks",
    [
        [b"{"],
        [b"5"],
        [b"[5]"],
        [chunk({"tool_calls": [5]})],
        [native("content_block_delta", delta={"type": "text_delta", "text": "x"})],
        [native("content_block_start")],
        [native("content_block_start", content_block={"type": "text", "text": 5})],
        [START, native("content_block_delta", delta={"type": "text_delta", "text": 5})],
        [START, native("content_block_delta", delta={"type": "input_json_delta", "partial_json": {"x": 1}})],
        [START, native("content_block_delta", delta={"text": "x"})],
        [native("message_start", message=[])],
        [call(0, name="look", id="a"), chunk({"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]})],
        [native("message_delta", delta={"stop_sequence": "x"})],
        [chunk({"content": 5})],
        [chunk({"reasoning": {"x": 1}})],
        [chunk({"tool_calls": [{"index": "0", "function": {"arguments": "x"}}]})],
        [MessagesEvent(b"5")],
        [MessagesEvent(b"{")],
        [call(0, "{}", id="a", name="look"), native("content_block_stop"), call(0, "x")],
    ],
)
def test_chunks_that_do_not_form_a_message_are_malformed(chunks: list[bytes]) -> None:
    """With one kind of exception."""
    with pytest.raises(MalformedChunk):
        MessageBlocks().take(chunks)


@pytest.mark.parametrize("nothing", [{}, {"thinking": None}])
def test_a_delta_without_its_text_is_one_with_no_text(nothing: dict[str, None]) -> None:
    """Clients fail at null and at what is missing."""
    events = events_of(START, native("content_block_delta", delta={"type": "thinking_delta", **nothing}))

    assert {"type": "thinking_delta", "thinking": ""} == events[1]["delta"]
    assert "" == joined_blocks(events)[0]["thinking"]


pieces = st.one_of(
    st.text(min_size=1, max_size=3),
    st.builds(lambda text: chunk({"reasoning_content": text}), st.text(min_size=1, max_size=3)),
    st.builds(lambda number: call(number, "1"), st.integers(0, 3)),
)


@given(st.lists(pieces, max_size=20))
def test_nothing_is_lost_and_blocks_never_mix(answer: list[str | bytes]) -> None:
    """Every text, thought and argument once, in order."""
    named = [call(number, "", id=f"c{number}", name=f"f{number}") for number in range(4)]
    events = events_of(*named, *answer)

    check_order(events)
    blocks = joined_blocks(events)
    for kind, field in (("text", "text"), ("thinking", "thinking")):
        sent = [
            one if isinstance(one, str) else orjson.loads(one)[0]["delta"].get("reasoning_content", "")
            for one in answer
            if isinstance(one, str) == (kind == "text")
        ]
        assert "".join(sent) == "".join(block[field] for block in blocks if block["type"] == kind)
    for number in range(4):
        (written,) = [block for block in blocks if block.get("name") == f"f{number}"]
        expected = "1" * answer.count(call(number, "1"))
        assert ({"INVALID_JSON": expected} if expected else {}) == written["input"]
