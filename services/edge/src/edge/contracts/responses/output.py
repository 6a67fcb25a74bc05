"""The chunks of an answer as output items of a response, and as the events that tell of them.

Source: OpenAI API reference, "Streaming events"; Open Responses, specification of 2026-04-24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from edge.assembly import MalformedChunk
from edge.contracts.responses.tools import CUSTOM_INPUT
from edge.conversation import ToolName
from servicekit.lenient_json import loads

Json = dict[str, Any]

# A larger index is a provider's mistake.
_MAX_CALLS = 1000
_TEXT_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":%b,"output_index":%d,'
    b'"content_index":%d,"delta":%b,"logprobs":%b}\n\n'
)


@dataclass(slots=True)
class _Text:
    """A part of a message that is being written."""

    kind: str
    """`output_text` or `refusal`."""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Json] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)

    def part(self) -> Json:
        """Return it as it is so far."""
        text = "".join(self.pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.annotations, "logprobs": self.logprobs}


@dataclass(slots=True)
class _Call:
    """A call that is being written."""

    place: int
    """Its number among the output items."""
    item: Json
    is_custom: bool
    pieces: list[str] = field(default_factory=list)


class ResponseOutput:
    """Writes the events of one response's items; calls may overlap, all else comes one after the other."""

    def __init__(self, suffix: str, names: Mapping[str, ToolName]) -> None:
        """`suffix` is in the ids of all items; `names` are the client's for functions of the chat body."""
        self._suffix = suffix
        self._names = names
        self._sequence = 0
        self._message: Json | None = None  # the open one; `content` has the parts that have ended
        self._text: _Text | None = None
        self._thought: list[str] | None = None  # the pieces of the open one
        self._place = 0  # of the open message or thought
        self._encoded_id = b""
        self._calls: dict[int, _Call] = {}
        self._waiting: dict[int, str] = {}  # arguments of calls whose name is still to come
        self.items: list[Json] = []
        """The output items, whole once `close` was called."""

    def event(self, kind: str, **fields: Any) -> bytes:
        """Write one event with the next number."""
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event))

    def take(self, chunks: Iterable[str | bytes]) -> bytes:
        """Return the events for these chunks; MalformedChunk when they cannot be read."""
        events: list[bytes] = []
        try:
            for chunk in chunks:
                if isinstance(chunk, str):
                    self._write("output_text", chunk, (), events)
                    continue
                for choice in orjson.loads(chunk):
                    if choice["index"] == 0:
                        self._read(choice.get("delta") or {}, choice.get("logprobs") or {}, events)
        except (TypeError, AttributeError, LookupError, ValueError) as error:
            raise MalformedChunk("a chunk of the answer has the wrong shape") from error
        return b"".join(events)

    def close(self, status: str = "completed") -> bytes:
        """Return the events that end all items, which have this `status`.

        Calls of an answer that broke off (`failed`) are not ended: clients run a call as soon as its end is told.
        """
        events: list[bytes] = []
        ended = "completed" if status == "completed" else "incomplete"
        self._end_message(events, ended)
        self._end_thought(events, ended)
        for call in self._calls.values():
            if status == "failed":
                call.item["status"] = ended
                call.item["input" if call.is_custom else "arguments"] = "".join(call.pieces)
            else:
                self._end_call(call, events, ended)
        self._calls.clear()
        return b"".join(events)

    def _read(self, delta: Json, logprobs: Json, events: list[bytes]) -> None:
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            self._think(_text(thought), events)
        if content := delta.get("content"):
            self._write("output_text", _text(content), _logprobs(logprobs.get("content")), events)
        if refusal := delta.get("refusal"):
            self._write("refusal", _text(refusal), (), events)
        for annotation in delta.get("annotations") or ():
            self._annotate(annotation, events)
        for fragment in delta.get("tool_calls") or ():
            self._take_fragment(fragment, events)

    def _write(self, kind: str, text: str, logprobs: Iterable[Json], events: list[bytes]) -> None:
        part = self._text
        if part is None or part.kind != kind:
            part = self._open_text(kind, events)
        part.pieces.append(text)
        if kind == "output_text":
            part.logprobs += logprobs
            numbers = (self._sequence, self._encoded_id, self._place, self._content_index)
            events.append(_TEXT_DELTA % (*numbers, orjson.dumps(text), orjson.dumps(logprobs)))
            self._sequence += 1
        else:
            events.append(self.event("response.refusal.delta", **self._where(), delta=text))

    def _annotate(self, annotation: Json, events: list[bytes]) -> None:
        """Tell of a place that the text cites; chat has its fields one level deeper."""
        if self._text is None or self._text.kind != "output_text":
            self._open_text("output_text", events)
        assert self._text is not None  # noqa: S101 - opened above
        kind = _text(annotation["type"])
        known = {"type": kind, **(annotation.get(kind) or {})}
        index = len(self._text.annotations)
        self._text.annotations.append(known)
        name = "response.output_text.annotation.added"
        events.append(self.event(name, **self._where(), annotation_index=index, annotation=known))

    def _open_text(self, kind: str, events: list[bytes]) -> _Text:
        self._end_thought(events)
        if self._message is None:
            self._place = len(self.items)
            self._message = {
                "type": "message",
                "id": self._id("msg"),
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
            self._encoded_id = orjson.dumps(self._message["id"])
            self.items.append(self._message)
            events.append(self._added(self._message))
        else:
            self._end_text(events)
        self._text = text = _Text(kind)
        events.append(self.event("response.content_part.added", **self._where(), part=text.part()))
        return text

    @property
    def _content_index(self) -> int:
        return len(self._message["content"]) if self._message is not None else 0

    def _where(self) -> Json:
        assert self._message is not None  # noqa: S101 - of an open message
        return {"item_id": self._message["id"], "output_index": self._place, "content_index": self._content_index}

    def _end_text(self, events: list[bytes]) -> None:
        text, message = self._text, self._message
        if text is None or message is None:
            return
        part, where = text.part(), self._where()
        if text.kind == "refusal":
            events.append(self.event("response.refusal.done", **where, refusal=part["refusal"]))
        else:
            done = {"text": part["text"], "logprobs": text.logprobs}
            events.append(self.event("response.output_text.done", **where, **done))
        events.append(self.event("response.content_part.done", **where, part=part))
        message["content"].append(part)
        self._text = None

    def _end_message(self, events: list[bytes], status: str = "completed") -> None:
        self._end_text(events)
        message = self._message
        if message is not None:
            message["status"] = status
            events.append(self._done(self._place, message))
        self._message = None

    def _think(self, text: str, events: list[bytes]) -> None:
        if self._thought is None:
            self._end_message(events)
            self._place = len(self.items)
            item: Json = {"type": "reasoning", "id": self._id("rs"), "summary": [], "status": "in_progress"}
            self.items.append(item)
            events.append(self._added(item))
            where = self._where_of_thought()
            part = {"type": "summary_text", "text": ""}
            events.append(self.event("response.reasoning_summary_part.added", **where, part=part))
            self._thought = []
        self._thought.append(text)
        where = self._where_of_thought()
        events.append(self.event("response.reasoning_summary_text.delta", **where, delta=text))

    def _where_of_thought(self) -> Json:
        return {"item_id": self.items[self._place]["id"], "output_index": self._place, "summary_index": 0}

    def _end_thought(self, events: list[bytes], status: str = "completed") -> None:
        if self._thought is None:
            return
        text, where = "".join(self._thought), self._where_of_thought()
        part = {"type": "summary_text", "text": text}
        events.append(self.event("response.reasoning_summary_text.done", **where, text=text))
        events.append(self.event("response.reasoning_summary_part.done", **where, part=part))
        item = self.items[self._place]
        item |= {"summary": [part], "status": status}
        events.append(self._done(self._place, item))
        self._thought = None

    def _take_fragment(self, fragment: Json, events: list[bytes]) -> None:
        number = fragment.get("index", 0)
        if not isinstance(number, int) or not 0 <= number < _MAX_CALLS:
            raise ValueError("the index of a call is out of bounds")
        function = fragment.get("function") or {}
        arguments = _text(function.get("arguments") or "")
        call = self._calls.get(number)
        if call is None:
            arguments = self._waiting.pop(number, "") + arguments
            if not function.get("name"):
                self._waiting[number] = arguments
                return
            call = self._calls[number] = self._open_call(fragment, _text(function["name"]), events)
        if not arguments:
            return
        call.pieces.append(arguments)
        if not call.is_custom:  # its input is a text inside of the arguments, and known when they are whole
            where = {"item_id": call.item["id"], "output_index": call.place}
            events.append(self.event("response.function_call_arguments.delta", **where, delta=arguments))

    def _open_call(self, fragment: Json, function: str, events: list[bytes]) -> _Call:
        self._end_message(events)
        self._end_thought(events)
        name = self._names.get(function) or ToolName(function)
        place = len(self.items)
        item: Json = {
            "type": "custom_tool_call" if name.is_custom else "function_call",
            "id": self._id("ctc" if name.is_custom else "fc"),
            "status": "in_progress",
            "call_id": _text(fragment.get("id") or f"call_{self._suffix}_{place}"),
            "name": name.name,
            "input" if name.is_custom else "arguments": "",
        }
        if name.namespace:
            item["namespace"] = name.namespace
        self.items.append(item)
        events.append(self.event("response.output_item.added", output_index=place, item=item))
        return _Call(place, item, name.is_custom)

    def _end_call(self, call: _Call, events: list[bytes], status: str) -> None:
        item, arguments = call.item, "".join(call.pieces)
        where = {"item_id": item["id"], "output_index": call.place}
        item["status"] = status
        if call.is_custom:
            item["input"] = text = _input(arguments)
            events.append(self.event("response.custom_tool_call_input.delta", **where, delta=text))
            events.append(self.event("response.custom_tool_call_input.done", **where, input=text))
        else:
            item["arguments"] = arguments
            done = {"name": item["name"], "arguments": arguments}
            events.append(self.event("response.function_call_arguments.done", **where, **done))
        events.append(self._done(call.place, item))

    def _added(self, item: Json) -> bytes:
        return self.event("response.output_item.added", output_index=self._place, item=item)

    def _done(self, place: int, item: Json) -> bytes:
        return self.event("response.output_item.done", output_index=place, item=item)

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._suffix}_{len(self.items)}"


def _logprobs(tokens: Any) -> list[Json]:
    """Return what chat tells of tokens, with every field that a response has."""
    found = []
    for token in tokens or ():
        top = [_logprob(each) for each in token.get("top_logprobs") or ()]
        found.append({**_logprob(token), "top_logprobs": top})
    return found


def _logprob(token: Json) -> Json:
    return {"token": token["token"], "logprob": token["logprob"], "bytes": token.get("bytes") or []}


def _input(arguments: str) -> str:
    """Return the text that a custom tool is called with; what a model has written instead stays as it is."""
    try:
        parsed = loads(arguments.encode())
    except ValueError:
        return arguments
    text = parsed.get(CUSTOM_INPUT) if isinstance(parsed, dict) else None
    return text if isinstance(text, str) else arguments


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
