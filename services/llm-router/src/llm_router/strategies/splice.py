"""Where a continued answer is joined to what was delivered before: the repeated words are found and left out."""

from __future__ import annotations

import re

from llm_router.errors import SpliceNotFound
from llm_router.providers.provider import Content

# How many of the last characters the next target has to repeat: enough to be unmistakable, few enough to be cheap.
_ANCHOR_CHARACTERS = 40
# How much may come before the repeated words; an answer that has not repeated them by then is no continuation.
_MAX_PREAMBLE_CHARACTERS = 240


def anchor_of(delivered: str) -> str:
    """Return the last characters of `delivered`, from the beginning of a word where there is one."""
    tail = delivered[-_ANCHOR_CHARACTERS:]
    if len(tail) < len(delivered):
        _, space, words = tail.partition(" ")
        tail = words if space and words.strip() else tail
    return tail


class Splice:
    """Holds back what the next target writes until it has repeated the end of `delivered`; passes on what follows."""

    def __init__(self, delivered: str) -> None:
        """`delivered` is the text so far; with none of it there is nothing to repeat."""
        self._delivered = _squeezed(delivered)
        self._skips_blanks = delivered[-1:].isspace()
        words = anchor_of(delivered).split()
        # Models change line breaks and runs of blanks.
        self._anchor = re.compile(r"\s+".join(re.escape(word) for word in words))
        self._held: list[str] = []
        self._repeated: int | None = (
            0  # how much of the delivered text was repeated from its beginning; None: it is not
        )
        self._ended_blank = False
        self.is_found = not words

    def join(self, contents: list[Content]) -> list[Content]:
        """Return the part of `contents` that is new. SpliceNotFound when this is no continuation.

        Until then only text counts: the thoughts of a model that reads its own words again are left out.
        """
        joined: list[Content] = []
        for content in contents:
            if isinstance(content, str):
                text = self._skip_blanks(content if self.is_found else self._search(content))
                joined += [text] if text else []
            elif self.is_found:
                joined.append(content)
        return joined

    def require(self) -> None:
        """SpliceNotFound when the answer ended before it had repeated those words."""
        if not self.is_found:
            raise SpliceNotFound

    def _search(self, text: str) -> str:
        self._held.append(text)
        self._compare(text)
        if self._repeated is not None and self._repeated < len(self._delivered):
            return ""  # it repeats everything, from the beginning; an earlier likeness is no match
        held = "".join(self._held)
        end = self._end_of_repetition(held)
        if end is None:
            self._held = [held]
            return ""
        self.is_found = True
        return held[end:]

    def _compare(self, text: str) -> None:
        """Follow the repetition of the delivered text from its beginning: each piece is read once."""
        if self._repeated is None:
            return
        words = text.split()
        if not words:
            self._ended_blank = self._ended_blank or bool(text)
            return
        is_apart = self._repeated > 0 and (self._ended_blank or text[0].isspace())
        squeezed = (" " if is_apart else "") + " ".join(words)
        self._ended_blank = text[-1].isspace()
        rest = len(self._delivered) - self._repeated
        is_repeated = self._delivered.startswith(squeezed[:rest], self._repeated)
        self._repeated = self._repeated + len(squeezed[:rest]) if is_repeated else None

    def _skip_blanks(self, text: str) -> str:
        """Leave out blanks behind the repetition when one was delivered before it."""
        if not self._skips_blanks:
            return text
        rest = text.lstrip()
        self._skips_blanks = not rest
        return rest

    def _end_of_repetition(self, held: str) -> int | None:
        """Return where in the held text the repetition ends; None when that has not come yet."""
        if self._repeated is not None:
            return _raw_length(held, len(self._delivered))
        match = self._anchor.search(held)
        if match is not None:
            return match.end()
        if len(held) > _MAX_PREAMBLE_CHARACTERS:
            raise SpliceNotFound
        return None


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _raw_length(raw: str, squeezed_length: int) -> int:
    """Return how much of `raw` makes up the first `squeezed_length` characters of its squeezed form."""
    length = 0
    is_between = True  # leading blanks count for nothing
    for index, character in enumerate(raw):
        if length == squeezed_length:
            return index
        if not character.isspace():
            length += 1
            is_between = False
        elif not is_between:
            length += 1
            is_between = True
    return len(raw)
