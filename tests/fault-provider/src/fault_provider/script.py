"""What the behaviour `script` sends: the frames that the last message of the request holds, word for word."""

from __future__ import annotations

from typing import Any

import orjson


class UnusableScript(ValueError):
    """The last message holds no script; the message says what one is."""


def script_of(body: dict[str, Any]) -> list[Any]:
    """Return the frames: objects, or on the OpenAI wire the text `[DONE]`. UnusableScript when there are none."""
    content = body["messages"][-1].get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
    try:
        frames = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnusableScript("script: the text of the last message must be a JSON list of frames") from error
    if not isinstance(frames, list) or not body.get("stream"):
        raise UnusableScript("script: wants a JSON list of frames, and stream: true")
    return frames
