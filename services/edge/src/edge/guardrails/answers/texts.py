"""The texts in the chunks of an answer, each with its place, so that it can be looked at and changed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from edge.assembly import MalformedChunk, MessagesEvent
from edge.guardrails.input import texts_of

Json = dict[str, Any]

THOUGHTS = frozenset({"reasoning_content", "reasoning", "thinking"})
_MOST_CHOICES, _MOST_CALLS = 128, 1000
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_EVENT_TEXTS = ("text", "thinking", "partial_json")
# The pieces of calls, and where each has what it is called with.
_CALLED = {"function": "arguments", "custom": "input"}
# Fields of a choice that are numbers, words of the router's, or read by themselves.
_NO_TEXTS = frozenset({"index", "delta", "finish_reason"})
# The fields of a sound that nobody can read.
_NO_WORDS = frozenset({"id", "data", "expires_at"})
# The contracts give their values a meaning.
_WORDS = frozenset({"type", "role", "stop_reason"})
_WORD = re.compile(r"[a-z_]{1,60}")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]*")


class Piece(NamedTuple):
    """A piece of one text."""

    choice: int
    channel: object
    """Which text of the choice: pieces of one belong together."""
    text: str
    is_json: bool = False
    """Whether the text is the inside of JSON, as arguments of calls are."""
    holder: Any = None
    """The object in which it stands, under `key`; None: the chunk is the text."""
    key: str = ""
    is_below: bool = False
    """Whether it stands somewhere below `holder[key]`, which is no text itself."""
    after: str = ""
    """What separates it from the next piece."""

    @property
    def is_thought(self) -> bool:
        """Whether it is a part of what the model has thought."""
        name = self.channel[0] if isinstance(self.channel, tuple) else self.channel
        return name in THOUGHTS or name == "reasoning_details"


class AnswerTexts:
    """Reads the chunks of one answer."""

    def __init__(self, *, is_json: bool) -> None:
        """`is_json`: the words are JSON as well, as the request wants it."""
        self._is_json = is_json
        self._block = 0

    def read(self, chunk: str | bytes) -> tuple[Any, list[Piece]]:
        """Return what a chunk says as JSON, and the texts in it; None when it is a text itself.

        MalformedChunk when it is nothing that a contract can say.
        """
        if isinstance(chunk, str):
            return None, [Piece(0, "content", chunk, self._is_json)]
        document = orjson.loads(bytes(chunk))
        if isinstance(chunk, MessagesEvent):
            if not isinstance(document, dict):
                raise MalformedChunk("an event of the answer is no object")
            return document, list(self._of_event(document))
        return document, [piece for choice in choices_of(document) for piece in self._of_choice(choice)]

    def _of_choice(self, choice: Json) -> Iterator[Piece]:
        index = choice_number(choice)
        for name in choice:
            if name not in _NO_TEXTS:
                yield from _below(index, "beside", choice, name, "\n")
        delta = _delta_of(choice)
        for name, value in delta.items():
            if name in _TEXTS and isinstance(value, str):
                channel = (name, self._block) if name in THOUGHTS else name  # no thought goes on in the next one
                yield Piece(index, channel, value, self._is_json and name == "content", delta, name)
            elif name == "tool_calls" and isinstance(value, list):
                for fragment in value:
                    yield from _of_call(index, fragment)
            elif name == "function_call" and isinstance(value, dict):
                yield from _of_function(index, name, 0, value, "arguments")
            elif name == "audio" and isinstance(value, dict):
                yield from _of_sound(index, value)
            elif value and not _is_word(name, value):
                yield from _below(index, name, delta, name)

    def _of_event(self, event: Json) -> Iterator[Piece]:
        self._block += event.get("type") == "content_block_start"
        for name in ("content_block", "message", "usage"):
            yield from _below(0, "block", event, name, "\n")
        delta = _delta_of(event)
        for name, value in delta.items():
            if name in _EVENT_TEXTS and isinstance(value, str):
                channel = name if name == "text" else (name, self._block)
                yield Piece(0, channel, value, name == "partial_json", delta, name)
            elif not _is_word(name, value) and not (name == "signature" and _is_binary(value)):
                yield from _below(0, "block", delta, name, "\n")


def choices_of(document: Any) -> list[Json]:
    """Return the choices of a chunk; MalformedChunk when it has something else, of which nobody knows what it says."""
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise MalformedChunk("a chunk of the answer has the wrong shape")
    return document


def _delta_of(holder: Json) -> Json:
    delta = holder.get("delta") or {}
    if not isinstance(delta, dict):
        raise MalformedChunk("the delta of a chunk is no object")
    return delta


def choice_number(choice: Json) -> int:
    """Return the index of a choice; what cannot be one is the first's."""
    return _number(choice.get("index"), _MOST_CHOICES)


def _of_call(index: int, fragment: Any) -> Iterator[Piece]:
    """Return what a piece of a call says, but its id: that ties it to its result."""
    if not isinstance(fragment, dict):
        raise MalformedChunk("a piece of a call has the wrong shape")
    number = _number(fragment.get("index"), _MOST_CALLS)
    for name, value in fragment.items():
        if name in _CALLED and isinstance(value, dict):
            yield from _of_function(index, name, number, value, _CALLED[name])
        elif name != "id" and not _is_word(name, value):
            yield from _below(index, "beside", fragment, name, "\n")


def _of_function(index: int, part: str, number: int, inside: Json, arguments: str) -> Iterator[Piece]:
    """Return name and arguments, and whatever else there is; a model writes both."""
    for name, value in inside.items():
        if name in ("name", arguments) and isinstance(value, str):
            is_json = name == "arguments"
            yield Piece(index, (part, name, number), value, is_json, inside, name)
        else:
            yield from _below(index, "beside", inside, name, "\n")


def _of_sound(index: int, sound: Json) -> Iterator[Piece]:
    for name, value in sound.items():
        if name == "transcript" and isinstance(value, str):
            yield Piece(index, "audio", value, False, sound, name)
        elif name not in _NO_WORDS:
            yield from _below(index, "beside", sound, name, "\n")


def _below(index: int, channel: str, holder: Json, key: str, after: str = "") -> Iterator[Piece]:
    for text in texts_of(holder.get(key)):
        yield Piece(index, channel, text, False, holder, key, True, after)


def _is_word(name: str, value: Any) -> bool:
    return name in _WORDS and isinstance(value, str) and _WORD.fullmatch(value) is not None


def _is_binary(value: Any) -> bool:
    return isinstance(value, str) and _BASE64.fullmatch(value) is not None


def _number(value: Any, most: int) -> int:
    return value if isinstance(value, int) and 0 <= value < most else 0
