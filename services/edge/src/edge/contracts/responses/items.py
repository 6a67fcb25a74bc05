"""Input items of the Responses API as the messages of a chat body.

Source: OpenAI API reference, "Create a model response", `input`. No item is lost silently: what cannot be said is
refused by its place, and what has no effect on the answer is noted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from edge.contracts.responses.tools import CUSTOM_INPUT, chat_name
from edge.problems import Problem

Json = dict[str, Any]

_ROLES = frozenset({"user", "assistant", "system", "developer"})
_DETAILS = frozenset({"low", "high", "auto"})
# What only the model that wrote it can read, and calls of tools that OpenAI has run: the text after them says what came
# of it.
_LEFT_OUT = frozenset(
    {"reasoning", "web_search_call", "image_generation_call", "tool_search_call", "tool_search_output"}
)
_MAX_TYPE_CHARACTERS = 50


class ChatMessages:
    """Collects the messages of one request, item by item."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        """The items that are left out, by their places in the request."""
        self._messages: list[Json] = []
        self._pictures: list[Json] = []  # of results of tools, which chat has only as text

    def add(self, items: Iterable[Json], where: str) -> None:
        """Add items; Problem (400) that names the one at fault."""
        for index, item in enumerate(items):
            self._add(item, f"{where}.{index}")

    def close(self) -> list[Json]:
        """Return the messages."""
        self._show_pictures()
        return self._messages

    def _add(self, item: Json, where: str) -> None:
        kind = item.get("type", "message" if "role" in item else None)
        match kind:
            case "function_call_output" | "custom_tool_call_output":
                self._add_result(item, where)
                return
            case str() if kind in _LEFT_OUT:
                self.dropped.append(where)
                return
        self._show_pictures()
        match kind:
            case "message":
                self._add_message(item, where)
            case "function_call":
                self._add_call(item, _text_of(item, "arguments", where) or "{}", where)
            case "custom_tool_call":
                arguments = orjson.dumps({CUSTOM_INPUT: _text_of(item, "input", where)}).decode()
                self._add_call(item, arguments, where)
            case _:
                raise Problem(
                    "unsupported_parameter",
                    f"{where}: items of the type {str(kind)[:_MAX_TYPE_CHARACTERS]!r} cannot be told to a target of"
                    " this gateway",
                    param=where,
                )

    def _add_message(self, item: Json, where: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise _wrong(f"{where}.role", "must be user, assistant, system or developer")
        content = _content(item.get("content"), f"{where}.content")
        if role != "assistant":
            self._messages.append({"role": role, "content": content})
            return
        text = content if isinstance(content, str) else "".join(_spoken(part, where) for part in content)
        message = self._assistant()
        message["content"] = (message["content"] or "") + text

    def _add_call(self, item: Json, arguments: str, where: str) -> None:
        namespace = item.get("namespace")
        name = chat_name(_text_of(item, "name", where), namespace if isinstance(namespace, str) else "")
        call = {"id": _text_of(item, "call_id", where), "type": "function"}
        message = self._assistant()
        message.setdefault("tool_calls", []).append({**call, "function": {"name": name, "arguments": arguments}})

    def _assistant(self) -> Json:
        """Return the turn of the model that is being told: its words and calls are one message."""
        if self._messages and self._messages[-1]["role"] == "assistant":
            return self._messages[-1]
        message: Json = {"role": "assistant", "content": None}
        self._messages.append(message)
        return message

    def _add_result(self, item: Json, where: str) -> None:
        content = _content(item.get("output"), f"{where}.output")
        if not isinstance(content, str):
            texts = [part["text"] for part in content if part["type"] == "text"]
            self._pictures += [part for part in content if part["type"] != "text"]
            content = "\n".join(texts)
        self._messages.append({"role": "tool", "tool_call_id": _text_of(item, "call_id", where), "content": content})

    def _show_pictures(self) -> None:
        """Show what tools have returned besides text, behind all results of a turn."""
        if self._pictures:
            self._messages.append({"role": "user", "content": self._pictures})
            self._pictures = []


def _content(content: object, where: str) -> str | list[Json]:
    """Return a text, or parts where there is more than one text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise _wrong(where, "must be a text or a list of parts")
    parts = [_part(part, f"{where}.{index}") for index, part in enumerate(content)]
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Json, where: str) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": _text_of(part, "text", where)}
        case "refusal":
            return {"type": "text", "text": _text_of(part, "refusal", where)}
        case "input_image":
            return _image(part, where)
        case "input_file":
            return _file(part, where)
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case kind:
            raise _wrong(where, f"parts of the type {str(kind)[:_MAX_TYPE_CHARACTERS]!r} are not known here")


def _image(part: Json, where: str) -> Json:
    url = part.get("image_url")
    if not isinstance(url, str):
        raise _unknown_file(f"{where}.file_id", "image_url")
    image: Json = {"url": url}
    if part.get("detail") in _DETAILS:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Json, where: str) -> Json:
    data = part.get("file_data")
    if not isinstance(data, str):
        name = "file_url" if isinstance(part.get("file_url"), str) else "file_id"
        raise _unknown_file(f"{where}.{name}", "file_data")
    file: Json = {"file_data": data}
    if isinstance(part.get("filename"), str):
        file["filename"] = part["filename"]
    return {"type": "file", "file": file}


def _unknown_file(where: str, instead: str) -> Problem:
    message = f"{where}: this gateway keeps no files and fetches none; send the content as {instead}"
    return Problem("unsupported_parameter", message, param=where)


def _spoken(part: Json, where: str) -> str:
    if part["type"] != "text":
        raise _wrong(f"{where}.content", "the model's own messages have only text here")
    text: str = part["text"]
    return text


def _text_of(item: Json, name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{where}.{name}", "must be a text")
    return value


def _wrong(where: str, what: str) -> Problem:
    return Problem("invalid_request", f"{where}: {what}", param=where)
