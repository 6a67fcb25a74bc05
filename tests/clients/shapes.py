"""What is kept of a recorded request: its fields, types, names and structure, with short texts of our own in it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import orjson

from .recorder import Recorded
from .samples import OURS, PDF, PIXEL

Json = dict[str, Any]

# Short words without a space are names, ids and values that mean something; whatever is longer is somebody's text.
_WORD = re.compile(r"[\w.:/@+$#*,=|-]{1,64}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{32,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\n]{60,}")
_DATA_URL = re.compile(r"data:([\w/+.-]+);base64,")
_MAX_NAMES = 4
_ABOUT = frozenset({"description", "title"})
_HEADERS = ("anthropic-version", "anthropic-beta", "content-type", "accept", "user-agent", "x-app")
_KEYS = ("authorization", "x-api-key")
_FILES = {"application/pdf": PDF}


def shape_of(recorded: Recorded, home: str) -> Json:
    """Return a request as it is committed; `home` is the folder of the clients on this machine."""
    headers = {name: _word(value) for name, value in recorded.headers.items() if name in _HEADERS}
    keys = [name for name in _KEYS if name in recorded.headers]
    shape: Json = {
        "case": recorded.case,
        "path": recorded.path,
        "query": recorded.query,
        "headers": headers,
        "key_in": keys,
    }
    if recorded.body is not None:
        body = orjson.loads(orjson.dumps(recorded.body).replace(home.encode(), b"/clients"))
        if body.get("tools"):
            body["tools"] = _kinds_of_tools(body)
        shape["body"] = _Shortener().shorten(body)
    return shape


def _word(value: str) -> str:
    return _UUID.sub("00000000-0000-4000-8000-000000000000", value)


def _kinds_of_tools(body: Json) -> list[Json]:
    """Return those tools that have a keyword which those before had not, and those that are called."""
    called = orjson.dumps(body.get("messages")) + orjson.dumps(body.get("tool_choice"))
    seen: set[str] = set()
    kept = []
    for tool in body["tools"]:
        keywords = _keywords(tool)
        name = tool.get("name") or tool.get("function", {}).get("name") or "?"
        if not keywords <= seen or f'"name":"{name}"'.encode() in called:
            kept.append(tool)
        seen |= keywords
    return kept


def _keywords(value: Any) -> set[str]:
    """Return the keys at any depth, with the value's type; names of properties are no keywords."""
    if isinstance(value, list):
        return {word for each in value for word in _keywords(each)}
    if not isinstance(value, dict):
        return set()
    found = {f"{name}:{type(each).__name__}" for name, each in value.items()}
    for name, each in value.items():
        is_map = name in ("properties", "$defs", "definitions") and isinstance(each, dict)
        found |= _keywords(list(each.values()) if is_map else each)
    return found


class _Shortener:
    """Replaces the texts of one body, each by another one, so that none can be taken for another."""

    def __init__(self) -> None:
        self._texts = 0

    def shorten(self, value: Any, name: str = "", kind: str = "") -> Any:
        """Return `value`, which stands under `name`, beside the media type `kind`, with our texts."""
        if isinstance(value, dict):
            return self._object(value, name)
        if isinstance(value, list):
            items = value[:_MAX_NAMES] if name in ("enum", "required") else value
            return [self.shorten(each, name, kind) for each in items]
        return self._text(value, name, kind) if isinstance(value, str) else value

    def _object(self, value: Mapping[str, Any], name: str) -> Json:
        kind = str(value.get("media_type", ""))
        names = list(value)
        if name == "properties":
            names = names[:_MAX_NAMES]
        shortened = {each: self.shorten(value[each], each, kind) for each in names}
        # What is required must still be there.
        if isinstance(shortened.get("properties"), dict) and isinstance(shortened.get("required"), list):
            required = [each for each in value["required"] if each in shortened["properties"]]
            shortened["required"] = required
        return shortened

    def _text(self, text: str, name: str, kind: str) -> str:
        url = _DATA_URL.match(text)
        if url:
            return url[0] + _file(url[1])
        if kind and name == "data" and _BASE64.fullmatch(text):
            return _file(kind)
        if text in OURS or not text.strip():
            return text
        if text.startswith("{") and text.endswith("}"):
            return self._json(text, name)
        if _WORD.fullmatch(text) and name not in ("text", "content", *_ABOUT):
            return _HEX.sub(lambda found: "0" * len(found[0]), _word(text))
        return self._replaced(text, name)

    def _json(self, text: str, name: str) -> str:
        try:
            return orjson.dumps(self.shorten(orjson.loads(text))).decode()
        except orjson.JSONDecodeError:
            return self._replaced(text, name)

    def _replaced(self, text: str, name: str) -> str:
        if name in _ABOUT:
            return "What it is for."
        self._texts += 1
        wants_json = " Answer in JSON." if "json" in text.lower() else ""
        end = text[len(text.rstrip()) :][:1]
        return f"Text {self._texts} of the client.{wants_json}{end}"


def _file(kind: str) -> str:
    return base64.b64encode(_FILES.get(kind, PIXEL)).decode()
