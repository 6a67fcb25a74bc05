"""What a delta adds, in the shape that OpenAI itself would give it: for all but plain text, which needs no look."""

from __future__ import annotations

from typing import Any

from llm_router.errors import StreamBroken

Json = dict[str, Any]

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_THOUGHTS = frozenset({"thinking", "reasoning"})
# A level each for parts in parts, as Mistral's thoughts are; what is deeper is no text.
_MAX_LEVELS = 4


def is_nothing(value: Any) -> bool:
    """Tell whether a vendor says nothing by this value: absent, null and empty mean the same."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def read_delta(delta: Any) -> Json:
    """Return what there is in `delta`, its texts as texts; tool calls stay as they came. StreamBroken when it is none.

    Content that came as a list of parts becomes its text, its thoughts `reasoning_content`; parts that are neither are
    kept in `content_parts`, as they came.
    """
    if not isinstance(delta, dict):
        raise StreamBroken("the delta of a chunk is not an object")
    known = {name: value for name, value in delta.items() if not is_nothing(value)}
    if isinstance(known.get("content"), list | dict):
        _spread_parts(known)
    for name in _TEXTS:
        if name in known and not isinstance(known[name], str):
            known[name] = _joined(known[name], name)
    return known


def _spread_parts(delta: Json) -> None:
    """Replace content that is a list of parts."""
    content = delta.pop("content")
    fields: dict[str, list[str]] = {}
    others = []
    for part in content if isinstance(content, list) else [content]:
        field, text = _part(part)
        if field:
            fields.setdefault(field, []).append(text)
        elif not is_nothing(part):
            others.append(part)
    for field, texts in fields.items():
        if text := "".join(texts):
            delta[field] = _joined(delta.get(field), field) + text if delta.get(field) else text
    if others:
        delta["content_parts"] = others


def _part(part: Any) -> tuple[str, str]:
    """Return the field that a part of the content adds to, and what; no field when it is no text."""
    if isinstance(part, str):
        return "content", part
    if not isinstance(part, dict):
        return ("", "") if part is None else ("content", _joined(part, "content"))
    kind = part.get("type")
    if kind in _THOUGHTS:
        return "reasoning_content", _joined(part.get(kind) or part.get("text"), kind)
    if kind == "refusal":
        return "refusal", _joined(part.get("refusal"), kind)
    if isinstance(part.get("text"), str):
        return "content", part["text"]
    return "", ""


def _joined(value: Any, name: str, level: int = 0) -> str:
    """Return the text of a field that came as text, as a part or as a list of parts."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and level < _MAX_LEVELS:
        return "".join(_joined(each, name, level + 1) for each in value)
    if isinstance(value, dict) and level < _MAX_LEVELS:
        return _joined(value.get("text") or value.get("content"), name, level + 1)
    raise StreamBroken(f"the {name} of a chunk is not a text")
