"""What vendors really send, through the front door: the same tool calls and the same end in every contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from kit.front_door.edge_client import EdgeClient

Json = dict[str, Any]
USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
WEATHER, CLOCK = ("weather", {"city": "Rome"}), ("clock", {"zone": "CET"})
NOTHING: tuple[str, Json] = ("list_all", {})
NAMES = ("weather", "clock", "list_all")


@pytest.fixture(name="gpt")
async def _gpt(edge: EdgeClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=edge.key, base_url=f"{edge.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture(name="claude")
async def _claude(edge: EdgeClient) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=edge.key, base_url=edge.url, max_retries=0) as client:
        yield client


def delta(*calls: Json, **more: object) -> Json:
    """Write a chunk of OpenAI's wire."""
    added = {"tool_calls": list(calls)} if calls else {}
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": added | more, "finish_reason": None}]}


def call(name: str, arguments: object, **more: object) -> Json:
    """Write a tool call in one piece."""
    return {**more, "function": {"name": name, "arguments": arguments}}


def end(reason: str) -> list[Any]:
    """Write the end of an answer of OpenAI's wire."""
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return [{"choices": [choice]}, {"choices": [], "usage": USAGE}, "[DONE]"]


def use(index: int, name: str, given: Json) -> Json:
    """Write the start of a tool call of Anthropic's wire."""
    block = {"type": "tool_use", "id": f"t{index}", "name": name, "input": given}
    return {"type": "content_block_start", "index": index, "content_block": block}


def message(*events: Json, reason: str = "tool_use") -> list[Json]:
    """Write a message of Anthropic's wire around these events."""
    return [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}},
        *events,
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def part(index: int, text: str) -> Json:
    """Write arguments of Anthropic's wire."""
    added = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": added}


def stop(index: int) -> Json:
    """Write the end of a block."""
    return {"type": "content_block_stop", "index": index}


ROME, CET = '{"city":"Rome"}', '{"zone":"CET"}'
# What the provider sends, and the calls that reach the client.
ANSWERS: dict[str, tuple[str, list[Any], list[tuple[str, Json]]]] = {
    "stop after a call": ("openai", [delta(call("weather", ROME, index=0, id="a")), *end("stop")], [WEATHER]),
    "no index": (
        "openai",
        [delta(call("weather", ROME, id="a")), delta(call("clock", CET, id="b")), *end("tool_calls")],
        [WEATHER, CLOCK],
    ),
    "every index 0 and no id": (
        "openai",
        [delta(call("weather", ROME, index=0, id="")), delta(call("clock", CET, index=0, id="")), *end("stop")],
        [WEATHER, CLOCK],
    ),
    "the name in every fragment, among those of another call": (
        "openai",
        [
            delta(call("weather", ROME[:5], index=0, id="a"), call("clock", CET[:5], index=1, id="b")),
            delta(call("weather", ROME[5:], index=0, id="a"), call("clock", CET[5:], index=1, id="b")),
            *end("tool_calls"),
        ],
        [WEATHER, CLOCK],
    ),
    "an object, and nothing, as arguments": (
        "openai",
        [
            delta(call("weather", {"city": "Rome"}, index=None, id="a")),
            delta(call("list_all", "", index=None, id="b")),
            *end("tool_calls"),
        ],
        [WEATHER, NOTHING],
    ),
    "a call of before there were tools": (
        "openai",
        [delta(function_call={"name": "weather", "arguments": ROME}), *end("function_call")],
        [WEATHER],
    ),
    "the whole input in the start": (
        "claude",
        message(use(0, *WEATHER), stop(0), use(1, *CLOCK), part(1, ""), stop(1)),
        [WEATHER, CLOCK],
    ),
    "no input": ("claude", message(use(0, *NOTHING), part(0, ""), stop(0), reason="end_turn"), [NOTHING]),
    "blocks that overlap": (
        "claude",
        message(
            use(0, "weather", {}), use(1, "clock", {}), part(0, ROME[:5]), part(1, CET[:5]), part(0, ROME[5:]),
            stop(0), part(1, CET[5:]), stop(1),
        ),
        [WEATHER, CLOCK],
    ),
    "the end of a call without one": ("openai", [delta(content="Hi"), *end("tool_calls")], []),
}  # fmt: skip
each_answer = pytest.mark.parametrize(("vendor", "sent", "calls"), ANSWERS.values(), ids=ANSWERS.keys())


def tools(calls: list[tuple[str, Json]]) -> list[Json]:
    """Write the tools of a request in OpenAI's contract."""
    schemas: dict[str, Json] = {"weather": {"city": {}}, "clock": {"zone": {}}, "list_all": {}}
    return [
        {
            "type": "function",
            "function": {"name": name, "parameters": {"type": "object", "properties": schemas[name]}},
        }
        for name in NAMES
        if calls or name != "list_all"
    ]


