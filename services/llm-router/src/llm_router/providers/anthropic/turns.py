"""OpenAI's messages as the system prompt and the turns of the Messages API, in the order that it insists on.

Roles alternate and a user begins; results of calls stand first in the turn behind these calls, one for each; no text is
blank. Claude API docs, Messages; Tool use, Handle tool calls.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

from llm_router.errors import RequestRejected
from llm_router.providers.anthropic.blocks import blocks_of, cache_mark, note_rest, text_blocks, untranslatable
from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.tool_names import ToolNames

_ID = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_READ = frozenset({"role", "content", "refusal", "tool_calls", "tool_call_id"})
# They hold part of what was said, in a form that has no counterpart.
_MEANT = ("audio", "function_call")
_SYSTEM = frozenset({"system", "developer"})
# What targets add to the calls that clients send back.
_CALL_FIELDS = frozenset({"id", "type", "function", "custom", "index", "extra_content"})
# Where Anthropic wants words and there are none.
_NO_WORDS = "(no text)"
_NO_RESULT = "(no result)"
_LATE_RESULT = "The result of an earlier tool call:"


def taken_id(call_id: str) -> str:
    """Return the id of a call as Anthropic takes it; the same id always becomes the same."""
    if _ID.fullmatch(call_id):
        return call_id
    return _made_id(call_id)


def _made_id(seed: str) -> str:
    return f"call_{hashlib.sha256(seed.encode(errors='replace')).hexdigest()[:24]}"


class _CallIds:
    """Gives each call an id of its own and knows which have no result yet: engines count anew in every answer."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: dict[str, deque[str]] = {}  # by the caller's id

    def begin(self, given: object) -> str:
        """Return the id of a new call."""
        given = given if isinstance(given, str) else ""
        written = taken_id(given)
        if written in self._used:
            written = _made_id(f"{given} {len(self._used)}")
        self._used.add(written)
        self._open.setdefault(given, deque()).append(written)
        return written

    def answer(self, given: object) -> str | None:
        """Return the id of the call that a result is for; None when there is no such call without a result."""
        waiting = self._open.get(given) if isinstance(given, str) else None
        if not waiting:
            return None
        written = waiting.popleft()
        if not waiting:
            del self._open[str(given)]
        return written

    def give_up(self) -> list[str]:
        """Return the ids of the calls that have no result, and await none any more."""
        waiting = [written for ids in self._open.values() for written in ids]
        self._open.clear()
        return waiting


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: list[Json] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)

    def written(self) -> Json:
        blocks = [*self.results, *self.blocks]
        return {"role": self.role, "content": _plain(blocks)}


