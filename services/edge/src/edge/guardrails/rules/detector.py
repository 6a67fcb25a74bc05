"""What a detector is: a rule with a name and a version that finds spans in a text, in time linear in its length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import re2

Kind: TypeAlias = Literal["pii", "secrets", "injection", "classifier", "commands", "custom", "webhook", "format"]
Refine: TypeAlias = Callable[[bytes, int, int], tuple[int, int] | None]
"""Given a text and the span of a match: the span that counts, or None for a match that is nothing."""


BETWEEN = b"\n\x00\n"
"""Stands between the texts of a request, which are looked at together: no rule looks across it."""


class PatternError(Exception):
    """A pattern that cannot be used."""


class Span(NamedTuple):
    """What a rule has found, in bytes of the text's UTF-8."""

    start: int
    end: int
    score: float
    """How sure the rule is, from 0 to 1."""


class Rule(Protocol):
    """Finds one thing."""

    @property
    def name(self) -> str:
        """How policies, metrics and receipts call it."""

    @property
    def version(self) -> int:
        """Raised whenever it finds something else than before."""

    @property
    def kind(self) -> Kind:
        """With which others it is switched on and off."""

    def find(self, text: bytes) -> Iterator[Span]:
        """Return what it finds in a text, in order."""


@dataclass(frozen=True, slots=True)
class PatternRule:
    """A rule by patterns of RE2, which no text can make slow."""

    name: str
    kind: Kind
    patterns: Sequence[str]
    """Each may have one group: then that is the span."""
    version: int = 1
    refine: Refine | None = None
    score: float = 1.0

    def find(self, text: bytes) -> Iterator[Span]:
        """Return what the patterns match and `refine` lets stand."""
        for pattern in self.patterns:
            compiled = compiled_pattern(pattern)
            group = 1 if compiled.groups else 0
            for match in compiled.finditer(text):
                start, end = match.span(group)
                refined = self.refine(text, start, end) if self.refine is not None else (start, end)
                if refined is not None and refined[0] < refined[1]:
                    yield Span(refined[0], refined[1], self.score)


@lru_cache(maxsize=4096)
def compiled_pattern(pattern: str) -> Any:
    """Compile a pattern; PatternError says what is wrong with it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        raise PatternError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


def in_middle_of_word(text: bytes, start: int, end: int, joiners: bytes = b"", behind: bytes | None = None) -> bool:
    """Tell whether a letter, a digit or one of the `joiners` stands directly before or behind a span.

    `behind`: other joiners count there.
    """
    around = (
        (text[start - 1 : start] if start else b"", joiners),
        (text[end : end + 1], joiners if behind is None else behind),
    )
    return any(sign and (sign.isalnum() or sign == b"_" or sign in own or sign >= b"\x80") for sign, own in around)


def whole_words(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Let stand what is no part of a longer word."""
    return None if in_middle_of_word(text, start, end) else (start, end)