@each_answer
async def test_calls_and_end_in_openais_contract(
    gpt: openai.AsyncOpenAI, vendor: str, sent: list[Any], calls: list[tuple[str, Json]]
) -> None:
    """Chunk by chunk for a client that appends whatever comes, in one piece, and from the cache."""
    request: Any = {
        "model": f"script-{vendor}",
        "messages": [{"role": "user", "content": orjson.dumps(sent).decode()}],
        "tools": tools(calls),
    }
    reason = "tool_calls" if calls else "stop"
    for _ in range(2):
        known: dict[int, list[str]] = {}
        ends = []
        async for chunk in await gpt.chat.completions.create(**request, stream=True):
            ends += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
            for choice in chunk.choices:
                for fragment in choice.delta.tool_calls or ():
                    assert fragment.function is not None
                    texts = known.setdefault(fragment.index, ["", "", ""])
                    texts[0] += fragment.id or ""
                    texts[1] += fragment.function.name or ""
                    texts[2] += fragment.function.arguments or ""
        assert [reason] == ends
        assert calls == [(name, orjson.loads(arguments)) for _, name, arguments in known.values()]
        assert len(calls) == len({call_id for call_id, *_ in known.values()} - {""})

    (whole,) = (await gpt.chat.completions.create(**request, extra_headers={"cache-control": "no-store"})).choices
    assert reason == whole.finish_reason
    reported: list[Any] = whole.message.tool_calls or []
    assert calls == [(each.function.name, orjson.loads(each.function.arguments)) for each in reported]
    assert all(each.id for each in reported)


@each_answer
async def test_calls_and_end_in_anthropics_contract(
    claude: anthropic.AsyncAnthropic, vendor: str, sent: list[Any], calls: list[tuple[str, Json]]
) -> None:
    """As content blocks."""
    request: Any = {
        "model": f"script-{vendor}",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": orjson.dumps(sent).decode()}],
        "tools": [
            {"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in tools(calls)
        ],
    }
    async with claude.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    whole = await claude.messages.create(**request, extra_headers={"cache-control": "no-store"})

    for answer in (streamed, whole):
        assert ("tool_use" if calls else "end_turn") == answer.stop_reason
        blocks: list[Any] = [block for block in answer.content if block.type == "tool_use"]
        assert calls == [(block.name, block.input) for block in blocks]
        assert len(calls) == len({block.id for block in blocks})


@each_answer
async def test_calls_and_end_in_our_own_contract(
    edge: EdgeClient, vendor: str, sent: list[Any], calls: list[tuple[str, Json]]
) -> None:
    """As events of their own."""
    request: Json = {"query": orjson.dumps(sent).decode(), "model": f"script-{vendor}", "tools": tools(calls)}
    chat = await edge.ask(request)
    reported = [event.data for event in chat.events if event.name == "tool_call"]

    assert calls == [(each["name"], orjson.loads(each["arguments"])) for each in reported]
    assert ("done", "tool_call" if calls else "stop") == (chat.names[-1], chat.last["finish_reason"])


async def test_content_as_parts_is_text_and_thoughts_in_every_contract(
    edge: EdgeClient, gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic
) -> None:
    """As Mistral's reasoning models send it; parts that nobody knows are kept."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    source = {"type": "reference", "reference_ids": [1]}
    sent = [
        delta(content=[thought]),
        delta(content=[{"type": "text", "text": "answer"}, source]),
        delta(content=" end"),
        *end("stop"),
    ]
    prompt: Any = [{"role": "user", "content": orjson.dumps(sent).decode()}]
    (whole,) = (await gpt.chat.completions.create(model="script-openai", messages=prompt)).choices
    message = await claude.messages.create(model="script-openai", max_tokens=9, messages=prompt)
    chat = await edge.ask({"query": prompt[0]["content"], "model": "script-openai"})

    reported = whole.message.model_dump()
    assert ("answer end", "hm", [source]) == tuple(
        reported[name] for name in ("content", "reasoning_content", "content_parts")
    )
    assert ["thinking", "text"] == [block.type for block in message.content]
    assert "answer end" == chat.text


async def test_fields_of_an_engine_survive_in_one_piece(gpt: openai.AsyncOpenAI) -> None:
    """As vLLM has them beside the delta, and for the whole prompt."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END", "token_ids": [2]}]}
    first = delta(content="Hi")
    first["choices"][0]["token_ids"] = [1]
    sent = [first, {**last, "system_fingerprint": "fp"}, "[DONE]"]
    prompt: Any = [{"role": "user", "content": orjson.dumps(sent).decode()}]
    whole = await gpt.chat.completions.create(model="script-openai", messages=prompt)

    reported = whole.choices[0].model_dump()
    assert ("END", [1, 2], "fp") == (reported["stop_reason"], reported["token_ids"], whole.system_fingerprint)
