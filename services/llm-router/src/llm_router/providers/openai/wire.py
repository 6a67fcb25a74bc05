"""The OpenAI chat stream, read chunk by chunk: for the providers `openai` and `vllm`."""

from __future__ import annotations

from typing import Any

import orjson

from llm_router.errors import ContextTooLong, ProviderError, ProviderRateLimited, ProviderUnavailable, StreamBroken
from llm_router.providers.provider import Answer, Content
from llm_router.providers.usage import read_usage
from spillway.router.v1 import router_pb2 as routerpb

_FINISH_REASONS = {
    "stop": routerpb.FINISH_REASON_STOP,
    "length": routerpb.FINISH_REASON_LENGTH,
    "content_filter": routerpb.FINISH_REASON_CONTENT_FILTER,
    "tool_calls": routerpb.FINISH_REASON_TOOL_CALL,
    "function_call": routerpb.FINISH_REASON_TOOL_CALL,
}

# What is read here, or written anew by the edge; `obfuscation` is padding.
_CHUNK_FIELDS = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "error", "obfuscation"}
)
_MAX_FIELDS = 50
_PLAIN_FIELDS = frozenset({"index", "delta", "finish_reason"})
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_MAX_TOOL_CALLS = 1000


class OpenAIWire:
    """Reads `chat.completion.chunk` events of one answer."""

    def __init__(self, choices: int) -> None:
        """`choices` is how many the request asked for (`n`)."""
        self.answer = Answer(choices=choices)

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event; see `Wire.read`."""
        if data == b"[DONE]":
            self.answer.has_ended = True
            return []
        chunk = _parse(data)
        if chunk.get("error"):
            raise error_in_stream(chunk["error"])
        self._note(chunk)
        try:
            return [content for choice in chunk.get("choices") or () if (content := self._content(choice)) is not None]
        except (TypeError, AttributeError, KeyError) as error:
            raise StreamBroken("a chunk of the stream has the wrong shape") from error

    def _note(self, chunk: dict[str, Any]) -> None:
        if not self.answer.response_model and isinstance(chunk.get("model"), str):
            self.answer.response_model = chunk["model"]
            self.answer.system_fingerprint = str(chunk.get("system_fingerprint") or "")
        if more := chunk.keys() - _CHUNK_FIELDS:
            self._note_fields(chunk, more)
        if chunk.get("usage"):
            self.answer.usage = read_usage(chunk["usage"])

    def _note_fields(self, chunk: dict[str, Any], names: set[str]) -> None:
        fields = self.answer.fields
        for name in names:
            if chunk[name] is not None and (name in fields or len(fields) < _MAX_FIELDS):
                fields[name] = chunk[name]

    def _content(self, choice: dict[str, Any]) -> Content | None:
        """Return what `choice` adds to the answer; None for a role, an empty text, a mere finish."""
        index = choice["index"]
        if not isinstance(index, int) or not 0 <= index < self.answer.choices:
            raise TypeError("index")
        reason = choice.get("finish_reason")
        if reason is not None:
            self._finish(index, reason)
        delta = choice.get("delta") or {}
        text = delta.get("content")
        has_more = _has_more(choice)
        if index == 0 and text and len(delta) <= 1 + ("role" in delta) and not has_more:
            if not isinstance(text, str):
                raise TypeError("content")
            return text
        has_words = any(value for key, value in delta.items() if key != "role")
        if has_words or choice.get("logprobs") or (has_more and reason is not None):
            _check_delta(delta)
            return orjson.dumps([{**choice, "finish_reason": None}])
        return None

    def _finish(self, index: int, reason: str) -> None:
        known = _FINISH_REASONS.get(reason)
        if known is None:
            raise StreamBroken("the answer ended for a reason that is no end of an answer")
        self.answer.finish_reasons[index] = known


def _has_more(choice: dict[str, Any]) -> bool:
    """Tell whether `choice` has more than text and finish reason: probabilities, or what only its engine knows."""
    return any(value is not None for name, value in choice.items() if name not in _PLAIN_FIELDS)


def _check_delta(delta: dict[str, Any]) -> None:
    """Refuse a delta that could not be assembled, while another target may still answer."""
    for name in _TEXTS:
        if not isinstance(delta.get(name), str | None):
            raise TypeError(name)
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        if not isinstance(call.get("index", 0), int) or not 0 <= call.get("index", 0) < _MAX_TOOL_CALLS:
            raise TypeError("tool_calls")
        if not all(isinstance(function.get(name), str | None) for name in ("name", "arguments")):
            raise TypeError("tool_calls")


def _parse(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StreamBroken("a chunk of the stream is not JSON") from error
    if not isinstance(chunk, dict):
        raise StreamBroken("a chunk of the stream is not an object")
    return chunk


def error_in_stream(error: Any) -> ProviderError:
    """Read the `error` object of a reply that began with status 200."""
    kinds = {str(error.get("code")), str(error.get("type"))} if isinstance(error, dict) else set()
    if "context_length_exceeded" in kinds:
        return ContextTooLong("the prompt is longer than the target's context")
    if kinds & {"429", "rate_limit_exceeded", "rate_limit_error"}:
        return ProviderRateLimited("the provider is rate-limiting us", retry_after=None)
    if kinds & {"500", "502", "503", "server_error", "overloaded"}:
        return ProviderUnavailable("the provider reported an error in its stream")
    return StreamBroken("the provider reported an error in its stream")
