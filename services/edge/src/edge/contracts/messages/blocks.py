"""The chunks of an answer as the content blocks of an Anthropic message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from edge.assembly import MalformedChunk, MessagesEvent
from servicekit.lenient_json import loads

Json = dict[str, Any]

_TEXT_OF_DELTA = {"input_json_delta": "partial_json", "text_delta": "text", "thinking_delta": "thinking"}
_EMPTY_BLOCKS: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessageBlocks:
    """Turns chunks into the events of content blocks, one block after the other, each with a start and a stop."""

    def __init__(self) -> None:
        self._index = -1
        self._kind: str | None = None  # of the open block
        self._call: int | None = None  # the tool call whose block is open
        self._waiting: dict[int, Json] = {}  # fragments of calls that arrive while another call is open
        self._late: list[tuple[str, Json]] = []  # deltas that arrive while a call is open
        self._written: set[int] = set()
        self.is_refusal = False
        """Whether the target refused to answer."""
        self.stop: Json | None = None
        """Why the answer ended, when the target has said so in Anthropic's terms."""
        self.stop_sequence: str | None = None
        """The stop sequence that ended the answer, when an engine of OpenAI's wire tells it."""
        self.message: Json = {}
        """The fields that only a target of Anthropic's has given the message, e.g. `container`."""
        self.usage: Json = {}
        """What only such a target says of the usage, e.g. `service_tier`."""

    def take(self, chunks: Iterable[str | bytes]) -> list[Json]:
        """Return the events for these chunks; MalformedChunk when they cannot be read."""
        events: list[Json] = []
        try:
            for chunk in chunks:
                if isinstance(chunk, str):
                    self._add("text", {"type": "text_delta", "text": chunk}, events)
                    continue
                if isinstance(chunk, MessagesEvent):
                    self._take_native(orjson.loads(bytes(chunk)), events)
                    continue
                for choice in orjson.loads(chunk):
                    if choice["index"] == 0:
                        self._read(choice.get("delta") or {}, events)
                        self._note_stop(choice)
        except (TypeError, AttributeError, LookupError, ValueError) as error:
            raise MalformedChunk("a chunk of the answer has the wrong shape") from error
        return events

    def close(self) -> list[Json]:
        """Return the events that end the last blocks."""
        events: list[Json] = []
        self._end_block(events)
        while self._waiting:
            self._next_call(min(self._waiting), events)
            self._end_block(events)
        late, self._late = self._late, []
        for kind, delta in late:
            self._add(kind, delta, events)
        self._end_block(events)
        return events

    def _read(self, delta: Json, events: list[Json]) -> None:
        if thinking := delta.get("reasoning_content") or delta.get("reasoning"):
            self._add("thinking", {"type": "thinking_delta", "thinking": _text(thinking)}, events)
        for text in filter(None, (delta.get("content"), delta.get("refusal"))):
            self._add("text", {"type": "text_delta", "text": _text(text)}, events)
        self.is_refusal |= bool(delta.get("refusal"))
        for fragment in delta.get("tool_calls") or ():
            self._take_fragment(fragment, events)

    def _note_stop(self, choice: Json) -> None:
        """Note what ended the answer: vLLM tells a stop sequence as text, SGLang too, and other tokens as numbers."""
        stop = choice.get("stop_reason") or choice.get("matched_stop")
        if isinstance(stop, str):
            self.stop_sequence = stop

    def _take_native(self, event: Json, events: list[Json]) -> None:
        """Take an event of the Messages API that has no counterpart in an OpenAI chunk; its index is ours."""
        match event["type"]:
            case "content_block_start":
                events += self.close()
                self._start(_checked_block(event["content_block"]), events)
            case "content_block_delta":
                if self._kind is None:
                    raise ValueError("a delta outside of a block")
                events.append(self._delta(_checked_delta(event["delta"])))
            case "content_block_stop":
                events += self.close()
            case "message_start":
                self.message = {**event["message"]}
                self.usage = {**(self.message.pop("usage", None) or {})}
            case "message_delta":
                _text(event["delta"]["stop_reason"])
                self.stop = {**event["delta"]}
                self.usage = {**self.usage, **(event.get("usage") or {})}

    def _add(self, kind: str, delta: Json, events: list[Json]) -> None:
        if self._call is not None:
            self._late.append((kind, delta))
            return
        if self._kind != kind:
            self._end_block(events)
            self._start(_EMPTY_BLOCKS[kind], events)
        events.append(self._delta(delta))

    def _take_fragment(self, fragment: Json, events: list[Json]) -> None:
        """Write fragments of the open tool call; keep those of others until it ends: blocks cannot overlap."""
        number = _number(fragment.get("index", 0))
        function = fragment.get("function") or {}
        arguments = _text(function.get("arguments") or "")
        if number == self._call:
            if arguments:
                events.append(self._delta({"type": "input_json_delta", "partial_json": arguments}))
            return
        if number in self._written:
            raise ValueError("a fragment of a tool call that has ended")
        call = self._waiting.setdefault(number, {"id": "", "name": "", "arguments": ""})
        call["id"] = fragment.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        call["arguments"] += arguments
        if self._call is None and call["name"]:
            self._end_block(events)
            self._next_call(number, events)

    def _next_call(self, number: int, events: list[Json]) -> None:
        call = self._waiting.pop(number)
        identity = {"id": call["id"] or f"call_{number}", "name": call["name"]}
        self._start({"type": "tool_use", **identity, "input": {}}, events)
        self._call = number
        self._written.add(number)
        if call["arguments"]:
            events.append(self._delta({"type": "input_json_delta", "partial_json": call["arguments"]}))

    def _start(self, block: Json, events: list[Json]) -> None:
        self._index += 1
        self._kind = block["type"]
        events.append({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _end_block(self, events: list[Json]) -> None:
        if self._kind is not None:
            events.append({"type": "content_block_stop", "index": self._index})
        self._kind = self._call = None


def joined_blocks(events: Iterable[Json]) -> list[Json]:
    """Assemble the content blocks of a whole answer."""
    blocks: list[Json] = []
    inputs: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            _join(blocks[event["index"]], event["delta"], event["index"], inputs)
    for index, arguments in inputs.items():
        blocks[index]["input"] = _input(arguments)
    return blocks


def _join(block: Json, delta: Json, index: int, inputs: dict[int, str]) -> None:
    match delta["type"]:
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case "text_delta":
            block["text"] = (block.get("text") or "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = (block.get("thinking") or "") + delta["thinking"]
        case "signature_delta":
            block["signature"] = delta.get("signature")
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]


def _checked_block(block: Json) -> Json:
    """Return the start of a block, to which deltas can be joined; TypeError when it is none."""
    _text(block["type"])
    for name in ("text", "thinking"):
        _text(block.get(name) or "")
    if not isinstance(block.get("citations") or [], list):
        raise TypeError("the citations of a block are no list")
    return block


def _checked_delta(delta: Json) -> Json:
    """Return a delta that can be joined to a block; TypeError when it is none. Kinds that nobody here knows can."""
    name = _TEXT_OF_DELTA.get(_text(delta["type"]))
    if name is None or isinstance(delta.get(name), str):
        return delta
    return {**delta, name: _text(delta.get(name) or "")}  # clients fail at null


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a number")
    return value


def _input(arguments: str) -> Json:
    """Read the arguments of a tool call; malformed ones stand under the name that Anthropic proposes."""
    try:
        parsed = loads(arguments.encode())
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"INVALID_JSON": arguments}
