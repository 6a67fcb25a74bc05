"""The tool calls of an answer on Anthropic's wire, told as OpenAI tells them."""

from __future__ import annotations

import secrets
from typing import Any

import orjson

Json = dict[str, Any]


class Call:
    """A tool call whose content block is open."""

    def __init__(self, number: int, block: Json, name: str, *, is_custom: bool) -> None:
        """`number` is its index among the calls, `block` the start of its block, `name` what the caller calls the tool.

        `is_custom`: the caller's tool takes any text, which is the one argument of what the model was shown. TypeError
        when the block is malformed.
        """
        self._number = number
        self._name = name
        self._id = text_of(block.get("id")) or f"toolu_{secrets.token_hex(12)}"
        self._is_custom = is_custom
        self._given = json_of(block.get("input"))
        self._pieces: list[str] = []  # of a text, which is told whole: it is a part of the arguments
        self._has_arguments = False
        self.kept = len(self._given)
        """How many characters wait for the end of the block."""

    def start(self) -> bytes:
        """Return the fragment that says which tool is called."""
        kind, argument = ("custom", "input") if self._is_custom else ("function", "arguments")
        called = {"name": self._name, argument: ""}
        return choices({"tool_calls": [{"index": self._number, "id": self._id, "type": kind, kind: called}]})

    def add(self, arguments: str) -> list[bytes]:
        """Take more of the arguments; return the fragment that tells them, if they need not wait."""
        if not arguments:
            return []
        self._has_arguments = True
        if not self._is_custom:
            return [self._fragment(arguments)]
        self._pieces.append(arguments)
        self.kept += len(arguments)
        return []

    def complete(self) -> list[bytes]:
        """Return what is due at the end of the block: a text, and arguments if none came as deltas."""
        if self._is_custom:
            return [self._fragment(_input_of("".join(self._pieces) or self._given))]
        return [] if self._has_arguments else [self._fragment(self._given or "{}")]

    def _fragment(self, text: str) -> bytes:
        called = {"custom": {"input": text}} if self._is_custom else {"function": {"arguments": text}}
        return choices({"tool_calls": [{"index": self._number, **called}]})


def _input_of(arguments: str) -> str:
    """Return the text that is the one argument; arguments that are something else are the text themselves."""
    try:
        given = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    text = given.get("input", "") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments


def text_of(value: object) -> str:
    """Return a text, empty for null. TypeError when it is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def json_of(value: object) -> str:
    """Return arguments in JSON; an empty object is no more than none, for deltas may follow."""
    if not value:
        return ""
    return orjson.dumps(value).decode() if isinstance(value, dict) else text_of(value)


def choices(delta: Json) -> bytes:
    """Write the `choices` array of a chunk."""
    return orjson.dumps([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])
