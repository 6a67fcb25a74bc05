"""What a request says: the texts, pictures, documents, calls, results and tools in it, whichever contract it is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

Json = dict[str, Any]


def said_in(body: Json) -> list[str]:
    """Return all of it as texts that must stand somewhere in any translation; earlier thoughts are no part of it."""
    return [
        *_contents(body.get("system")),
        *(text for message in body["messages"] for text in _message(message)),
        *(text for tool in body.get("tools") or [] for text in _tool(tool)),
    ]


def _message(message: Json) -> Iterator[str]:
    yield from _contents(message.get("content"))
    for call in message.get("tool_calls") or []:
        yield call["function"]["name"]
        yield from _values(orjson.loads(call["function"]["arguments"]))


def _contents(content: Any) -> Iterator[str]:
    if isinstance(content, str) and content.strip():
        yield content.strip()
    for part in content if isinstance(content, list) else []:
        yield from _part(part)


def _part(part: Json) -> Iterator[str]:
    kind = part.get("type")
    if kind == "text" and part["text"].strip():
        yield part["text"].strip()
    elif kind == "image_url":
        yield part["image_url"]["url"].rpartition(",")[2]
    elif kind == "file":
        yield part["file"]["file_data"].rpartition(",")[2]
    elif kind in ("image", "document"):
        yield part["source"].get("data") or part["source"].get("url")
    elif kind == "tool_use":
        yield part["name"]
        yield from _values(part["input"])
    elif kind == "tool_result":
        yield from _contents(part.get("content"))


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)
    elif isinstance(value, str) and value:
        yield orjson.dumps(value).decode()[1:-1]


def _tool(tool: Json) -> Iterator[str]:
    named = tool.get("function") or tool
    yield named["name"]
    if named.get("description"):
        yield named["description"].strip()
    schema = named.get("parameters") or named.get("input_schema") or {}
    yield from schema.get("properties") or {}
