"""The Anthropic Messages stream, read event by event and translated into OpenAI's chunks."""

from __future__ import annotations

from typing import Any

import orjson

from llm_router.errors import StreamBroken
from llm_router.providers.anthropic.calls import Call, choices, json_of, text_of
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.events import MAX_NAME_CHARACTERS, named, parse_event
from llm_router.providers.numbers import whole_number
from llm_router.providers.provider import Answer, Content, MessagesEvent
from llm_router.providers.stream_error import read_stream_error
from llm_router.providers.tool_names import ToolNames
from servicekit.sse import MAX_EVENT_BYTES
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

_FINISH_REASONS = {
    "end_turn": routerpb.FINISH_REASON_STOP,
    "stop_sequence": routerpb.FINISH_REASON_STOP,
    "max_tokens": routerpb.FINISH_REASON_LENGTH,
    "model_context_window_exceeded": routerpb.FINISH_REASON_LENGTH,
    "tool_use": routerpb.FINISH_REASON_TOOL_CALL,
    "refusal": routerpb.FINISH_REASON_CONTENT_FILTER,
}


# A client of Anthropic's contract sends a paused answer back to have it continued.
_NATIVE_FINISH_REASONS = {**_FINISH_REASONS, "pause_turn": routerpb.FINISH_REASON_STOP}
# What the edge writes anew; the other fields of `usage` and of the message are Anthropic's own.
_COUNTED = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens_details",
    }
)
_MESSAGE_FIELDS = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
)
_END_FIELDS = ("stop_reason", "stop_sequence", "stop_details")
_MAX_TOOL_CALLS = 1000
# Ends that an OpenAI chunk can express, if they come without details.
_PLAIN_ENDS = frozenset({"end_turn", "max_tokens", "tool_use", "refusal"})


