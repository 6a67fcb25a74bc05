"""Where in a text that is still being written a match may have begun: patterns of the beginnings of matches.

For a pattern of RE2 another one is derived that matches every beginning of its matches, the empty and the whole one
included. Anchored at the end of what has come, it finds the first place from which a match may still go on: RE2 reads
such a pattern backwards from the end, in time linear in the length, and mostly stops at the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from edge.guardrails.rules.detector import PatternError, PatternRule, Rule

# What stands behind a match may make it none, or another one: the end of a version, a sign that joins words.
_CHARACTERS_BEHIND = 32
# Of one derived pattern. RE2's own limit is on both directions together.
_MAX_MEMORY_BYTES = 32 * 1024 * 1024
# So many patterns become one: with many more RE2 gives up its fast way.
_GROUP = 16
_QUANTIFIERS = frozenset("*+?{")
_ASSERTIONS = frozenset("bBAz")
_SETS = frozenset("dDwWsSC")
_CONTROLS = frozenset("afnrtv")


class _Piece(NamedTuple):
    """A part of a pattern."""

    whole: str
    begun: str
    """Matches every beginning of what `whole` matches."""
    is_single: bool = False
    """Whether it is one character, or a place: it has begun only when it is whole."""


class _Parser:
    """Reads one pattern of RE2; PatternError for what is not known here."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._flags_here = ""  # in force at this place, besides those of groups around it

    def read(self) -> _Piece:
        """Return the whole pattern."""
        piece = self._alternatives()
        if self._at < len(self._pattern):
            raise PatternError("a parenthesis too many")
        return piece

    def _alternatives(self) -> _Piece:
        """Read up to the end of a group; flags that are set in it hold to its end, over its alternatives too."""
        around, self._flags_here = self._flags_here, ""
        flags = self._flags()
        inside = self._alternatives() if flags is not None else self._choices()
        self._flags_here = around
        return _flagged(inside, flags) if flags is not None else inside

    def _choices(self) -> _Piece:
        pieces = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            pieces.append(self._sequence())
        if len(pieces) == 1:
            return pieces[0]
        return _Piece(_either(piece.whole for piece in pieces), _either(piece.begun for piece in pieces))

    def _sequence(self) -> _Piece:
        pieces: list[_Piece] = []
        while self._peek() not in {"", "|", ")"}:
            flags = self._flags()
            if flags is not None:
                self._flags_here = flags if not self._flags_here else self._joined(flags)
                continue
            piece = self._repeated()
            pieces.append(_flagged(piece, self._flags_here) if self._flags_here else piece)
        begun = ""
        for piece in reversed(pieces):
            begun = f"(?:{piece.whole}{begun})?" if piece.is_single else f"(?:{piece.begun}|{piece.whole}{begun})"
        return _Piece("".join(piece.whole for piece in pieces), begun)

    def _flags(self) -> str | None:
        """Return the flags that are set from here on, as in `(?i)`; None: none are."""
        if not self._pattern.startswith("(?", self._at):
            return None
        end = self._at + 2
        while end < len(self._pattern) and self._pattern[end] in "imsU-":
            end += 1
        if end == self._at + 2 or not self._pattern.startswith(")", end):
            return None
        flags, self._at = self._pattern[self._at + 2 : end], end + 1
        return flags

    def _joined(self, flags: str) -> str:
        """Return flags on top of those that are in force; PatternError for those that switch some off."""
        if "-" in flags or "-" in self._flags_here:
            raise PatternError("flags that are switched on and off")
        return self._flags_here + flags

    def _repeated(self) -> _Piece:
        piece = self._atom()
        while self._peek() in _QUANTIFIERS:
            least, most, is_read = self._bounds()
            if not is_read:
                break
            if self._peek() == "?":  # whether it takes as little as it can does not matter here
                self._at += 1
            piece = _repeat(piece, least, most)
        return piece

    def _bounds(self) -> tuple[int, int | None, bool]:
        """Read a quantifier: how often at least and at most. False: the brace is a sign like any other."""
        sign = self._peek()
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if sign in simple:
            self._at += 1
            return (*simple[sign], True)
        end = self._pattern.find("}", self._at)
        least, comma, most = self._pattern[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not least.isdigit() or not (most.isdigit() or not most):
            return 0, None, False
        self._at = end + 1
        return int(least), int(most) if most else None if comma else int(least), True

    def _atom(self) -> _Piece:
        sign = self._peek()
        if sign == "(":
            return self._group()
        if sign == "[":
            return _single(self._set())
        if sign == "\\":
            return _single(self._escape())
        self._at += 1
        return _single("\\{" if sign == "{" else sign)

    def _group(self) -> _Piece:
        self._at += 1
        opening = "(?:"
        if self._peek() == "?":
            end = self._at + 1
            while end < len(self._pattern) and self._pattern[end] in "imsU-":
                end += 1
            if self._pattern.startswith(("P<", "<"), self._at + 1):
                end = self._pattern.find(">", self._at)
            elif self._pattern.startswith(":", end):
                opening = f"(?{self._pattern[self._at + 1 : end]}:"
            else:
                raise PatternError("a group of an unknown kind")
            if end < 0:
                raise PatternError("a group without a name")
            self._at = end + 1
        inside = self._alternatives()
        if self._peek() != ")":
            raise PatternError("a parenthesis too few")
        self._at += 1
        return _Piece(f"{opening}{inside.whole})", f"{opening}{inside.begun})")

    def _set(self) -> str:
        """Read what stands in brackets."""
        start = self._at
        self._at += 2 if self._pattern.startswith("^", start + 1) else 1
        if self._peek() == "]":
            self._at += 1
        while self._peek() != "]":
            if self._peek() == "\\":
                self._escape()
            elif self._pattern.startswith("[:", self._at):
                self._at = self._pattern.find(":]", self._at) + 2
                if self._at == 1:
                    raise PatternError("a class without an end")
            elif not self._peek():
                raise PatternError("a bracket too few")
            else:
                self._at += 1
        self._at += 1
        return self._pattern[start : self._at]

    def _escape(self) -> str:
        start = self._at
        kind = self._pattern[start + 1 : start + 2]
        self._at += 2
        if kind in {"p", "P", "x"} and self._peek() == "{":
            self._at = self._pattern.find("}", start) + 1
            if not self._at:
                raise PatternError("a brace too few")
        elif kind in {"p", "P"}:
            self._at += 1
        elif kind == "x":
            self._at += 2
        elif not kind or (kind.isalnum() and kind not in _ASSERTIONS | _SETS | _CONTROLS):
            raise PatternError("an escape of an unknown kind")
        return self._pattern[start : self._at]

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]


