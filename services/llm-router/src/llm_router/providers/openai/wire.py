"""The OpenAI chat stream, read chunk by chunk: for the providers `openai` and `vllm`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import orjson

from llm_router.errors import StreamBroken
from llm_router.providers.events import MAX_NAME_CHARACTERS, named, parse_event
from llm_router.providers.numbers import whole_number
from llm_router.providers.openai.delta import is_nothing, read_delta
from llm_router.providers.openai.tool_calls import ToolCalls
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.provider import Answer, Content
from llm_router.providers.stream_error import read_stream_error
from llm_router.providers.tool_names import ToolNames
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

_GOOGLES_FILTERS = (
    *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
    *("image_safety", "image_recitation", "image_prohibited_content"),
)
# OpenAI's own words, and those of engines and vendors who say the same in others: docs/compatibility.md.
_FINISH_REASONS = {
    "stop": routerpb.FINISH_REASON_STOP,
    "stop_sequence": routerpb.FINISH_REASON_STOP,
    "eos": routerpb.FINISH_REASON_STOP,
    "eos_token": routerpb.FINISH_REASON_STOP,
    "end_turn": routerpb.FINISH_REASON_STOP,
    "length": routerpb.FINISH_REASON_LENGTH,
    "max_tokens": routerpb.FINISH_REASON_LENGTH,
    "model_length": routerpb.FINISH_REASON_LENGTH,
    "content_filter": routerpb.FINISH_REASON_CONTENT_FILTER,
    **dict.fromkeys(_GOOGLES_FILTERS, routerpb.FINISH_REASON_CONTENT_FILTER),
    "tool_calls": routerpb.FINISH_REASON_TOOL_CALL,
    "tool_call": routerpb.FINISH_REASON_TOOL_CALL,
    "tool_use": routerpb.FINISH_REASON_TOOL_CALL,
    "function_call": routerpb.FINISH_REASON_TOOL_CALL,
}

# What is read here, or written anew by the edge; `obfuscation` is padding.
_CHUNK_FIELDS = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "error", "obfuscation"}
)
_PLAIN_FIELDS = frozenset({"index", "delta", "message", "finish_reason"})
_EMPTY: tuple[object, ...] = ("", [], {})


class OpenAIWire:
    """Reads `chat.completion.chunk` events of one answer, or the one `chat.completion` of a whole one."""

    def __init__(
        self,
        choices: int,
        tools: Mapping[str, bool] = MappingProxyType({}),
        *,
        has_functions: bool = True,
        usage: OpenAIUsage | None = None,
        names: ToolNames | None = None,
    ) -> None:
        """`choices` is how many the request asked for (`n`), `tools` what it lets the model call: see `ToolCalls`.

        `has_functions`: its sender reads OpenAI's calls of before there were tools, which are tool calls otherwise.
        `usage` counts as the vendor of the target does, `names` knows what the caller calls the tools.
        """
        self._usage = usage or OpenAIUsage()
        self._tier: object = None
        self.answer = Answer(choices=choices, counting=self._usage)
        self._tools = tools
        self._names = names or ToolNames()
        self._has_functions = has_functions
        self._calls: dict[int, ToolCalls] = {}  # of each choice that has some
        self._functions: set[int] = set()  # choices whose call is one of before there were tools
        self._has_text = False  # choice 0 had plain text
        self._begun: set[int] = set()  # choices that had other content

    def read(self, data: bytes) -> list[Content]:
        """Take the data of one event; see `Wire.read`."""
        if data == b"[DONE]":
            last = self.end()
            self.answer.has_ended = True  # not before: an answer that is unfinished has no end
            return last
        chunk = parse_event(data)
        if chunk.get("error"):
            raise read_stream_error(chunk)
        self._note(chunk, len(data))
        choices = chunk.get("choices")
        if not choices:
            if chunk.get("object") == "error" or (chunk.get("message") and chunk.get("code")):
                raise read_stream_error(chunk)  # without an `error` around it, as older versions of vLLM and gateways
            return []
        if not isinstance(choices, list):
            raise StreamBroken("the choices of a chunk are not a list")
        contents: list[Content] = []
        try:
            for place, choice in enumerate(choices):
                content = self._content(choice, place) if choice else None
                if content is not None:
                    contents.append(content)
        except (TypeError, AttributeError, KeyError) as error:
            raise StreamBroken("a chunk of the stream has the wrong shape") from error
        return contents

    def end(self) -> list[Content]:
        """Return what is due when nothing more comes; see `Wire.end`."""
        contents: list[Content] = []
        for index, calls in self._calls.items():
            delta = self._called(index, calls.end())
            if delta:
                contents.append(_choices(index, delta))
        for index, reason in self.answer.finish_reasons.items():
            has_calls = index in self._calls and self._calls[index].are_delivered
            if has_calls and reason == routerpb.FINISH_REASON_STOP:
                self.answer.finish_reasons[index] = routerpb.FINISH_REASON_TOOL_CALL
            elif not has_calls and reason == routerpb.FINISH_REASON_TOOL_CALL:
                self.answer.finish_reasons[index] = routerpb.FINISH_REASON_STOP
        return contents

    def _note(self, chunk: Json, event_bytes: int) -> None:
        answer = self.answer
        if not answer.response_model and isinstance(chunk.get("model"), str):
            answer.response_model = chunk["model"][:MAX_NAME_CHARACTERS]
        if not answer.system_fingerprint and isinstance(chunk.get("system_fingerprint"), str):
            answer.system_fingerprint = chunk["system_fingerprint"][:MAX_NAME_CHARACTERS]
        if not _CHUNK_FIELDS.issuperset(chunk):
            self._note_fields(chunk, chunk.keys() - _CHUNK_FIELDS, event_bytes)
        usage = chunk.get("usage")
        if usage:
            self._usage.add(usage)
            answer.has_trailer = not chunk.get("choices") and answer.is_whole

    def _note_fields(self, chunk: Json, names: set[str], event_bytes: int) -> None:
        for name in names:
            if chunk[name] is not None:
                self.answer.keep_field(name, chunk[name], event_bytes)
        tier = chunk.get("service_tier")
        if tier is not None and tier != self._tier:
            self._tier = tier if isinstance(tier, str) and len(tier) <= MAX_NAME_CHARACTERS else None
            self._usage.note_tier(tier)
        elif "x_groq" in chunk and not chunk.get("usage") and (usage := _usage_of_groq(chunk["x_groq"])):
            self._usage.add(usage)

    def _content(self, choice: Json, place: int) -> Content | None:
        """Return what `choice` adds to the answer; None for a role, an empty text, a mere finish."""
        index = choice.get("index")
        if type(index) is not int:
            index = self._index(index, place)
        if not 0 <= index < self.answer.choices:
            raise StreamBroken("a chunk belongs to a choice that was not asked for")
        reason = choice.get("finish_reason")
        delta = choice.get("delta")
        if not delta:
            delta = self._message(choice, index)
        text = delta.get("content")
        has_more = _has_more(choice)
        content: Content | None
        if index == 0 and text and isinstance(text, str) and len(delta) <= 1 + ("role" in delta) and not has_more:
            content, self._has_text = text, True
        else:
            content = self._unlike_text(choice, index, delta, has_more=has_more)
        if content is not None and self.answer.finish_reasons:
            self.answer.add_after_end(index)
        if reason:
            self._finish(index, reason, choice)
            if choice.get("usage"):  # Moonshot's place for it
                self._usage.add(choice["usage"])
        return content

    def _index(self, index: Any, place: int) -> int:
        """Read an index that is no plain number; one that is missing is the place in the list."""
        if is_nothing(index):
            return place
        number = whole_number(index)
        if number is None:
            raise StreamBroken("the index of a choice is no number")
        return number

    def _message(self, choice: Json, index: int) -> Any:
        """Return the message of a choice that comes whole; beside deltas a message only repeats them."""
        has_deltas = index in self._begun or (index == 0 and self._has_text)
        return {} if has_deltas else choice.get("message") or {}

    def _unlike_text(self, choice: Json, index: int, delta: Any, *, has_more: bool) -> Content | None:
        """Return what a choice adds that is not, or not visibly, mere text of choice 0."""
        known = read_delta(delta)
        role = known.pop("role", None)
        fragments, call = known.pop("tool_calls", None), known.pop("function_call", None)
        if fragments or call:
            known |= self._take_calls(index, fragments, call)
        if known:
            self._begun.add(index)
        if index == 0 and not has_more and known.keys() == {"content"}:
            return str(known["content"])
        if any(known.values()) or choice.get("logprobs") or (has_more and choice.get("finish_reason")):
            more = {name: value for name, value in choice.items() if name not in _PLAIN_FIELDS}
            named_role = {"role": role} if role else {}
            return _choices(index, named_role | known, more)
        return None

    def _take_calls(self, index: int, fragments: Any, function: Any) -> Json:
        """Return the field of a delta for fragments of tool calls, or for one of a call of before there were tools."""
        calls = self._calls.setdefault(index, ToolCalls(self._tools))
        if fragments:
            return self._called(index, calls.take(fragments))
        if self._has_functions:
            self._functions.add(index)
        return self._called(index, calls.take([{"id": self._function_id, "function": function}]))

    def _called(self, index: int, fragments: list[Json]) -> Json:
        """Return the field of a delta for these fragments of calls; none when there are none."""
        if not fragments:
            return {}
        for fragment in fragments:
            called = fragment.get("function") or {}
            if called.get("name"):
                called["name"] = self._names.original(called["name"])
        if index not in self._functions:
            return {"tool_calls": fragments}
        function: Json = {}
        for fragment in fragments:
            function |= {name: function.get(name, "") + text for name, text in fragment["function"].items()}
        return {"function_call": function}

    @cached_property
    def _function_id(self) -> str:
        """An id for a call of before there were tools, which has none."""
        return f"call_{secrets.token_hex(12)}"

    def _finish(self, index: int, reason: Any, choice: Json) -> None:
        # Google's endpoint may add its own reason behind a colon.
        known = _FINISH_REASONS.get(reason.lower().partition(":")[0]) if isinstance(reason, str) else None
        if known is not None:
            self.answer.finish(index, known)
            return
        if isinstance(choice.get("error"), dict):
            raise read_stream_error(choice)
        raise StreamBroken(f"the answer ended for a reason that is no end of an answer{named(reason)}")


def _usage_of_groq(more: object) -> object:
    """Return the usage that Groq puts beside what OpenAI's contract has."""
    return more.get("usage") if isinstance(more, dict) else None


def _has_more(choice: Json) -> bool:
    """Tell whether `choice` has more than its delta and finish reason; in a loop, as this is done for every chunk."""
    for name, value in choice.items():
        if value is not None and name not in _PLAIN_FIELDS and value not in _EMPTY:
            return True
    return False


def _choices(index: int, delta: Json, more: Json | None = None) -> bytes:
    return orjson.dumps([{"index": index, "delta": delta, **(more or {}), "finish_reason": None}])
