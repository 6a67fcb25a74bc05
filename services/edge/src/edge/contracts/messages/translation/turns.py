"""Turns of the Messages API as OpenAI's messages, in the order that OpenAI insists on.

Results of calls are messages of their own, right behind the calls, one for each, and hold only text: what else there is
stands in the user's message behind them. OpenAI API reference, Chat, messages.
"""

from __future__ import annotations

from typing import Any

import orjson

from edge.contracts.messages.translation.losses import Losses, text_of, wrong
from edge.contracts.messages.translation.parts import block_parts, content_of, parts_of

Json = dict[str, Any]

_USE_FIELDS = frozenset({"type", "id", "name", "input"})
_RESULT_FIELDS = frozenset({"type", "tool_use_id", "content", "is_error"})
_TURN_FIELDS = frozenset({"role", "content"})
_NO_RESULT = "(no result)"
_REST_FOLLOWS = "(the rest of this result is in the next message)"


class _Messages:
    """The messages so far, and the calls among them that have no result yet."""

    def __init__(self) -> None:
        self._groups: list[list[Json]] = []  # a message, and the results that belong behind it
        self._calling: list[Json] = []  # the group of the newest calls
        self._open: dict[str, None] = {}  # those of them that have no result

    @property
    def all(self) -> list[Json]:
        """All messages in order."""
        return [message for group in self._groups for message in group]

    def add(self, message: Json) -> None:
        """Add a message that is no result."""
        group = [message]
        calls = message.get("tool_calls")
        if calls:
            self.give_up_calls()
            self._calling, self._open = group, dict.fromkeys(call["id"] for call in calls)
        self._groups.append(group)

    def add_result(self, message: Json) -> None:
        """Add a result behind its call, also when something has come between."""
        if message["tool_call_id"] in self._open:
            del self._open[message["tool_call_id"]]
            self._calling.append(message)
        else:
            self._groups.append([message])

    def give_up_calls(self) -> None:
        """Give calls that have no result one that says so: OpenAI refuses a call without."""
        for call_id in [*self._open]:
            self.add_result({"role": "tool", "tool_call_id": call_id, "content": _NO_RESULT})


def messages_of(body: Json, losses: Losses) -> list[Json]:
    """Return the messages of a body, its system prompt first. Problem (400) names a malformed block."""
    messages = _Messages()
    if body.get("system"):
        messages.add({"role": "system", "content": _only_text(body["system"], "system", losses)})
    for index, turn in enumerate(body["messages"]):
        _add_turn(turn, f"messages.{index}", messages, losses)
    messages.give_up_calls()
    return messages.all


def _add_turn(turn: Json, where: str, messages: _Messages, losses: Losses) -> None:
    role, content = turn["role"], turn["content"]
    losses.drop_rest(turn, _TURN_FIELDS, where)
    if isinstance(content, str):
        messages.add({"role": role, "content": content})
    elif role == "assistant":
        messages.add(_assistant(content, f"{where}.content", losses))
    elif role == "user":
        _add_user(content, f"{where}.content", messages, losses)
    else:
        messages.add({"role": role, "content": _only_text(content, f"{where}.content", losses)})


def _only_text(content: object, where: str, losses: Losses) -> str | list[Json]:
    """Return content of a role that says nothing but text."""
    translated = content_of(content, where, losses)
    if isinstance(translated, list) and any(part["type"] != "text" for part in translated):
        losses.miss(where)
    return translated


def _add_user(blocks: list[Json], where: str, messages: _Messages, losses: Losses) -> None:
    """Add a message for each tool result and one for all other blocks."""
    rest: list[Json] = []
    has_results = False
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_result":
            has_results = True
            result, more = _tool_result(block, place, losses)
            messages.add_result(result)
            rest += more
        else:
            rest += block_parts(block, place, losses)
    if rest or not has_results:
        messages.add({"role": "user", "content": rest or ""})


def _tool_result(block: Json, where: str, losses: Losses) -> tuple[Json, list[Json]]:
    """Return the message of a result, and what of it OpenAI takes from nobody but the user: pictures and files."""
    call_id = text_of(block, "tool_use_id", where)
    content = block.get("content")
    losses.drop_rest(block, _RESULT_FIELDS, where)
    if content is None or isinstance(content, str):
        text = content or ""
        return _result(call_id, f"Error: {text}" if block.get("is_error") else text), []
    parts = parts_of(content, f"{where}.content", losses)
    texts = [part for part in parts if part["type"] == "text"]
    others = [part for part in parts if part["type"] != "text"]
    if block.get("is_error"):  # only Anthropic has a flag for it
        texts = [{"type": "text", "text": "Error:"}, *texts]
    if not others:
        return _result(call_id, texts or ""), []
    said = {"type": "text", "text": f"From the result of the tool call {call_id}:"}
    return _result(call_id, [*texts, {"type": "text", "text": _REST_FOLLOWS}]), [said, *others]


def _result(call_id: str, content: str | list[Json]) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _assistant(blocks: list[Json], where: str, losses: Losses) -> Json:
    """Return one message: the text first, then all tool calls."""
    parts: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(blocks):
        place = f"{where}.{index}"
        if block.get("type") == "tool_use":
            calls.append(_tool_call(block, place, losses))
            continue
        said = block_parts(block, place, losses)
        if any(part["type"] != "text" for part in said):
            losses.miss(place)
        parts += said
    if calls:
        return {"role": "assistant", "content": parts or None, "tool_calls": calls}
    return {"role": "assistant", "content": parts or ""}


def _tool_call(block: Json, where: str, losses: Losses) -> Json:
    if not isinstance(block.get("input"), dict):
        raise wrong(f"{where}.input", "must be a JSON object")
    function = {"name": text_of(block, "name", where), "arguments": orjson.dumps(block["input"]).decode()}
    losses.drop_rest(block, _USE_FIELDS, where)
    return {"id": text_of(block, "id", where), "type": "function", "function": function}
