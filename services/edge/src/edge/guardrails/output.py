"""Looks at an answer on its way out, and stops it before anything of what a rule blocks is sent."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from edge.assembly import MessagesEvent
from edge.guardrails.input import Finding, texts_of
from edge.guardrails.policy import Action, RuleInForce

# The longest match that is found before any of it is sent, in characters of a choice.
HELD_CHARACTERS = 256
# Looked at in pieces of this size: each look takes a tenth of a millisecond.
_PIECE_CHARACTERS = 128
# What waits may be longer where choices take turns, and no longer than this for each.
_MOST_HELD_CHARACTERS = 4096
_MOST_CHOICES, _MOST_CALLS = 128, 1000
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_EVENT_TEXTS = ("text", "thinking", "partial_json")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class ContentStopped(Exception):
    """A rule that blocks has found something: nothing more of the answer may go out."""


@dataclass(slots=True)
class Checked:
    """How far an answer was looked at, and what was found."""

    characters: int = 0
    is_stopped: bool = False
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def told(self) -> list[Finding]:
        """What the client learns: all but what is only observed."""
        return [finding for finding in self.findings.values() if finding.action is not Action.OBSERVE]


@dataclass(slots=True)
class _Channel:
    """One text of an answer: the words of a choice, its thoughts, the arguments of a call."""

    is_json: bool
    fresh: list[str] = field(default_factory=list)
    """Not looked at yet."""
    seen: bytes = b""
    """The end of what was looked at."""
    before: int = 0
    """The bytes before `seen`."""
    escape: str = ""
    """The beginning of an escape sequence, whose rest is to come."""
    told: dict[str, int] = field(default_factory=dict)
    """Where the last match of each rule ended."""


@dataclass(slots=True)
class _Choice:
    written: int = 0
    looked_at: int = 0
    channels: dict[object, _Channel] = field(default_factory=dict)


class OutputGuard:
    """Made for one answer. Chunks wait until what may begin in them has been looked at to its end; none is changed."""

    def __init__(self, rules: Sequence[RuleInForce], checked: Checked) -> None:
        """`checked` is kept up to date."""
        self._rules = rules
        self._choices: dict[object, _Choice] = {}
        # A chunk, and how far it brings each of its choices.
        self._waiting: deque[tuple[str | bytes, list[tuple[object, int]], int]] = deque()
        self._waiting_characters = 0
        self._checked = checked

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return the chunks that may go out; ContentStopped when nothing more may."""
        for chunk in chunks:
            self._add(chunk)
        for choice in self._choices.values():
            if choice.written - choice.looked_at >= _PIECE_CHARACTERS:
                self._look(choice, is_end=False)
        return self._released()

    def end(self) -> list[str | bytes]:
        """Return what has waited; ContentStopped when it must not go out."""
        for choice in self._choices.values():
            self._look(choice, is_end=True)
        rest = [chunk for chunk, _, _ in self._waiting]
        self._waiting.clear()
        return rest

    def _add(self, chunk: str | bytes) -> None:
        marks: dict[object, int] = {}
        length = 0
        for index, name, text, is_json in _texts(chunk):
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            channel = choice.channels.get(name)
            if channel is None:
                channel = choice.channels[name] = _Channel(is_json)
            channel.fresh.append(text)
            choice.written += len(text)
            length += len(text)
            marks[index] = choice.written
        self._waiting.append((chunk, list(marks.items()), length))
        self._waiting_characters += length

    def _released(self) -> list[str | bytes]:
        released: list[str | bytes] = []
        most = _MOST_HELD_CHARACTERS * max(len(self._choices), 1)
        while self._waiting:
            chunk, marks, length = self._waiting[0]
            if any(self._choices[index].looked_at < position + HELD_CHARACTERS for index, position in marks):
                if self._waiting_characters <= most:
                    break
                for index, _ in marks:
                    self._look(self._choices[index], is_end=False)
            self._waiting.popleft()
            self._waiting_characters -= length
            released.append(chunk)
        return released

    def _look(self, choice: _Choice, *, is_end: bool) -> None:
        for channel in choice.channels.values():
            if channel.fresh or is_end:
                self._look_at(channel, is_end=is_end)
        self._checked.characters += choice.written - choice.looked_at
        choice.looked_at = choice.written

    def _look_at(self, channel: _Channel, *, is_end: bool) -> None:
        text = "".join(channel.fresh)
        channel.fresh.clear()
        if channel.is_json:
            text = channel.escape + text
            half = _HALF_ESCAPE.search(text, max(len(text) - 6, 0))
            channel.escape = half.group() if half is not None and not is_end else ""
            text = _unescaped(text[: len(text) - len(channel.escape)])
        window = channel.seen + text.encode(errors="replace")
        for each in self._rules:
            for span in each.rule.find(window):
                # What reaches to the end may go on, and then be something else.
                is_open = span.end == len(window) and span.end - span.start < HELD_CHARACTERS and not is_end
                if not is_open and channel.before + span.end > channel.told.get(each.rule.name, 0):
                    channel.told[each.rule.name] = channel.before + span.end
                    self._note(each, span.score)
        kept = window[-HELD_CHARACTERS - _PIECE_CHARACTERS :]
        channel.before += len(window) - len(kept)
        channel.seen = kept
        if self._checked.is_stopped:
            self._waiting.clear()
            raise ContentStopped

    def _note(self, each: RuleInForce, score: float) -> None:
        known = self._checked.findings.get(each.rule.name)
        count, best = (1, score) if known is None else (known.count + 1, max(known.score, score))
        self._checked.findings[each.rule.name] = Finding(each.rule.name, each.rule.version, each.action, count, best)
        self._checked.is_stopped |= each.action is Action.BLOCK


