"""The texts in the chunks of an answer, each with its place, so that it can be looked at and changed there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from edge.assembly import MessagesEvent
from edge.guardrails.input import texts_of

Json = dict[str, Any]

THOUGHTS = frozenset({"reasoning_content", "reasoning", "thinking"})
_MOST_CHOICES, _MOST_CALLS = 128, 1000
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_EVENT_TEXTS = ("text", "thinking", "partial_json")
# Neither is a text.
_SIGNATURE = frozenset({"type", "signature"})


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
        """Return what a chunk says as JSON, and the texts in it; None when it is a text itself."""
        if isinstance(chunk, str):
            return None, [Piece(0, "content", chunk, self._is_json)]
        document = orjson.loads(bytes(chunk))
        if isinstance(chunk, MessagesEvent):
            return document, list(self._of_event(document)) if isinstance(document, dict) else []
        return document, [piece for choice in choices_of(document) for piece in self._of_delta(choice)]

    def _of_delta(self, choice: Json) -> Iterator[Piece]:
        index, delta = choice_number(choice), choice["delta"]
        for name, value in delta.items():
            if name in _TEXTS and isinstance(value, str):
                channel = (name, self._block) if name in THOUGHTS else name  # no thought goes on in the next one
                yield Piece(index, channel, value, self._is_json and name == "content", delta, name)
            elif name == "tool_calls" and isinstance(value, list):
                for fragment in value:
                    yield from _of_call(index, fragment)
            elif name == "function_call" and isinstance(value, dict):
                if isinstance(value.get("arguments"), str):
                    yield Piece(index, name, value["arguments"], True, value, "arguments")
            elif name == "audio" and isinstance(value, dict):
                if isinstance(value.get("transcript"), str):
                    yield Piece(index, name, value["transcript"], False, value, "transcript")
            elif name not in {"role", "content"} and value:
                yield from _below(index, name, delta, name)

    def _of_event(self, event: Json) -> Iterator[Piece]:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            if event.get("type") == "content_block_start":
                self._block += 1
                yield from _below(0, "block", event, "content_block", "\n")
            return
        for name, value in delta.items():
            if name in _EVENT_TEXTS and isinstance(value, str):
                channel = name if name == "text" else (name, self._block)
                yield Piece(0, channel, value, name == "partial_json", delta, name)
            elif event.get("type") == "content_block_delta" and name not in _SIGNATURE:
                yield from _below(0, "block", delta, name, "\n")


def choices_of(document: Any) -> list[Json]:
    """Return those choices of a chunk that have a delta; others end with an error where they are put together."""
    each = document if isinstance(document, list) else []
    return [choice for choice in each if isinstance(choice, dict) and isinstance(choice.get("delta"), dict)]


def choice_number(choice: Json) -> int:
    """Return the index of a choice; what cannot be one is the first's."""
    return _number(choice.get("index"), _MOST_CHOICES)


def _of_call(index: int, fragment: Any) -> Iterator[Piece]:
    if not isinstance(fragment, dict):
        return
    number = _number(fragment.get("index"), _MOST_CALLS)
    for part, name in (("function", "arguments"), ("custom", "input")):
        inside = fragment.get(part)
        if isinstance(inside, dict) and isinstance(inside.get(name), str):
            yield Piece(index, (part, number), inside[name], part == "function", inside, name)


def _below(index: int, channel: str, holder: Json, key: str, after: str = "") -> Iterator[Piece]:
    for text in texts_of(holder.get(key)):
        yield Piece(index, channel, text, False, holder, key, True, after)


def _number(value: Any, most: int) -> int:
    return value if isinstance(value, int) and 0 <= value < most else 0
