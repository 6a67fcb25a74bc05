"""The output stage: what every answer passes on its way out, before it is kept, from the cache too."""

from __future__ import annotations

from typing import Any, Protocol

from edge.problems import Problem

Json = dict[str, Any]


class OutputStage(Protocol):
    """Made for one answer. It takes chunks and gives chunks; it may hold some back, and it may stop the answer."""

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return what may go out of what has come so far; Problem when the answer must not go on.

        ContentStopped when it must not go on, and ends as one that its content has ended.
        """

    def end(self) -> list[str | bytes]:
        """Return what was held back of an answer that is whole; Problem or ContentStopped as above."""

    def fields(self, fields: Json) -> Json:
        """Return what may go out of texts that stand beside an answer, by name; Problem or ContentStopped as above."""


class PassOn:
    """Lets everything pass."""

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Hold nothing back."""
        return chunks

    def end(self) -> list[str | bytes]:
        """Nothing is held back."""
        return []

    def fields(self, fields: Json) -> Json:
        """Leave them as they are."""
        return fields


class Both:
    """One stage behind the other."""

    def __init__(self, first: OutputStage, second: OutputStage) -> None:
        self._first = first
        self._second = second

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Let pass what both let pass."""
        return self._second.take(self._first.take(chunks))

    def end(self) -> list[str | bytes]:
        """Return what the first has held back, as far as the second lets it pass, and what that has held back."""
        return [*self._second.take(self._first.end()), *self._second.end()]

    def fields(self, fields: Json) -> Json:
        """Return what both let pass."""
        return self._second.fields(self._first.fields(fields))


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

    def fields(self, fields: Json) -> Json:
        """Leave them as they are: they are no part of the answer."""
        return fields