def _unescaped(text: str) -> str:
    """Return JSON's inside of a text as the program reads it that is called with it."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2]), text)


def _texts(chunk: str | bytes) -> Iterator[tuple[object, object, str, bool]]:
    """Return the texts of a chunk: its choice, which text of the choice, a piece of it, whether that is JSON's."""
    if isinstance(chunk, str):
        yield 0, "content", chunk, False
    elif isinstance(chunk, MessagesEvent):
        event = orjson.loads(bytes(chunk))
        if isinstance(event, dict):
            yield from _event_texts(event)
    else:
        choices = orjson.loads(chunk)
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("delta"), dict):
                yield from _delta_texts(_number(choice.get("index"), _MOST_CHOICES), choice["delta"])


def _delta_texts(index: object, delta: dict[str, Any]) -> Iterator[tuple[object, object, str, bool]]:
    for name, value in delta.items():
        if name in _TEXTS and isinstance(value, str):
            yield index, name, value, False
        elif name == "tool_calls" and isinstance(value, list):
            for fragment in value:
                yield from _call_texts(index, fragment)
        elif name == "function_call" and isinstance(value, dict):
            yield index, name, str(value.get("arguments") or ""), True
        elif name not in {"role", "content"} and value:
            for text in texts_of(value):
                yield index, name, text, False


def _number(value: Any, most: int) -> int:
    """Return an index; what cannot be one is the first's: the answer ends with an error where it is put together."""
    return value if isinstance(value, int) and 0 <= value < most else 0


def _call_texts(index: object, fragment: Any) -> Iterator[tuple[object, object, str, bool]]:
    if not isinstance(fragment, dict):
        return
    number = _number(fragment.get("index"), _MOST_CALLS)
    for part, name in (("function", "arguments"), ("custom", "input")):
        inside = fragment.get(part)
        if isinstance(inside, dict) and isinstance(inside.get(name), str):
            yield index, (part, number), inside[name], part == "function"


def _event_texts(event: dict[str, Any]) -> Iterator[tuple[object, object, str, bool]]:
    delta = event.get("delta")
    if not isinstance(delta, dict):
        if event.get("type") == "content_block_start":
            for text in texts_of(event.get("content_block")):
                yield 0, "block", f"{text}\n", False
        return
    for name in _EVENT_TEXTS:
        if isinstance(delta.get(name), str):
            yield 0, name, delta[name], name == "partial_json"
