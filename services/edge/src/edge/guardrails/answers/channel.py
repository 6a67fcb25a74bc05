"""One text of an answer as it comes: what rules find in it over the borders of its pieces, and what is redacted."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from edge.guardrails.policy import Action, RuleInForce
from edge.guardrails.rules.beginnings import Beginnings

# The longest match that is found before any of it is sent, in characters of a choice.
HELD_CHARACTERS = 256
# Looked at in pieces of this size where nothing tells what may still become a match: each look takes a tenth of a
# millisecond.
PIECE_CHARACTERS = 128
# Of a match that is redacted and goes on. One that is longer cannot be followed to its end.
MOST_MATCHED_CHARACTERS = 8192
# Whether a match begins in the middle of a word is seen by what stands before it.
_CONTEXT_CHARACTERS = 8
# The last two are cut off: the rest is to come.
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt])|u[0-9a-fA-F]{0,3}\Z|\Z)')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_QUOTE = re.compile(r'\\.|"', re.DOTALL)
# What stands outside of strings, between the signs that hold JSON together.
_BARE = re.compile(r'[^\s{}\[\]:,"]+')
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")
_LITERALS = frozenset({"true", "false", "null"})


@dataclass(slots=True)
class Edit:
    """A part of a text that does not go out; a placeholder stands for it."""

    start: int
    end: int
    rule: str
    """The one with the longest match."""
    is_number: bool = False
    """Whether it is a number of JSON, in whose place a string has quotes."""
    is_written: bool = False
    """Whether the placeholder has gone out."""
    longest: int = 0

    @property
    def placeholder(self) -> str:
        """What goes out; unlike a placeholder of a request it has no capitals, and nothing is put in its place."""
        return f'"[redacted:{self.rule}]"' if self.is_number else f"[redacted:{self.rule}]"

    def cover(self, other: Edit) -> None:
        """Add one that overlaps."""
        self.end = max(self.end, other.end)
        self.is_written |= other.is_written
        if other.longest > self.longest:
            self.rule, self.longest = other.rule, other.longest


class Channel:
    """The words of a choice, its thoughts, or the arguments of a call."""

    def __init__(self, *, is_json: bool, redacts: bool, beginnings: Beginnings | None = None) -> None:
        """`is_json`: what a program is called with is looked at as it reads it, without escapes, and stays JSON.

        `beginnings` are those of the rules that it is looked at with; None: they are not known.
        """
        self._is_json = is_json
        self._redacts = redacts
        self._beginnings = beginnings
        self._fresh: list[str] = []
        # What was looked at and may still be a part of a match, the characters before it, whether it is in a string.
        self._seen, self._before, self._in_string = "", 0, False
        # Where the last match of each rule ended.
        self._told: dict[str, int] = {}
        self._edits: list[Edit] = []
        self._gone = 0
        self.written = 0
        """The characters that have come."""
        self.free_until = 0
        """Up to where nothing can become a match any more; further than `HELD_CHARACTERS` back nothing is kept."""
        self.open_from: int | None = None
        """Where a match begins that reaches to the end, and does not count because it may go on."""
        self.is_endless = False
        """Whether something that is to be redacted is too long to be followed."""

    @property
    def has_fresh(self) -> bool:
        """Whether something has not been looked at yet."""
        return bool(self._fresh)

    def add(self, text: str) -> None:
        """Add a piece."""
        self._fresh.append(text)
        self.written += len(text)

    def look(self, rules: Sequence[RuleInForce], *, is_end: bool) -> list[tuple[RuleInForce, float]]:
        """Look at what has come; return what is found that was not found before, with scores."""
        raw = self._seen + "".join(self._fresh)
        self._fresh.clear()
        window = (unescaped(raw) if self._is_json else raw).encode(errors="replace")
        self._note_free(raw, window, is_end=is_end)
        if self._beginnings is not None and not self._beginnings.may_match(window):
            self.open_from = None
            self._forget(raw)
            return []
        matches: list[tuple[int, int, RuleInForce, float]] = []
        open_matches: list[int] = []
        for each in rules:
            for start, end, score in each.rule.find(window):
                if self._before and not start:
                    continue  # cut off, and found when it was not
                # What reaches to the end may go on, and then be something else.
                if end == len(window) and end - start < HELD_CHARACTERS and not is_end:
                    open_matches.append(start)
                else:
                    matches.append((start, end, each, score))
        self.open_from = None
        found: list[tuple[RuleInForce, float]] = []
        if matches or open_matches:
            offsets = {*open_matches, *(match[0] for match in matches), *(match[1] for match in matches)}
            places = _places(raw, window, offsets, self._is_json)
            if open_matches:
                self._note_open(places[min(open_matches)])
            found = self._placed(raw, matches, places, is_end=is_end)
        self._forget(raw)
        return found

    def rewritten(self, start: int, text: str) -> str:
        """Return a piece that goes out, which began at `start`, without what is redacted."""
        end = self._gone = start + len(text)
        kept: list[str] = []
        done = start
        for number in range(bisect_right(self._edits, start, key=attrgetter("end")), len(self._edits)):
            edit = self._edits[number]
            if edit.start >= end:
                break
            kept.append(text[done - start : max(edit.start, start) - start])
            if not edit.is_written:
                kept.append(edit.placeholder)
                edit.is_written = True
            done = min(edit.end, end)
        kept.append(text[done - start :])
        return "".join(kept)

    def _note_free(self, raw: str, window: bytes, *, is_end: bool) -> None:
        """Note from where on something may still become a match."""
        if self._beginnings is None:
            return
        first = len(raw) if is_end else self._beginnings.first(window)
        if not is_end and (self._is_json or not window.isascii()):
            first = _places(raw, window, [first], self._is_json)[first]
        self.free_until = max(self.free_until, self._before + first)

    def _note_open(self, start: int) -> None:
        start += self._before
        self.open_from = start if self.open_from is None else min(start, self.open_from)

    def _placed(
        self,
        raw: str,
        matches: list[tuple[int, int, RuleInForce, float]],
        places: Mapping[int, int],
        *,
        is_end: bool,
    ) -> list[tuple[RuleInForce, float]]:
        """Return the matches that are new; those that are redacted become edits."""
        strings = _Strings(raw, in_string=self._in_string) if self._is_json else None
        found: list[tuple[RuleInForce, float]] = []
        edits: list[Edit] = []
        for first, last, each, score in matches:
            start, end = places[first], places[last]
            if each.action is Action.REDACT:
                parts = [(start, end, False)] if strings is None else strings.parts(start, end)
                if any(is_number and to == len(raw) for _, to, is_number in parts) and not is_end:
                    self._note_open(min(part[0] for part in parts))
                    continue
                for begin, to, is_number in parts:
                    size = to - begin
                    edits.append(Edit(self._before + begin, self._before + to, each.rule.name, is_number, False, size))
            told = self._told.get(each.rule.name, 0)
            if self._before + end > told:
                self._told[each.rule.name] = self._before + end
                if self._before + start >= told:
                    found.append((each, score))
        if edits:
            self._merge(edits)
        return found

    def _merge(self, edits: list[Edit]) -> None:
        merged: list[Edit] = []
        for edit in sorted([*self._edits, *edits], key=attrgetter("start")):
            if merged and edit.start < merged[-1].end:
                merged[-1].cover(edit)
            else:
                merged.append(edit)
        self._edits = merged

    def _forget(self, raw: str) -> None:
        """Keep what a match may still begin in, or go on from."""
        cut = len(raw) - HELD_CHARACTERS - PIECE_CHARACTERS
        for edit in self._edits:
            if edit.end + HELD_CHARACTERS > self._before + len(raw):  # it may go on: the next line of a key
                cut = min(cut, edit.start - self._before - _CONTEXT_CHARACTERS)
                self.is_endless = len(raw) - cut > MOST_MATCHED_CHARACTERS
                break
        if cut > 0:
            if self._is_json:
                cut = _between_escapes(raw, cut)
                if self._redacts:
                    self._in_string = _Strings(raw[:cut], in_string=self._in_string).is_open
            self._before += cut
            raw = raw[cut:]
        self._seen = raw
        if self._edits:
            passed = min(self._before, self._gone)
            self._edits = [edit for edit in self._edits if edit.end > passed]


class _Strings:
    """Where strings are in a piece of JSON."""

    def __init__(self, raw: str, *, in_string: bool) -> None:
        self._raw = raw
        self._quotes = [found.start() for found in _QUOTE.finditer(raw) if found.group() == '"']
        self._starts_inside = in_string

    @property
    def is_open(self) -> bool:
        """Whether the piece ends within a string."""
        return self._starts_inside ^ bool(len(self._quotes) & 1)

    def parts(self, start: int, end: int) -> list[tuple[int, int, bool]]:
        """Return what is replaced, and whether it is a number: parts of strings, whole numbers; JSON remains JSON.

        What is neither was no JSON before.
        """
        first = bisect_left(self._quotes, start)
        is_inside = self._starts_inside ^ bool(first & 1)
        parts: list[tuple[int, int, bool]] = []
        begin = start
        for number in range(first, len(self._quotes) + 1):
            quote = self._quotes[number] if number < len(self._quotes) else len(self._raw)
            stop = min(quote, end)
            if begin < stop:
                if is_inside:
                    parts.append((begin, stop, False))
                else:
                    parts += self._bare(begin, stop, self._quotes[number - 1] + 1 if number else 0, quote)
            if quote >= end:
                break
            begin, is_inside = quote + 1, not is_inside
        return parts

    def _bare(self, begin: int, stop: int, least: int, most: int) -> Iterator[tuple[int, int, bool]]:
        for found in _BARE.finditer(self._raw, least, most):
            if found.start() >= stop or found.end() <= begin or found.group() in _LITERALS:
                continue
            if _NUMBER.fullmatch(found.group()):
                yield found.start(), found.end(), True
            else:
                yield max(found.start(), begin), min(found.end(), stop), False


def unescaped(text: str) -> str:
    """Return JSON's inside of a text as the program reads it that is called with it."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_one_unescaped, text)


def _one_unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return _ESCAPED.get(found[2], found[2]) if found[2] else ""


def _between_escapes(raw: str, cut: int) -> int:
    """Return the last place up to `cut` that is not in the middle of an escape."""
    if "\\" not in raw:
        return cut
    for found in _ESCAPE.finditer(raw, 0, min(cut + 6, len(raw))):
        if found.start() < cut < found.end():
            return found.start()
    return cut


def _places(raw: str, window: bytes, offsets: Iterable[int], is_json: bool) -> dict[int, int]:
    """Return the characters of the text as it came at which bytes of the window are."""
    escapes = _ESCAPE.finditer(raw) if is_json and "\\" in raw else iter(())
    escape = next(escapes, None)
    places: dict[int, int] = {}
    is_plain = window.isascii()
    done = characters = longer = 0
    for offset in sorted(offsets):
        characters += offset - done if is_plain else len(window[done:offset].decode(errors="ignore"))
        done = offset
        while escape is not None and escape.start() - longer < characters:
            longer += len(escape.group()) - 1
            escape = next(escapes, None)
        places[offset] = characters + longer
    return places
