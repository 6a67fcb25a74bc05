"""Fields of the Messages API that not every model takes and that change no answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llm_router.providers.chat_body import Json

# As refusals call them, and as callers of OpenAI's contract do.
DISPENSABLE: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "thinking": "thinking",
    "effort": "reasoning_effort",
}


def has_field(body: Json, name: str) -> bool:
    """Tell whether a body has one of these fields."""
    return name in (body.get("output_config", {}) if name == "effort" else body)


def without_fields(body: Json, names: Collection[str]) -> Json:
    """Return a body without these fields; the effort is a part of `output_config`."""
    if not names:
        return body
    written = {name: value for name, value in body.items() if name not in names}
    if "effort" in names and "output_config" in written:
        config = {name: value for name, value in written["output_config"].items() if name != "effort"}
        written = {**written, "output_config": config}
        if not config:
            del written["output_config"]
    return written
