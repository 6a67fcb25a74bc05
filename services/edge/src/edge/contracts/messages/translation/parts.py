"""Content blocks of the Messages API as parts of OpenAI's messages."""

from __future__ import annotations

from typing import Any

from edge.contracts.messages.translation.losses import Losses, text_of, wrong
from edge.conversation import DOCUMENT_BEGIN, DOCUMENT_END

Json = dict[str, Any]

# Only the model that wrote them can read them, and requests are valid without them.
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_PDF = "application/pdf"
_KNOWN: dict[str, frozenset[str]] = {
    "text": frozenset({"type", "text"}),
    "image": frozenset({"type", "source"}),
    "document": frozenset({"type", "source", "title", "context"}),
    "search_result": frozenset({"type", "source", "title", "content"}),
    "tool_reference": frozenset({"type", "tool_name"}),
}


def content_of(content: object, where: str, losses: Losses) -> str | list[Json]:
    """Return the content of a message. Problem (400) when it is malformed."""
    return content if isinstance(content, str) else parts_of(content, where, losses) or ""


def parts_of(content: object, where: str, losses: Losses) -> list[Json]:
    """Return the parts of a list of blocks, or of a text. Problem (400) when it is malformed."""
    if isinstance(content, str):
        return [_text(content)] if content else []
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise wrong(where, "must be a text or a list of content blocks")
    parts: list[Json] = []
    for index, block in enumerate(content):
        parts += block_parts(block, f"{where}.{index}", losses)
    return parts


def block_parts(block: Json, where: str, losses: Losses) -> list[Json]:
    """Return the parts that a block becomes; none, and a note, when it has no counterpart. Problem (400)."""
    kind = text_of(block, "type", where)
    if kind in ("tool_use", "tool_result"):
        raise wrong(where, f"a {kind} does not belong here")
    parts = _known_parts(kind, block, where, losses)
    if parts is not None:
        losses.drop_rest(block, _KNOWN[kind], where)
    elif kind in _THOUGHTS:
        losses.drop(where)
    else:
        losses.miss(where)
    return parts or []


def _known_parts(kind: str, block: Json, where: str, losses: Losses) -> list[Json] | None:
    match kind:
        case "text":
            return [_text(text_of(block, "text", where))]
        case "image":
            url = _image_url(block.get("source"))
            return None if url is None else [{"type": "image_url", "image_url": {"url": url}}]
        case "document":
            return _document(block, where, losses)
        case "search_result":
            head = [text_of(block, "title", where), text_of(block, "source", where)]
            return _framed(head, parts_of(block.get("content"), f"{where}.content", losses))
        case "tool_reference":
            return [_text(f"The tool {text_of(block, 'tool_name', where)!r} can be called.")]
        case _:
            return None


def _document(block: Json, where: str, losses: Losses) -> list[Json] | None:
    """Return a document: its text, or a PDF as a file; None when only Anthropic can fetch it."""
    head = [each for each in (block.get("title"), block.get("context")) if isinstance(each, str) and each]
    match block.get("source"):
        case {"type": "text", "data": str(data)}:
            return _framed(head, [_text(data)])
        case {"type": "content", "content": content}:
            return _framed(head, parts_of(content, f"{where}.source.content", losses))
        case {"type": "base64", "media_type": "application/pdf", "data": str(data)}:
            file = {"filename": _file_name(block.get("title")), "file_data": f"data:{_PDF};base64,{data}"}
            context = block.get("context")
            before = [_text(context)] if isinstance(context, str) and context else []
            return [*before, {"type": "file", "file": file}]
        case _:
            return None


def _framed(head: list[str], parts: list[Json]) -> list[Json]:
    """Return parts between the marks of a document; one part when all are text."""
    begin = "\n".join([DOCUMENT_BEGIN, *head])
    if all(part["type"] == "text" for part in parts):
        return [_text("\n".join([begin, *(part["text"] for part in parts), DOCUMENT_END]))]
    return [_text(begin), *parts, _text(DOCUMENT_END)]


def _file_name(title: object) -> str:
    name = title if isinstance(title, str) and title else "document"
    return name if name.lower().endswith(".pdf") else f"{name}.pdf"


def _image_url(source: object) -> str | None:
    """Return the URL of an image, a data URL for inline bytes; None when OpenAI does not know this kind of source."""
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data), **rest} if not rest:
            return f"data:{media_type};base64,{data}" if ";" not in media_type else None
        case {"type": "url", "url": str(url), **rest} if not rest:
            return url if not url.startswith("data:") else None
        case _:
            return None


def _text(text: str) -> Json:
    return {"type": "text", "text": text}