def _flagged(piece: _Piece, flags: str) -> _Piece:
    return _Piece(f"(?{flags}:{piece.whole})", f"(?{flags}:{piece.begun})", piece.is_single)


def _single(text: str) -> _Piece:
    return _Piece(text, f"(?:{text})?", is_single=True)


def _either(texts: Iterable[str]) -> str:
    return f"(?:{'|'.join(texts)})"


def _repeat(piece: _Piece, least: int, most: int | None) -> _Piece:
    bounds = f"{least},{'' if most is None else most}"
    whole = f"(?:{piece.whole}){{{bounds}}}"
    if most == 0:
        return _Piece("", "")
    before = "*" if most is None else f"{{0,{most - 1}}}"
    return _Piece(whole, f"(?:{piece.whole}){before}{piece.begun}")


def beginnings_of(pattern: str) -> str:
    """Return a pattern of all beginnings of its matches; PatternError when it cannot be derived."""
    return _Parser(pattern).read().begun


def beginnings_of_rules(rules: Iterable[Rule]) -> Beginnings | None:
    """Return the beginnings of what rules find; None when they cannot be told."""
    patterns: list[str] = []
    for rule in rules:
        if not isinstance(rule, PatternRule):
            return None
        patterns += rule.patterns
    try:
        return Beginnings(patterns)
    except PatternError:
        return None


class Beginnings:
    """Finds where a match of some patterns may have begun, at the end of a text that goes on."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """PatternError when it cannot be told for one of them."""
        groups = [tuple(patterns[at : at + _GROUP]) for at in range(0, len(patterns), _GROUP)]
        self._groups = [_compiled(group) for group in groups]

    def may_match(self, text: bytes) -> bool:
        """Tell whether one of the patterns matches somewhere."""
        return any(whole.search(text) is not None for whole, _ in self._groups)

    def first(self, text: bytes) -> int:
        """Return from which byte on something may still become a match, or another match; its length: from none."""
        first = len(text)
        for _, begun in self._groups:
            match = begun.search(text)
            if match is not None:
                first = min(first, match.start())
        return first


# Policies share their rules, and most groups with them.
@lru_cache(maxsize=1024)
def _compiled(patterns: tuple[str, ...]) -> tuple[Any, Any]:
    """Compile what matches one of the patterns, and what a match may have begun with at the end."""
    pieces = [_Parser(pattern).read() for pattern in patterns]
    begun = _either(piece.begun for piece in pieces)
    whole = _either(piece.whole for piece in pieces)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    options.longest_match = True
    try:
        at_end = re2.compile(f"(?:{begun}|{whole}(?s:.){{0,{_CHARACTERS_BEHIND}}})\\z", options)
        return re2.compile(whole, options), at_end
    except re2.error as error:
        raise PatternError("too many beginnings") from error