class Turns:
    """Reads the messages of one request."""

    def __init__(self, names: ToolNames, dropped: Dropped) -> None:
        """`names` writes the names of tools; `dropped` gets the fields that are left out."""
        self._names = names
        self._dropped = dropped
        self._ids = _CallIds()
        self._system: list[list[Json]] = []  # the blocks of each message
        self._turns: list[_Turn] = []
        self.called: dict[str, None] = {}
        """The tools that were called, by their written names, in order."""

    @property
    def ends_with_calls(self) -> bool:
        """Whether the last turn of the assistant calls tools."""
        last = next((turn for turn in reversed(self._turns) if turn.role == "assistant"), None)
        return last is not None and any(block["type"] == "tool_use" for block in last.blocks)

    def read(self, messages: list[Json]) -> tuple[list[Json], list[Json]]:
        """Return the blocks of the system prompt, and the turns. RequestUntranslatable names what they cannot say."""
        for index, message in enumerate(messages):
            self._take(message, f"messages.{index}")
        self._give_up_calls()
        is_answer_next = not messages or messages[-1]["role"] != "assistant"
        if not self._turns and self._system:
            self._add("user", self._system.pop())
        if not self._turns or (is_answer_next and self._turns[-1].role == "assistant"):
            self._add("user", text_blocks(_NO_WORDS))
        if self._turns[0].role == "assistant":
            self._turns.insert(0, _Turn("user", text_blocks(_NO_WORDS)))
        self._trim_last()
        return [block for blocks in self._system for block in blocks], [turn.written() for turn in self._turns]

    def _take(self, message: Json, where: str) -> None:
        role = message["role"]
        for name in _MEANT:
            if message.get(name):
                raise untranslatable(f"{where}.{name}")
        note_rest(message, _READ | {"name"} if role == "tool" else _READ, where, self._dropped)
        content = message.get("content")
        if role == "assistant" and not content:
            content = message.get("refusal")
        blocks = blocks_of(content, f"{where}.content", self._dropped)
        if role == "tool":
            self._add_result(message, blocks)
        elif role in _SYSTEM:
            self._add_system(_marked(blocks, message), where)
        elif role == "user":
            self._add("user", _marked(blocks, message))
        elif role == "assistant":
            self._add("assistant", _marked([*blocks, *self._uses(message, where)], message))
        else:
            raise untranslatable(f"{where}.role")

    def _add_system(self, blocks: list[Json], where: str) -> None:
        if any(block["type"] != "text" for block in blocks):
            raise untranslatable(f"{where}.content")
        if blocks:
            self._system.append(blocks)

    def _add(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != role:
            last = _Turn(role)
            self._turns.append(last)
        last.blocks += blocks

    def _add_result(self, message: Json, blocks: list[Json]) -> None:
        """Add a result to the turn behind its call; one without a call is told in words."""
        call_id = self._ids.answer(message.get("tool_call_id"))
        if call_id is None:
            self._add("user", [*text_blocks(_LATE_RESULT), *(blocks or text_blocks(_NO_WORDS))])
            return
        result = {"type": "tool_result", "tool_use_id": call_id, **cache_mark(message)}
        if blocks:
            result["content"] = _plain(blocks)
        self._user_turn().results.append(result)

    def _user_turn(self) -> _Turn:
        if self._turns[-1].role != "user":
            self._turns.append(_Turn("user"))
        return self._turns[-1]

    def _give_up_calls(self) -> None:
        """Give calls that nobody has answered a result that says so."""
        for call_id in self._ids.give_up():
            result = {"type": "tool_result", "tool_use_id": call_id, "content": _NO_RESULT, "is_error": True}
            self._user_turn().results.append(result)

    def _uses(self, message: Json, where: str) -> list[Json]:
        """Return the calls of an answer; when the user has spoken since, nobody awaits the results of earlier ones."""
        if self._turns and self._turns[-1].role == "user":
            self._give_up_calls()
        calls = message.get("tool_calls") or ()
        return [self._use(call, f"{where}.tool_calls.{index}") for index, call in enumerate(calls)]

    def _use(self, call: Json, where: str) -> Json:
        kind = call.get("type") or "function"
        if kind not in ("function", "custom"):
            raise untranslatable(where)
        note_rest(call, _CALL_FIELDS, where, self._dropped)
        called = call[kind]
        name = self._names.written(called["name"])
        self.called[name] = None
        given = {"input": called.get("input") or ""} if kind == "custom" else _input(called.get("arguments"), where)
        return {"type": "tool_use", "id": self._ids.begin(call.get("id")), "name": name, "input": given}

    def _trim_last(self) -> None:
        """Take the space from the end of an answer that is begun for the model: Anthropic refuses it."""
        last = self._turns[-1]
        if last.role == "assistant" and last.blocks[-1]["type"] == "text":
            last.blocks[-1] = {**last.blocks[-1], "text": last.blocks[-1]["text"].rstrip()}


def _marked(blocks: list[Json], message: Json) -> list[Json]:
    """Return the blocks of a message, the last of them with the mark that the message has."""
    mark = cache_mark(message)
    return [*blocks[:-1], {**blocks[-1], **mark}] if blocks and mark else blocks


def _plain(blocks: list[Json]) -> str | list[Json]:
    """Return content as a text where it is nothing else."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _input(arguments: Any, where: str) -> Json:
    """Return arguments as an object; what is none stands under the name that Anthropic proposes."""
    if isinstance(arguments, dict):
        return arguments
    if arguments is not None and not isinstance(arguments, str):
        raise RequestRejected("the arguments of a tool call are not a text", param=where)
    if arguments is None or not arguments.strip():
        return {}
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        given = None
    return given if isinstance(given, dict) else {"INVALID_JSON": arguments}
