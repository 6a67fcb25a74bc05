"""The output stage: what every answer passes on its way out, before it is kept, from the cache too."""

from __future__ import annotations

from typing import Protocol

from edge.problems import Problem


class OutputStage(Protocol):
    """Made for one answer. It takes chunks and gives chunks; it may hold some back, and it may stop the answer."""

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return what may go out of what has come so far; Problem when the answer must not go on."""

    def end(self) -> list[str | bytes]:
        """Return what was held back of an answer that is whole; Problem when it must not go out."""


class PassOn:
    """Lets everything pass."""

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Hold nothing back."""
        return chunks

    def end(self) -> list[str | bytes]:
        """Nothing is held back."""
        return []


class SizeLimit:
    """Stops an answer that is longer than this process is willing to keep, for a client that wants it in one piece."""

    def __init__(self, max_answer_bytes: int) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._left = max_answer_bytes

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Let everything pass until the limit."""
        self._left -= sum(map(len, chunks))
        if self._left < 0:
            raise Problem(
                "answer_too_long", f"the answer is longer than {self._max_answer_bytes} bytes and was stopped"
            )
        return chunks

    def end(self) -> list[str | bytes]:
        """Nothing is held back."""
        return []
