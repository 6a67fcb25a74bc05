"""What the behaviours `script` and `bytes` send: what the last message of the request holds, word for word."""

from __future__ import annotations

from typing import Any, Literal, get_args

import orjson

Ending = Literal["cut", "reset", "hang"]
_MAX_PAUSE_SECONDS = 60.0


class UnusableScript(ValueError):
    """The last message holds no script; the message says what one is."""


def script_of(body: dict[str, Any]) -> list[Any]:
    """Return the frames: objects, or on the OpenAI wire the text `[DONE]`. UnusableScript when there are none."""
    frames = _list_in(body, "script")
    if not body.get("stream"):
        raise UnusableScript("script: wants stream: true")
    return frames


def steps_of(body: dict[str, Any]) -> tuple[list[str | float], Ending | None]:
    """Return what `bytes` does: texts to write and seconds to pause, then how the connection ends; None: cleanly.

    UnusableScript when it is wrong.
    """
    steps = _list_in(body, "bytes")
    ending = steps.pop().get("end") if steps and isinstance(steps[-1], dict) else None
    if ending is not None and ending not in get_args(Ending):
        raise UnusableScript(f"bytes: an end is one of {', '.join(get_args(Ending))}")
    for step in steps:
        is_pause = isinstance(step, int | float) and 0 <= step <= _MAX_PAUSE_SECONDS
        if not is_pause and not isinstance(step, str):
            raise UnusableScript("bytes: a step is a text or seconds, the last one may be an end")
    return steps, ending


def _list_in(body: dict[str, Any], behaviour: str) -> list[Any]:
    content = body["messages"][-1].get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
    try:
        steps = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnusableScript(f"{behaviour}: the text of the last message must be a JSON list") from error
    if not isinstance(steps, list):
        raise UnusableScript(f"{behaviour}: the text of the last message must be a JSON list")
    return steps
