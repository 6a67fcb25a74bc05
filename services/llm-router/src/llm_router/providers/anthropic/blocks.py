"""Parts of OpenAI's messages as content blocks of the Messages API."""

from __future__ import annotations

from typing import Any

from llm_router.errors import RequestUntranslatable
from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped

# Claude API docs, Vision: these and no others.
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_MARKS = frozenset({"cache_control", "prompt_cache_breakpoint"})
_PART_FIELDS: dict[str, frozenset[str]] = {
    "text": frozenset({"type", "text"}),
    "refusal": frozenset({"type", "refusal"}),
    "image_url": frozenset({"type", "image_url"}),
    "file": frozenset({"type", "file"}),
}
_EPHEMERAL: Json = {"type": "ephemeral"}
_LIFETIMES = frozenset({"5m", "1h"})


def untranslatable(name: str) -> RequestUntranslatable:
    """Return the error that says that the field `name`, which would change the answer, has no counterpart."""
    return RequestUntranslatable.field(name, "in the Anthropic Messages API")


def blocks_of(content: object, where: str, dropped: Dropped) -> list[Json]:
    """Return the blocks of a message's content; texts that are blank are left out, as Anthropic refuses them.

    RequestUntranslatable names the first part that has no counterpart.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return text_blocks(content)
    if not isinstance(content, list):
        raise TypeError("content")
    blocks: list[Json] = []
    for index, part in enumerate(content):
        blocks += _part(part, f"{where}.{index}", dropped)
    return blocks


def text_blocks(text: str) -> list[Json]:
    """Return the block of a text; none for one that is blank."""
    return [{"type": "text", "text": text}] if text.strip() else []


def cache_mark(marked: Json) -> Json:
    """Return the `cache_control` of a block, for a part, a message or a tool that has a mark; empty: it has none."""
    mark = marked.get("cache_control")
    if isinstance(mark, dict) and mark.get("type") == "ephemeral":
        lifetime = {"ttl": mark["ttl"]} if mark.get("ttl") in _LIFETIMES else {}
        return {"cache_control": {**_EPHEMERAL, **lifetime}}
    if isinstance(marked.get("prompt_cache_breakpoint"), dict):
        return {"cache_control": dict(_EPHEMERAL)}
    return {}


def note_rest(value: Json, known: frozenset[str], where: str, dropped: Dropped) -> None:
    """Note the fields of `value` that are neither `known` nor a mark of the cache, and say something."""
    for name, each in value.items():
        if name not in known and name not in _MARKS and each not in (None, "", [], {}):
            dropped.add(f"{where}.{name}")


def _part(part: Json, where: str, dropped: Dropped) -> list[Json]:
    kind = part.get("type")
    match kind:
        case "text" | "refusal":
            blocks = text_blocks(part[kind])
        case "image_url":
            blocks = [{"type": "image", "source": _image_source(part["image_url"], where, dropped)}]
        case "file":
            blocks = [_document(part["file"], where)]
        case _:
            raise untranslatable(where)
    note_rest(part, _PART_FIELDS[kind], where, dropped)
    return [{**block, **cache_mark(part)} for block in blocks]


def _image_source(image: Any, where: str, dropped: Dropped) -> Json:
    if isinstance(image, str):  # some clients write the address itself
        image = {"url": image}
    if image.get("detail") not in (None, "auto"):
        dropped.add(f"{where}.image_url.detail")
    url: str = image["url"]
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    media_type, data = _inline(url)
    if media_type not in _IMAGE_TYPES:
        raise untranslatable(where)
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: Json, where: str) -> Json:
    """Return a PDF that is in the request itself; the texts of other files were looked at by nobody."""
    given, name = file.get("file_data"), file.get("filename")
    if not isinstance(given, str):
        raise untranslatable(where)
    media_type, data = _inline(given)
    if not media_type and isinstance(name, str) and name.lower().endswith(".pdf"):
        media_type, data = _PDF, given
    if media_type != _PDF:
        raise untranslatable(where)
    title = {"title": name} if isinstance(name, str) and name else {}
    return {"type": "document", "source": {"type": "base64", "media_type": _PDF, "data": data}, **title}


def _inline(url: str) -> tuple[str, str]:
    """Return media type and base64 of a data URL; both are empty when it is none."""
    head, separator, data = url.partition(";base64,")
    if not separator or not head.startswith("data:"):
        return "", ""
    return head.removeprefix("data:").partition(";")[0].lower(), data
