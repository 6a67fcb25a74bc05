"""A body of the Anthropic Messages API as a plain OpenAI chat body, for targets that do not speak this contract.

What OpenAI's contract cannot express is left out and noted under the client's name for it. If that would change the
answer, targets that need the translation are not asked. See docs/adr/0008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.contracts.messages.translation.losses import Losses
from edge.contracts.messages.translation.schema import is_strict
from edge.contracts.messages.translation.tools import tools_of
from edge.contracts.messages.translation.turns import messages_of

Json = dict[str, Any]

_TRANSLATED = frozenset(
    {
        *("model", "stream", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences"),
        *("tools", "tool_choice", "metadata", "output_config", "output_format"),
    }
)
# Without them the answer would be another one, or come from where it must not; the second says what holds anyway.
_MEANT: dict[str, tuple[object, ...]] = {
    "top_k": (),
    "container": (),
    "inference_geo": ("global", "not_available"),
}
# OpenAI API reference, Chat, stop.
_MAX_STOP_SEQUENCES = 4
# OpenAI refuses a longer `user`; clients of the Messages API send longer ones.
_MAX_USER_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Translation:
    """A plain OpenAI chat body, and what it cannot express, by the client's names."""

    body: Json
    untranslatable: tuple[str, ...]
    """The fields whose loss would change the answer."""
    dropped: tuple[str, ...]
    """The fields whose loss does not."""


def translate(body: Json) -> Translation:
    """Translate a body whose top level has been validated. Problem (400) names a malformed block."""
    losses = Losses()
    _note_native_fields(body, losses)
    translated: Json = {"messages": messages_of(body, losses), "max_completion_tokens": body["max_tokens"]}
    if not body["max_tokens"]:
        losses.miss("max_tokens")
    same = ("temperature", "top_p")
    translated |= {name: body[name] for name in same if body.get(name) is not None}
    if body.get("stop_sequences"):
        translated["stop"] = body["stop_sequences"]
        if len(body["stop_sequences"]) > _MAX_STOP_SEQUENCES:
            losses.miss("stop_sequences")
    if body.get("tools"):
        translated |= tools_of(body["tools"], body.get("tool_choice"), losses)
    translated |= _user_of(body.get("metadata"), losses)
    translated |= _output_config(body.get("output_config"), losses)
    translated |= _format(body.get("output_format"), "output_format", losses)
    return Translation(translated, losses.missed, losses.dropped)


def _note_native_fields(body: Json, losses: Losses) -> None:
    """Note the fields that only Anthropic has. It adds new ones freely, and clients send them to whoever answers."""
    for name, value in body.items():
        if name in _TRANSLATED or value is None:
            continue
        if name in _MEANT:
            if value not in _MEANT[name]:
                losses.miss(name)
        else:
            losses.drop(name)


def _user_of(metadata: Json | None, losses: Losses) -> Json:
    if metadata is None:
        return {}
    losses.drop_rest(metadata, frozenset({"user_id"}), "metadata")
    user = metadata.get("user_id")
    if isinstance(user, str) and len(user) <= _MAX_USER_CHARACTERS:
        return {"user": user}
    if user is not None:
        losses.drop("metadata.user_id")
    return {}


def _output_config(config: Json | None, losses: Losses) -> Json:
    translated: Json = {}
    for name, value in (config or {}).items():
        if name == "effort" and isinstance(value, str):
            translated["reasoning_effort"] = value
        elif name == "format":
            translated |= _format(value, "output_config.format", losses)
        elif value is not None:
            losses.drop(f"output_config.{name}")
    return translated


def _format(wanted: Any, where: str, losses: Losses) -> Json:
    """Return the format of the answer; `strict` only where OpenAI takes the schema so."""
    if wanted is None:
        return {}
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        losses.miss(where)
        return {}
    losses.drop_rest(wanted, frozenset({"type", "schema"}), where)
    named = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