class AnthropicWire:
    """Reads the events of one message, or the one `message` of an answer that comes whole; it has one choice."""

    def __init__(
        self,
        *,
        keeps_events: bool,
        usage: AnthropicUsage | None = None,
        names: ToolNames | None = None,
        custom_tools: frozenset[str] = frozenset(),
    ) -> None:
        """`keeps_events`: events that OpenAI JSON cannot say become `MessagesEvent`s; else they are left out.

        `usage` knows what the target was asked, `names` what the caller calls the tools, and `custom_tools` are those
        that take any text.
        """
        self._names = names or ToolNames()
        self._custom_tools = custom_tools
        self._usage = usage or AnthropicUsage()
        self.answer = Answer(counting=self._usage)
        self._keeps_events = keeps_events
        self._pending: list[Content] = []  # events that travel with the next content: by themselves they are none
        self._kept_bytes = 0  # of these, and of the arguments of open calls
        self._block = ""  # the kind of the block that is open, or was last
        self._index = 0  # of that block
        self._calls: dict[int, Call] = {}  # the calls whose blocks are open, by the index of the block
        self._call_count = 0
        self._has_other_calls = False  # of tools that are not the caller's

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event; see `Wire.read`."""
        event = parse_event(data)
        try:
            contents = self._read(event)
        except (TypeError, AttributeError, KeyError) as error:
            raise StreamBroken(f"an event of the stream has the wrong shape{named(event.get('type'))}") from error
        if not contents:
            return []
        return [*self._take_pending(), *contents] if self._pending else contents

    def end(self) -> list[Content]:
        """Return what is due when nothing more comes; see `Wire.end`."""
        contents = [*self._take_pending(), *(each for index in [*self._calls] for each in self._complete(index))]
        reason = self.answer.finish_reasons.get(0)
        if reason == routerpb.FINISH_REASON_STOP and self._call_count:
            self.answer.finish_reasons[0] = routerpb.FINISH_REASON_TOOL_CALL
        elif reason == routerpb.FINISH_REASON_TOOL_CALL and not (self._call_count or self._has_other_calls):
            self.answer.finish_reasons[0] = routerpb.FINISH_REASON_STOP
        return contents

    def _read(self, event: Json) -> list[Content]:
        kind = event["type"]
        if kind == "content_block_delta":
            delta = event.get("delta") or {}
            if delta.get("type") == "text_delta":
                text = text_of(delta.get("text"))
                return self._add([text]) if text else []
            return self._add(self._delta(self._index_of(event), delta))
        if kind == "content_block_start":
            return self._add(self._block_start(self._index_of(event), event["content_block"]))
        if kind == "content_block_stop":
            return self._add(self._block_stop(self._index_of(event)))
        if kind == "message_start":
            self._note_message(event.get("message") or {})
        elif kind == "message_delta":
            self._note_usage(event.get("usage"))
            contents = self._finish(event.get("delta") or {}, _native(event.get("usage"), _COUNTED))
            self.answer.has_trailer = self.answer.is_whole and bool(event.get("usage"))
            return contents
        elif kind == "message_stop":
            last = self.end()
            self.answer.has_ended = True
            return last
        elif kind == "message":
            return self._whole(event)
        elif kind == "error":
            raise read_stream_error(event)
        return []

    def _add(self, contents: list[Content]) -> list[Content]:
        if contents and self.answer.finish_reasons:
            self.answer.add_after_end(0)
        return contents

    def _index_of(self, event: Json) -> int:
        """Return which block an event is about; one that does not say it is about the newest."""
        index = event.get("index")
        number = self._index if index is None or index == "" else whole_number(index)
        if number is None:
            raise StreamBroken("the index of a content block is no number")
        return number

    def _delta(self, index: int, delta: Json) -> list[Content]:
        kind = delta.get("type")
        if kind == "input_json_delta" and index in self._calls:
            call = self._calls[index]
            before = call.kept
            contents: list[Content] = [*call.add(json_of(delta.get("partial_json")))]
            self._keep(call.kept - before)
            return contents
        if kind == "input_json_delta" and not self._keeps_events and self._block == "":
            raise StreamBroken("arguments of a tool call came before its start")
        if kind == "thinking_delta":
            thinking = text_of(delta.get("thinking"))
            return [choices({"reasoning_content": thinking})] if thinking else []
        if delta:
            self._keep_event({"type": "content_block_delta", "delta": delta})
        return []

    def _block_start(self, index: int, block: Json) -> list[Content]:
        contents = self._complete(index)  # some never end a block, or give all of them one index
        before, self._block, self._index = self._block, text_of(block["type"])[:MAX_NAME_CHARACTERS], index
        if self._block == "tool_use":
            if self._call_count >= _MAX_TOOL_CALLS:
                raise StreamBroken("the answer has too many tool calls")
            name = text_of(block["name"])
            call = Call(self._call_count, block, self._names.original(name), is_custom=name in self._custom_tools)
            self._calls[index] = call
            self._call_count += 1
            self._keep(call.kept)
            return [*contents, call.start()]
        if self._block == "text":
            if before == "text":
                self._keep_event({"type": "content_block_start", "content_block": {"type": "text", "text": ""}})
            text = text_of(block.get("text"))
            return [*contents, text] if text else contents
        self._has_other_calls |= self._block.endswith("tool_use")
        self._keep_event({"type": "content_block_start", "content_block": block})
        self._usage.note_block(block)
        return contents

    def _block_stop(self, index: int) -> list[Content]:
        if index not in self._calls:
            return []
        contents = self._complete(index)
        if not self._calls:  # blocks may overlap at those who only speak this wire
            self._pending += contents
            self._keep_event({"type": "content_block_stop"})
            if contents:  # its arguments do not wait, and the stop stands behind them
                contents = self._take_pending()
        return contents

    def _complete(self, index: int) -> list[Content]:
        """End the call of a block; return its arguments if none came as deltas."""
        call = self._calls.pop(index, None)
        if call is None:
            return []
        self._kept_bytes -= call.kept
        return [*call.complete()]

    def _whole(self, message: Json) -> list[Content]:
        """Read an answer that is one object."""
        self._note_message(message)
        contents: list[Content] = []
        for index, block in enumerate(message.get("content") or ()):
            if block["type"] == "thinking" and not self._keeps_events:
                contents.append(choices({"reasoning_content": text_of(block.get("thinking"))}))
            contents += self._block_start(index, block) + self._block_stop(index)
        return contents + self._finish({name: message.get(name) for name in _END_FIELDS}, {})

    def _keep_event(self, event: Json) -> None:
        if self._keeps_events:
            pending = MessagesEvent(orjson.dumps(event))
            self._pending.append(pending)
            self._keep(len(pending))

    def _take_pending(self) -> list[Content]:
        pending, self._pending = self._pending, []
        self._kept_bytes = sum(call.kept for call in self._calls.values())
        return pending

    def _keep(self, size: int) -> None:
        """Count what is kept until content comes, or the end of a block. StreamBroken when that is too much."""
        self._kept_bytes += size
        if self._kept_bytes > MAX_EVENT_BYTES:
            raise StreamBroken("too much comes before the content that it belongs to")

    def _keep_message(self, message: Json) -> None:
        """Keep what only Anthropic says at the start, e.g. the service tier; null says nothing."""
        native, usage = _native(message, _MESSAGE_FIELDS), _native(message.get("usage"), _COUNTED)
        if native or usage:
            self._keep_event({"type": "message_start", "message": {**native, "usage": usage}})

    def _finish(self, delta: Json, usage: Json) -> list[Content]:
        """Note how the answer ended; return what is still pending. `usage` is what only Anthropic counts."""
        self._note_container(delta)
        reason = delta.get("stop_reason")
        if not reason:
            return []
        known = _NATIVE_FINISH_REASONS if self._keeps_events else _FINISH_REASONS
        if reason not in known:
            raise StreamBroken(f"the answer ended for a reason that is no end of an answer{named(reason)}")
        if reason == "end_turn" and self._call_count:
            reason = "tool_use"
        self.answer.finish(0, known[reason])
        details = _native(delta, frozenset({"stop_reason"}))
        if reason not in _PLAIN_ENDS or details or usage:
            end = {"type": "message_delta", "delta": {**delta, "stop_reason": reason}}
            self._keep_event(end | ({"usage": usage} if usage else {}))
        return self._take_pending()

    def _note_message(self, message: Json) -> None:
        if isinstance(message.get("model"), str):
            self.answer.response_model = message["model"][:MAX_NAME_CHARACTERS]
        self._note_usage(message.get("usage"))
        self._note_container(message)
        self._keep_message(message)

    def _note_usage(self, usage: Json | None) -> None:
        if usage:
            if not isinstance(usage, dict):
                raise TypeError("usage")
            self._usage.add(usage)

    def _note_container(self, message: Json) -> None:
        if message.get("container"):
            self._usage.note_container()


def _native(fields: Json | None, known: frozenset[str]) -> Json:
    """Return the fields that have a value and are not among the `known` ones."""
    return {name: value for name, value in (fields or {}).items() if value is not None and name not in known}
