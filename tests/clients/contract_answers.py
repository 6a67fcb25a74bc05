"""An answer as its contract promises it, read by the vendors' own models: its text, its calls, its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

Json = dict[str, Any]

_MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@dataclass
class Said:
    """What a client gets out of an answer."""

    text: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    """By index: the name, and the arguments in JSON."""
    end: str = ""
    """`stop`, `length` or `tool_calls`."""


def read_completion(content: bytes, is_stream: bool, wants_usage: bool) -> Said:
    """Read an answer of `/v1/chat/completions`. AssertionError, or pydantic's ValidationError, when it is none."""
    if not is_stream:
        completion = ChatCompletion.model_validate_json(content)
        (only,) = completion.choices
        calls = [each for each in only.message.tool_calls or [] if each.type == "function"]
        named = {index: [each.function.name, each.function.arguments] for index, each in enumerate(calls)}
        assert completion.usage is not None
        return Said(only.message.content or "", named, only.finish_reason)
    frames = [event for _, event in _events(content)]
    assert "[DONE]" == frames.pop()
    chunks = [ChatCompletionChunk.model_validate_json(frame) for frame in frames]
    said = Said()
    for chunk in chunks:
        for choice in chunk.choices:
            said.text += choice.delta.content or ""
            said.end = choice.finish_reason or said.end
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                known = said.calls.setdefault(call.index, ["", ""])
                known[0] += call.function.name or ""
                known[1] += call.function.arguments or ""
    assert wants_usage == (chunks[-1].usage is not None)
    return said


_ENDS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def read_message(content: bytes, is_stream: bool) -> Said:
    """Read an answer of `/v1/messages`. AssertionError, or pydantic's ValidationError, when it is none."""
    if not is_stream:
        message = Message.model_validate_json(content)
        calls = [each for each in message.content if each.type == "tool_use"]
        named = {index: [each.name, orjson.dumps(each.input).decode()] for index, each in enumerate(calls)}
        text = "".join(each.text for each in message.content if each.type == "text")
        return Said(text, named, _ENDS[str(message.stop_reason)])
    named_events = [(name, orjson.loads(event)) for name, event in _events(content)]
    assert all(name == event["type"] for name, event in named_events)
    events = [event for _, event in named_events if event["type"] != "ping"]
    assert ("message_start", "message_delta", "message_stop") == (events[0]["type"], *[e["type"] for e in events[-2:]])
    said = Said()
    for event in events:
        _MESSAGE_EVENT.validate_python(event)
        _read_event(event, said)
    return said


def _read_event(event: Json, said: Said) -> None:
    if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
        said.calls[event["index"]] = [event["content_block"]["name"], ""]
    elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
        said.text += event["delta"]["text"]
    elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
        said.calls[event["index"]][1] += event["delta"]["partial_json"]
    elif event["type"] == "message_delta":
        said.end = _ENDS[event["delta"]["stop_reason"]]


def _events(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and data of each event; comments are none."""
    for block in content.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            values = dict(line.split(": ", 1) for line in lines)
            yield values.get("event", ""), values["data"]
