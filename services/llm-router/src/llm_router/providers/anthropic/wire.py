"""The Anthropic Messages stream, read event by event and translated into OpenAI's chunks."""

from __future__ import annotations

from typing import Any

import orjson

from llm_router.errors import ProviderError, ProviderRateLimited, ProviderUnavailable, StreamBroken
from llm_router.providers.provider import Answer, Content, MessagesEvent
from llm_router.providers.usage import AnthropicUsage
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
# Ends that an OpenAI chunk can express, if they come without details.
_PLAIN_ENDS = frozenset({"end_turn", "max_tokens", "tool_use", "refusal"})


class AnthropicWire:
    """Reads the events of one message; an answer has one choice."""

    def __init__(self, *, keeps_events: bool) -> None:
        """`keeps_events`: events that OpenAI JSON cannot say become `MessagesEvent`s; else they are left out."""
        self.answer = Answer()
        self._keeps_events = keeps_events
        self._pending: list[Content] = []  # events that travel with the next content: by themselves they are none
        self._block = ""  # the kind of the block that is open, or was last
        self._usage = AnthropicUsage()
        self._tool_calls: dict[int, int] = {}  # index of a content block -> index of its tool call

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event; see `Wire.read`."""
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StreamBroken("an event of the stream is not JSON") from error
        try:
            content = self._read(event)
        except (TypeError, AttributeError, KeyError) as error:
            raise StreamBroken("an event of the stream has the wrong shape") from error
        if content is None:
            return []
        contents, self._pending = [*self._pending, content], []
        return contents

    def _read(self, event: Json) -> Content | None:
        kind = event["type"]
        if kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        if kind == "content_block_start":
            return self._block_start(event["index"], event["content_block"])
        if kind == "content_block_stop" and self._block == "tool_use":
            self._keep_event({"type": kind})
        elif kind == "message_start":
            self.answer.response_model = _text(event["message"].get("model") or "")
            self._note_usage(event["message"].get("usage"))
            self._keep_message(event["message"])
        elif kind == "message_delta":
            self._note_usage(event.get("usage"))
            return self._finish(event["delta"], _native(event.get("usage"), _COUNTED))
        elif kind == "message_stop":
            self.answer.has_ended = True
        elif kind == "error":
            raise _error_in_stream(event.get("error") or {})
        return None

    def _delta(self, index: int, delta: Json) -> Content | None:
        kind = delta["type"]
        if kind == "text_delta":
            return _text(delta["text"]) or None
        if kind == "input_json_delta" and self._is_of_a_call(index):
            arguments = _text(delta["partial_json"])
            call = {"index": self._tool_calls[index], "function": {"arguments": arguments}}
            return _choices({"tool_calls": [call]}) if arguments else None
        if kind == "thinking_delta":
            thinking = _text(delta["thinking"])
            return _choices({"reasoning_content": thinking}) if thinking else None
        self._keep_event({"type": "content_block_delta", "delta": delta})
        return None

    def _is_of_a_call(self, index: int) -> bool:
        """Return whether arguments belong to a call of the caller's tools, not to one that Anthropic runs itself."""
        return index in self._tool_calls or not self._keeps_events

    def _block_start(self, index: int, block: Json) -> Content | None:
        before, self._block = self._block, _text(block["type"])
        if self._block == "tool_use":
            number = self._tool_calls[index] = len(self._tool_calls)
            function = {"name": _text(block["name"]), "arguments": ""}
            call = {"index": number, "id": _text(block["id"]), "type": "function", "function": function}
            return _choices({"tool_calls": [call]})
        if self._block == "text":
            if before == "text":
                self._keep_event({"type": "content_block_start", "content_block": {"type": "text", "text": ""}})
            return _text(block.get("text") or "") or None
        self._keep_event({"type": "content_block_start", "content_block": block})
        return None

    def _keep_event(self, event: Json) -> None:
        if self._keeps_events:
            self._pending.append(MessagesEvent(orjson.dumps(event)))

    def _keep_message(self, message: Json) -> None:
        """Keep what only Anthropic says at the start, e.g. the service tier; null says nothing."""
        native, usage = _native(message, _MESSAGE_FIELDS), _native(message.get("usage"), _COUNTED)
        if native or usage:
            self._keep_event({"type": "message_start", "message": {**native, "usage": usage}})

    def _finish(self, delta: Json, usage: Json) -> Content | None:
        """Note how the answer ended; return what is still pending. `usage` is what only Anthropic counts."""
        reason = delta.get("stop_reason")
        if reason is None:
            return None
        known = _NATIVE_FINISH_REASONS if self._keeps_events else _FINISH_REASONS
        if reason not in known:
            raise StreamBroken("the answer ended for a reason that is no end of an answer")
        self.answer.finish_reasons[0] = known[reason]
        details = _native(delta, frozenset({"stop_reason"}))
        if reason not in _PLAIN_ENDS or details or usage:
            self._keep_event({"type": "message_delta", "delta": delta, **({"usage": usage} if usage else {})})
        return self._pending.pop() if self._pending else None

    def _note_usage(self, usage: Json | None) -> None:
        if usage:
            self.answer.usage = self._usage.add(usage)


def _native(fields: Json | None, known: frozenset[str]) -> Json:
    """Return the fields that have a value and are not among the `known` ones."""
    return {name: value for name, value in (fields or {}).items() if value is not None and name not in known}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _choices(delta: Json) -> bytes:
    return orjson.dumps([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])


def _error_in_stream(error: Json) -> ProviderError:
    kind = error.get("type")
    if kind == "rate_limit_error":
        return ProviderRateLimited("the provider is rate-limiting us", retry_after=None)
    if kind in {"overloaded_error", "api_error"}:
        return ProviderUnavailable("the provider reported an error in its stream")
    return StreamBroken("the provider reported an error in its stream")
