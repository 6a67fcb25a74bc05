"""A body of the Anthropic Messages API as a plain OpenAI chat body, for targets that do not speak this contract.

What OpenAI's contract cannot express is left out. If that would change the answer, the field is reported under the
client's name for it, and targets that need the translation are not asked. See docs/adr/0008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from edge.problems import Problem

Json = dict[str, Any]

_TRANSLATED = frozenset(
    {
        *("model", "stream", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences"),
        *("tools", "tool_choice", "metadata", "output_config"),
    }
)
# They change the price of an answer, its speed or what is reported about it, not the answer itself.
_WITHOUT_EFFECT = frozenset(
    {"cache_control", "citations", "diagnostics", "eager_input_streaming", "service_tier", "speed"}
)
# These two request no more thinking than a target does by default.
_THINKING_WITHOUT_EFFECT = frozenset({"adaptive", "disabled"})
# Only the model that wrote them can read them, and requests are valid without them.
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# OpenAI refuses a longer `user`; clients of the Messages API send longer ones.
_MAX_USER_CHARACTERS = 64
# The router reports the name in gRPC's metadata, which has a limit; a client may name a field as it likes.
_MAX_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Translation:
    """A plain OpenAI chat body, and what it cannot express."""

    body: Json
    untranslatable: tuple[str, ...]
    """The fields whose loss would change the answer, by the client's names."""


def translate(body: Json) -> Translation:
    """Translate a body whose top level has been validated. Problem (400) names a malformed block."""
    lost: list[str] = []
    translated: Json = {"messages": _messages(body, lost), "max_completion_tokens": body["max_tokens"]}
    if not body["max_tokens"]:
        lost.append("max_tokens")
    same = ("temperature", "top_p")
    translated |= {name: body[name] for name in same if body.get(name) is not None}
    if body.get("stop_sequences"):
        translated["stop"] = body["stop_sequences"]
    _note_native_fields(body, lost)
    if body.get("tools"):
        translated |= _tools(body["tools"], body.get("tool_choice"), lost)
    translated |= _user_of(body.get("metadata"))
    translated |= _output_config(body.get("output_config"), lost)
    return Translation(translated, tuple(lost))


def _note_native_fields(body: Json, lost: list[str]) -> None:
    """Add the fields that only Anthropic has to `lost`."""
    for name, value in body.items():
        if name in _TRANSLATED or name in _WITHOUT_EFFECT or value is None:
            continue
        if name != "thinking" or str(value.get("type")) not in _THINKING_WITHOUT_EFFECT:
            lost.append(name[:_MAX_NAME_CHARACTERS])


def _user_of(metadata: Json | None) -> Json:
    user = (metadata or {}).get("user_id")
    return {"user": user} if isinstance(user, str) and len(user) <= _MAX_USER_CHARACTERS else {}


