"""How many messages, tools and images a request has, in OpenAI's contract and in Anthropic's."""

from __future__ import annotations

from typing import Any

from edge.conversation import Counts

_IMAGES = frozenset({"image", "image_url", "input_image"})


def counts_of(body: dict[str, Any]) -> Counts:
    """Count in a body whose top level has been validated."""
    messages = body["messages"]
    tools = sum(len(body.get(name) or ()) for name in ("tools", "functions") if isinstance(body.get(name), list))
    return Counts(len(messages), tools, _images([body.get("system"), *(each.get("content") for each in messages)]))


def _images(contents: list[Any]) -> int:
    """Count images, also in results of tools and in documents. Does not recurse."""
    images = 0
    pending = [content for content in contents if isinstance(content, list)]
    while pending:
        for part in pending.pop():
            if not isinstance(part, dict):
                continue
            kind = part.get("type")
            images += isinstance(kind, str) and kind in _IMAGES
            source = part.get("source")
            inner = [part.get("content"), source.get("content") if isinstance(source, dict) else None]
            pending += [each for each in inner if isinstance(each, list)]
    return images
