"""Chunks of an answer put together again: for clients that want it whole, and for tool calls that came in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

Json = dict[str, Any]

# A larger index is a provider's mistake, and would be filled up with that many empty calls.
_MAX_TOOL_CALLS = 1000
_CHOICE_FIELDS = frozenset({"index", "delta", "logprobs", "finish_reason"})
_CALL_FIELDS = frozenset({"index", "id", "type", "function", "custom"})
_PIECE_TEXTS = ("text", "summary", "data")
_JOINED_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


class MalformedChunk(Exception):
    """A provider's chunk that cannot be put together with the others."""


class MessagesEvent(bytes):
    """A chunk that only the Messages API can say: one of its events as JSON, without `index`."""

    __slots__ = ()


def assemble(chunks: Iterable[str | bytes], choices: int) -> list[Json]:
    """Return `choices` choices as `{"message": ..., "logprobs": ...}`, in OpenAI's shape, by index.

    What only its engine says of a choice stands beside these two, e.g. vLLM's `stop_reason` and `token_ids`. A chunk is
    text of choice 0 or the `choices` array of an OpenAI chunk as JSON; a `MessagesEvent` adds to no choice.
    MalformedChunk when it is something else.
    """
    try:
        return _assemble(chunks, choices)
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        raise MalformedChunk("a chunk of the answer has the wrong shape") from error


def _assemble(chunks: Iterable[str | bytes], choices: int) -> list[Json]:
    messages: list[Json] = [{"role": "assistant", "content": None, "refusal": None} for _ in range(choices)]
    logprobs: list[Json | None] = [None] * choices
    texts: list[list[str]] = [[] for _ in range(choices)]
    fields: list[Json] = [{} for _ in range(choices)]
    for chunk in chunks:
        if isinstance(chunk, str):
            texts[0].append(chunk)
            continue
        if isinstance(chunk, MessagesEvent):
            continue
        for choice in orjson.loads(chunk):
            index = choice["index"]
            if 0 <= index < choices:
                _add_delta(messages[index], texts[index], choice.get("delta") or {})
                logprobs[index] = _joined_logprobs(logprobs[index], choice.get("logprobs"))
                if not _CHOICE_FIELDS.issuperset(choice):
                    _add_fields(fields[index], choice)
    for message, pieces in zip(messages, texts, strict=True):
        if pieces:
            message["content"] = "".join(pieces)
    return [
        {"message": message, "logprobs": lp, **more}
        for message, lp, more in zip(messages, logprobs, fields, strict=True)
    ]


def _add_fields(fields: Json, choice: Json) -> None:
    """Add what only its engine says of a choice; lists grow in place, as there is one for each token of an answer."""
    for name in choice.keys() - _CHOICE_FIELDS:
        known, more = fields.get(name), choice[name]
        if isinstance(known, list) and isinstance(more, list):
            known.extend(more)
        elif more is not None:
            fields[name] = _joined(known, more)


def _add_delta(message: Json, texts: list[str], delta: Json) -> None:
    for name, value in delta.items():
        if value is None or name == "role":
            continue
        if name == "content":
            texts.append(value)
        elif name in _JOINED_TEXTS:
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            _add_tool_calls(message.setdefault("tool_calls", []), value)
        elif name == "function_call":
            _join_texts(message.setdefault("function_call", {}), value)
        elif name == "audio":
            _join_audio(message.setdefault("audio", {}), value)
        else:
            message[name] = _joined(message.get(name), value)


def _joined(known: Any, more: Any) -> Any:
    """Join two values of a field that only its vendor knows: lists and objects grow, of all else the newest counts.

    OpenRouter's `reasoning_details` come in pieces that have an index; those of one index become one again.
    """
    if isinstance(known, dict) and isinstance(more, dict):
        return known | {name: _joined(known.get(name), value) for name, value in more.items() if value is not None}
    if not isinstance(known, list) or not isinstance(more, list):
        return more
    items = list(known)
    for item in more:
        last = items[-1] if items else None
        if isinstance(item, dict) and isinstance(last, dict) and _is_same_piece(last, item):
            items[-1] = _joined_piece(last, item)
        else:
            items.append(item)
    return items


def _is_same_piece(one: Json, other: Json) -> bool:
    return isinstance(one.get("index"), int) and [one["index"], one.get("type")] == [
        other.get("index"),
        other.get("type"),
    ]


def _joined_piece(piece: Json, more: Json) -> Json:
    texts = {name: piece[name] + more[name] for name in _PIECE_TEXTS if piece.get(name) and more.get(name)}
    return piece | {name: value for name, value in more.items() if value is not None} | texts


def _add_tool_calls(calls: list[Json], fragments: list[Json]) -> None:
    for fragment in fragments:
        index = fragment.get("index", 0)
        if not 0 <= index < _MAX_TOOL_CALLS:
            raise ValueError("the index of a tool call is out of bounds")
        while len(calls) <= index:
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = calls[index]
        call["id"] = fragment.get("id") or call["id"]
        call["type"] = fragment.get("type") or call["type"]
        if custom := fragment.get("custom"):  # OpenAI's tools whose input is any text
            call.pop("function", None)
            _join_texts(call.setdefault("custom", {"name": "", "input": ""}), custom)
        elif "function" in call:
            _join_texts(call["function"], fragment.get("function") or {})
        for name in fragment.keys() - _CALL_FIELDS:
            call[name] = _joined(call.get(name), fragment[name])


def _join_texts(function: Json, fragment: Json) -> None:
    for name in ("name", "arguments", "input"):
        if fragment.get(name):
            function[name] = function.get(name, "") + fragment[name]


def _join_audio(audio: Json, fragment: Json) -> None:
    for name, value in fragment.items():
        audio[name] = audio.get(name, "") + value if name in {"data", "transcript"} else value


def _joined_logprobs(known: Json | None, more: Json | None) -> Json | None:
    if known is None or more is None:
        return more if known is None else known
    return {name: (known.get(name) or []) + (more.get(name) or []) for name in known | more}
