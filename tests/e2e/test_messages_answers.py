"""Answers in Anthropic's contract: what the client gets from a target on either wire."""

from __future__ import annotations

from typing import Any

import anthropic
import orjson
import pytest

from kit.front_door.anthropic_requests import Json, asked
from kit.front_door.edge_client import EdgeClient, read_events


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
    "text, calls and text": (
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
    "a server tool of Anthropic's": (
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
    edge: EdgeClient, claude: anthropic.AsyncAnthropic, events: list[Json], content: list[Json], stop: Json
) -> None:
    """Blocks, their order, signatures, sources, the reason of the end: whole, streamed and from the cache."""
    request = asked(model="script-claude", messages=scripted(*events))
    async with claude.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    version = {"anthropic-version": str(claude.default_headers["anthropic-version"])}
    async with edge.stream("/v1/messages", {**request, "stream": True}, version) as response:
        raw = [event.data async for event in read_events(response)]
    whole = (await edge.post("/v1/messages", orjson.dumps(request), {"cache-control": "no-store"})).json()

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
    edge: EdgeClient, claude: anthropic.AsyncAnthropic, chunks: list[Json], content: list[Json], reason: str
) -> None:
    """Interleaved fragments are sorted; reasoning becomes a thinking block without a signature."""
    usage: Json = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}}
    prompt = [{"role": "user", "content": orjson.dumps([*chunks, chunk({}) | usage, "[DONE]"]).decode()}]
    request = asked(model="script-openai", messages=prompt)
    async with claude.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    whole = (await edge.post("/v1/messages", orjson.dumps(request))).json()

    assert (content, reason) == (whole["content"], whole["stop_reason"])
    assert content == [
        {name: value for name, value in block.to_dict().items() if value is not None} for block in streamed.content
    ]
    assert (reason, 5, 9) == (streamed.stop_reason, streamed.usage.input_tokens, streamed.usage.output_tokens)
