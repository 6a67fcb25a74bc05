"""Every attempt that the provider saw, in memory, for tests to read."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from fault_provider.plan import Plan, Wire

Finish = Literal["open", "completed", "client_closed", "cut", "reset", "refused"]
_KEPT = 100_000
_BODY_KEPT_BYTES = 64 * 1024
_CREDENTIAL_TAIL_CHARACTERS = 4
_FLAKY_NAMES_KEPT = 10_000


@dataclass
class Attempt:
    """One request as it was seen and what became of it. Times are Unix seconds; `usage` is what would be billed."""

    index: int
    wire: Wire
    model: str
    behaviour: str
    test: str
    stream: bool
    raw_body: bytes = field(repr=False)
    header_names: list[str]
    has_authorization: bool
    credential_tail: str
    anthropic_version: str
    anthropic_beta: str
    received_at: float = field(default_factory=time.time)
    first_chunk_at: float | None = None
    last_chunk_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    chunks_sent: int = 0
    text_sent_characters: int = 0
    finish: Finish = "open"
    usage: dict[str, Any] | None = None

    def sent_chunks(self, count: int, characters: int) -> None:
        """Note that `count` content chunks with `characters` of text together were written."""
        self.last_chunk_at = time.time()
        if self.first_chunk_at is None:
            self.first_chunk_at = self.last_chunk_at
        self.chunks_sent += count
        self.text_sent_characters += characters

    def end(self, finish: Finish) -> None:
        """Note how it ended; only the first call counts."""
        if self.finish == "open":
            self.finish = finish
            self.ended_at = time.time()

    def as_record(self) -> dict[str, Any]:
        """Return the attempt for JSON; `body` is None when it was over 64 KiB."""
        record = asdict(self)
        raw_body = record.pop("raw_body")
        record["body"] = orjson.loads(raw_body) if raw_body else None
        return record


class AttemptLog:
    """The last 100,000 attempts, and how often each flaky model was called."""

    def __init__(self) -> None:
        self._attempts: deque[Attempt] = deque(maxlen=_KEPT)
        self._indexes = itertools.count(1)
        self._calls: Counter[str] = Counter()

    def begin(self, plan: Plan, wire: Wire, stream: bool, raw_body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Record that a request for `plan` came in. Of the headers only names are kept, and what attempts show."""
        credential = headers.get("authorization") or headers.get("x-api-key")
        attempt = Attempt(
            index=next(self._indexes),
            wire=wire,
            model=plan.model,
            behaviour=plan.behaviour,
            test=plan.test,
            stream=stream,
            raw_body=raw_body if len(raw_body) <= _BODY_KEPT_BYTES else b"",
            header_names=sorted(headers),
            has_authorization=credential is not None,
            credential_tail=(credential or "")[-_CREDENTIAL_TAIL_CHARACTERS:],
            anthropic_version=headers.get("anthropic-version", ""),
            anthropic_beta=headers.get("anthropic-beta", ""),
        )
        self._attempts.append(attempt)
        return attempt

    def calls_of(self, model: str) -> int:
        """Count one more call of `model`, by its exact name, and return which it was, from 1."""
        if model not in self._calls and len(self._calls) >= _FLAKY_NAMES_KEPT:
            self._calls.clear()
        self._calls[model] += 1
        return self._calls[model]

    def select(self, model: str | None, test: str | None) -> list[dict[str, Any]]:
        """Return the records, oldest first, of this exact model name and this `test` parameter; None matches all."""
        return [attempt.as_record() for attempt in self._attempts if _matches(attempt, model, test)]

    def forget(self, model: str | None, test: str | None) -> int:
        """Drop what `select` would return, with the calls counted for those models; return how many there were."""
        dropped = [attempt for attempt in self._attempts if _matches(attempt, model, test)]
        kept = [attempt for attempt in self._attempts if not _matches(attempt, model, test)]
        self._attempts = deque(kept, maxlen=_KEPT)
        for name in {attempt.model for attempt in dropped}:
            self._calls.pop(name, None)
        return len(dropped)


def _matches(attempt: Attempt, model: str | None, test: str | None) -> bool:
    return (model is None or attempt.model == model) and (test is None or attempt.test == test)
