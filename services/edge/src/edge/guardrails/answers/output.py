"""Looks at an answer on its way out: nothing of what a rule blocks or redacts is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from edge.assembly import MessagesEvent
from edge.guardrails.answers.channel import HELD_CHARACTERS, PIECE_CHARACTERS, Channel
from edge.guardrails.answers.texts import AnswerTexts, Piece, choice_number
from edge.guardrails.input import Finding, texts_of, with_changes
from edge.guardrails.policy import Action, RuleInForce
from edge.guardrails.rules.beginnings import beginnings_of_rules

Json = dict[str, Any]

# What waits may be longer where choices take turns, and no longer than this for each.
_MOST_HELD_CHARACTERS = 4096
# What engines say of a choice beside its delta. All else may spell out what was redacted, as `logprobs` do.
_HARMLESS_FIELDS = frozenset(
    {"index", "delta", "logprobs", "finish_reason", "native_finish_reason", "stop_reason", "matched_stop"}
)


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


class _Slot(NamedTuple):
    """Where a piece of a text stands, in its chunk and in its channel."""

    piece: Piece
    channel: Channel
    start: int


class _End(NamedTuple):
    """Where a text of a chunk ends."""

    choice: int
    written: int
    """In its choice."""
    channel: Channel
    in_channel: int


@dataclass(slots=True)
class _Choice:
    written: int = 0
    looked_at: int = 0
    channels: dict[object, Channel] = field(default_factory=dict)
    has_changed_thoughts: bool = False


class _Waiting(NamedTuple):
    """A chunk that waits."""

    chunk: str | bytes
    ends: list[_End]
    """Of each of its texts."""
    length: int
    document: Any
    slots: Sequence[_Slot]


class OutputGuard:
    """Made for one answer. A chunk waits as long as something in it may still become a match.

    None is changed but where something is redacted.
    """

    def __init__(self, rules: Sequence[RuleInForce], checked: Checked, *, is_json: bool = False) -> None:
        """`checked` is kept up to date; `is_json`: the request asks for JSON, which redaction leaves whole."""
        self._rules = rules
        self._beginnings = beginnings_of_rules(each.rule for each in rules)
        self._redacts = any(each.action is Action.REDACT for each in rules)
        self._texts = AnswerTexts(is_json=is_json)
        self._choices: dict[int, _Choice] = {}
        self._waiting: deque[_Waiting] = deque()
        self._waiting_characters = 0
        self._checked = checked

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return the chunks that may go out; ContentStopped when nothing more may."""
        for chunk in chunks:
            self._add(chunk)
        for choice in self._choices.values():
            if choice.written - choice.looked_at >= (PIECE_CHARACTERS if self._beginnings is None else 1):
                self._look(choice, is_end=False)
        return self._released()

    def end(self) -> list[str | bytes]:
        """Return what has waited; ContentStopped when it must not go out."""
        for choice in self._choices.values():
            self._look(choice, is_end=True)
        rest: list[str | bytes] = []
        while self._waiting:
            self._release(self._waiting.popleft(), rest)
        return rest

    def fields(self, fields: Json) -> Json:
        """Return what stands beside an answer without what is redacted; ContentStopped when it must not go out."""
        changes: dict[str, str] = {}
        for text in texts_of(fields):
            channel = Channel(is_json=False, redacts=self._redacts)  # looked at once
            channel.add(text)
            self._look_at(channel, is_end=True)
            changes[text] = channel.rewritten(0, text)
        changed: Json = with_changes(fields, changes)
        return changed

    def _add(self, chunk: str | bytes) -> None:
        document, pieces = self._texts.read(chunk)
        ends: list[_End] = []
        slots: list[_Slot] = []
        length = 0
        for piece in pieces:
            choice = self._choices.get(piece.choice)
            if choice is None:
                choice = self._choices[piece.choice] = _Choice()
            channel = choice.channels.get(piece.channel)
            if channel is None:
                channel = Channel(is_json=piece.is_json, redacts=self._redacts, beginnings=self._beginnings)
                choice.channels[piece.channel] = channel
            if self._redacts:
                slots.append(_Slot(piece, channel, channel.written))
            text = piece.text + piece.after if piece.after else piece.text
            channel.add(text)
            choice.written += len(text)
            length += len(text)
            ends.append(_End(piece.choice, choice.written, channel, channel.written))
        self._waiting.append(_Waiting(chunk, ends, length, document if self._redacts else None, slots))
        self._waiting_characters += length

    def _released(self) -> list[str | bytes]:
        released: list[str | bytes] = []
        most = _MOST_HELD_CHARACTERS * max(len(self._choices), 1)
        while self._waiting:
            first = self._waiting[0]
            if any(map(self._waits, first.ends)):
                if self._waiting_characters <= most:
                    break
                for index in {end.choice for end in first.ends}:
                    self._look(self._choices[index], is_end=False)
            for slot in first.slots:
                opened = slot.channel.open_from
                if opened is not None and opened < slot.start + len(slot.piece.text):
                    self._look_at(slot.channel, is_end=True)  # it has waited long enough for the match to go on
            self._waiting.popleft()
            self._waiting_characters -= first.length
            self._release(first, released)
        return released

    def _waits(self, end: _End) -> bool:
        """Tell whether something in a text may still become a match: until so much follows that it is given up."""
        if end.channel.free_until >= end.in_channel:
            return False
        return self._choices[end.choice].looked_at < end.written + HELD_CHARACTERS

    def _look(self, choice: _Choice, *, is_end: bool) -> None:
        for channel in choice.channels.values():
            if channel.has_fresh or is_end:
                self._look_at(channel, is_end=is_end)
        self._checked.characters += choice.written - choice.looked_at
        choice.looked_at = choice.written

    def _look_at(self, channel: Channel, *, is_end: bool) -> None:
        for each, score in channel.look(self._rules, is_end=is_end):
            self._note(each, score)
        self._checked.is_stopped |= channel.is_endless
        if self._checked.is_stopped:
            self._waiting.clear()
            raise ContentStopped

    def _note(self, each: RuleInForce, score: float) -> None:
        known = self._checked.findings.get(each.rule.name)
        count, best = (1, score) if known is None else (known.count + 1, max(known.score, score))
        self._checked.findings[each.rule.name] = Finding(each.rule.name, each.rule.version, each.action, count, best)
        self._checked.is_stopped |= each.action is Action.BLOCK

    def _release(self, waiting: _Waiting, into: list[str | bytes]) -> None:
        """Let a chunk out, without what is redacted."""
        if not self._redacts:
            into.append(waiting.chunk)
            return
        if isinstance(waiting.chunk, str):
            (slot,) = waiting.slots
            text = slot.channel.rewritten(slot.start, waiting.chunk)
            if text or not waiting.chunk:
                into.append(text)
            return
        document, is_changed = waiting.document, self._redact(waiting.slots)
        if isinstance(waiting.chunk, MessagesEvent):
            if self._may_go(document, is_changed=is_changed):
                into.append(MessagesEvent(orjson.dumps(document)) if is_changed else waiting.chunk)
            return
        for choice in document:
            is_changed |= self._strip(choice)
        into.append(orjson.dumps(document) if is_changed else waiting.chunk)

    def _redact(self, slots: Sequence[_Slot]) -> bool:
        """Change the texts of a chunk; tell whether there was something to change."""
        is_changed = False
        below: dict[tuple[int, str], tuple[Json, dict[str, str]]] = {}
        for piece, channel, start in slots:
            text = channel.rewritten(start, piece.text)
            if text == piece.text:
                continue
            is_changed = True
            self._choices[piece.choice].has_changed_thoughts |= piece.is_thought
            if piece.is_below:
                below.setdefault((id(piece.holder), piece.key), (piece.holder, {}))[1][piece.text] = text
            else:
                piece.holder[piece.key] = text
        for (_, key), (holder, changes) in below.items():
            holder[key] = with_changes(holder[key], changes)
        return is_changed

    def _may_go(self, event: Json, *, is_changed: bool) -> bool:
        """Take the signature from a thought that was changed: it is the thought's no more. False: nothing is left."""
        choice = self._choices.setdefault(0, _Choice())
        block, delta = event.get("content_block"), event.get("delta")
        if isinstance(block, dict):
            choice.has_changed_thoughts = is_changed
            if is_changed and "signature" in block:
                block["signature"] = ""
        return not (choice.has_changed_thoughts and isinstance(delta, dict) and "signature" in delta)

    def _strip(self, choice: Json) -> bool:
        """Take away what spells out in another way what was redacted; tell whether there was something."""
        is_changed = choice.get("logprobs") is not None
        if is_changed:
            choice["logprobs"] = None
        for name in choice.keys() - _HARMLESS_FIELDS:
            del choice[name]
            is_changed = True
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return is_changed
        is_changed |= delta.pop("token_ids", None) is not None
        audio, details = delta.get("audio"), delta.get("reasoning_details")
        is_changed |= isinstance(audio, dict) and audio.pop("data", None) is not None
        known = self._choices.get(choice_number(choice))
        if isinstance(details, list) and known is not None and known.has_changed_thoughts:
            for each in details:
                is_changed |= isinstance(each, dict) and each.pop("signature", None) is not None
        return is_changed