def _output_config(config: Json | None, lost: list[str]) -> Json:
    translated: Json = {}
    for name, value in (config or {}).items():
        if name == "effort" and isinstance(value, str):
            translated["reasoning_effort"] = value
        elif name == "format" and _is_schema(value):
            schema = {"name": "answer", "schema": value["schema"], "strict": True}
            translated["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif value is not None:
            lost.append(f"output_config.{name}"[:_MAX_NAME_CHARACTERS])
    return translated


def _is_schema(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"type", "schema"} and value["type"] == "json_schema"


def _tools(tools: list[Json], choice: Json | None, lost: list[str]) -> Json:
    translated = [_tool(tool, f"tools.{index}", lost) for index, tool in enumerate(tools)]
    known = [tool for tool in translated if tool is not None]
    chosen = _tool_choice(choice, lost)
    return {"tools": known, **chosen} if known else {}


def _tool_choice(choice: Json | None, lost: list[str]) -> Json:
    if choice is None:
        return {}
    kind = choice.get("type")
    if kind == "tool":
        name = _text_of(choice, "name", "tool_choice")
        translated: Json = {"tool_choice": {"type": "function", "function": {"name": name}}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        translated = {"tool_choice": _TOOL_CHOICES[kind]}
    else:
        raise _wrong("tool_choice.type", "must be auto, any, tool or none")
    alone = choice.get("disable_parallel_tool_use")
    if isinstance(alone, bool):
        translated["parallel_tool_calls"] = not alone
    _note_rest(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice", lost)
    return translated


def _tool(tool: Json, where: str, lost: list[str]) -> Json | None:
    if tool.get("type") is not None and tool["type"] != "custom":
        lost.append(where)
        return None
    function: Json = {"name": _text_of(tool, "name", where)}
    if not isinstance(tool.get("input_schema"), dict):
        raise _wrong(f"{where}.input_schema", "must be a JSON schema")
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = tool["input_schema"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    _note_rest(tool, {*function, "input_schema", "type"}, where, lost)
    return {"type": "function", "function": function}


def _messages(body: Json, lost: list[str]) -> list[Json]:
    messages: list[Json] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _content(body["system"], "system", lost)})
    for index, turn in enumerate(body["messages"]):
        messages += _turn(turn, f"messages.{index}", lost)
    return messages


def _turn(turn: Json, where: str, lost: list[str]) -> list[Json]:
    """Return the messages of one turn."""
    role, content = turn["role"], turn["content"]
    if role == "assistant" and not isinstance(content, str):
        messages = [_assistant(content, f"{where}.content", lost)]
    elif role == "user" and not isinstance(content, str):
        messages = _user(content, f"{where}.content", lost)
    else:
        messages = [{"role": role, "content": _content(content, f"{where}.content", lost)}]
    _note_rest(turn, {"role", "content"}, where, lost)
    return messages


def _user(blocks: list[Json], where: str, lost: list[str]) -> list[Json]:
    """Return one message for each tool result and one for the blocks between two results."""
    messages: list[Json] = []
    parts: list[Json] | None = None
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_result":
            messages.append(_tool_result(block, place, lost))
            parts = None
            continue
        if parts is None:
            parts = []
            messages.append({"role": "user", "content": parts})
        parts += _parts(block, place, lost)
    for message in messages:
        message["content"] = message["content"] or ""
    return messages or [{"role": "user", "content": ""}]


def _tool_result(block: Json, where: str, lost: list[str]) -> Json:
    identity = _text_of(block, "tool_use_id", where)
    content = _result_content(block.get("content"), f"{where}.content", lost)
    if block.get("is_error"):
        content = _as_failure(content)
    _note_rest(block, {"type", "tool_use_id", "content", "is_error"}, where, lost)
    return {"role": "tool", "tool_call_id": identity, "content": content}


def _result_content(content: object, where: str, lost: list[str]) -> str | list[Json]:
    """Return the content of a tool result; OpenAI's contract allows only text there."""
    if content is None:
        return ""
    translated = _content(content, where, lost)
    if isinstance(content, list):
        lost += [f"{where}.{index}" for index, part in enumerate(content) if part.get("type") == "image"]
    if isinstance(translated, list):
        translated = [part for part in translated if part["type"] == "text"]
    return translated or ""


def _as_failure(content: str | list[Json]) -> str | list[Json]:
    """Mark the result of a failed tool with a text, because only Anthropic has a flag for it."""
    if isinstance(content, str):
        return f"Error: {content}"
    return [{"type": "text", "text": "Error:"}, *content]


def _assistant(blocks: list[Json], where: str, lost: list[str]) -> Json:
    """Return one message: the text first, then all tool calls."""
    parts: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_use":
            calls.append(_tool_call(block, place, lost))
        else:
            parts += _parts(block, place, lost)
    if calls:
        return {"role": "assistant", "content": parts or None, "tool_calls": calls}
    return {"role": "assistant", "content": parts or ""}


def _tool_call(block: Json, where: str, lost: list[str]) -> Json:
    if not isinstance(block.get("input"), dict):
        raise _wrong(f"{where}.input", "must be a JSON object")
    function = {"name": _text_of(block, "name", where), "arguments": orjson.dumps(block["input"]).decode()}
    _note_rest(block, {"type", "id", "name", "input"}, where, lost)
    return {"id": _text_of(block, "id", where), "type": "function", "function": function}


def _content(content: object, where: str, lost: list[str]) -> str | list[Json]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise _wrong(where, "must be a text or a list of content blocks")
    parts: list[Json] = []
    for index, block in enumerate(content):
        parts += _parts(block, f"{where}.{index}", lost)
    return parts or ""


def _parts(block: Json, where: str, lost: list[str]) -> list[Json]:
    """Return the part of a message that a content block corresponds to; an empty list when there is none."""
    kind = _text_of(block, "type", where)
    if kind == "text":
        text = _text_of(block, "text", where)
        _note_rest(block, {"type", "text"}, where, lost)
        return [{"type": "text", "text": text}]
    if kind == "image" and (url := _image_url(block.get("source"))):
        _note_rest(block, {"type", "source"}, where, lost)
        return [{"type": "image_url", "image_url": {"url": url}}]
    if kind in {"tool_use", "tool_result"}:
        raise _wrong(where, f"a {kind} does not belong here")
    if kind not in _THOUGHTS:
        lost.append(where)
    return []


def _image_url(source: object) -> str | None:
    """Return the URL of an image, a data URL for inline bytes; None when OpenAI does not know this kind of source."""
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data), **rest} if not rest:
            return f"data:{media_type};base64,{data}" if ";" not in media_type else None
        case {"type": "url", "url": str(url), **rest} if not rest:
            return url if not url.startswith("data:") else None
        case _:
            return None


def _note_rest(block: Json, known: set[str], where: str, lost: list[str]) -> None:
    """Add the fields of `block` that are not `known` and would change the answer to `lost`."""
    for name, value in block.items():
        is_direct = name == "caller" and value == {"type": "direct"}
        if name not in known and name not in _WITHOUT_EFFECT and value is not None and not is_direct:
            lost.append(f"{where}.{name}"[:_MAX_NAME_CHARACTERS])


def _text_of(block: Json, name: str, where: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{where}.{name}", "must be a text")
    return value


def _wrong(where: str, what: str) -> Problem:
    return Problem("invalid_request", f"{where}: {what}", param=where)
