"""Step 3 of the request path: the response cache. What a client allows, what a look-up finds, what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from edge.answer import Answer
from edge.cache.policy import CachePolicy
from edge.conversation import Content
from edge.events.redis import Command
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


@dataclass(frozen=True, slots=True)
class CacheQuestion:
    """What a cache wants to know of Redis, asked in the round trip that admits the request."""

    key: str | None
    """Under which the answer is looked up; None: it is not."""
    entry_key: str | None
    """Under which the answer is stored; None: it is not."""
    bypass_reason: str
    """Why it is not looked up; empty when it is."""
    choices: int = 1
    """How many choices an answer to the request has."""


@dataclass(frozen=True, slots=True)
class Hit:
    """The answer was there."""

    answer: Answer
    status = ledgerpb.CACHE_STATUS_HIT
    reason = ""


@dataclass(frozen=True, slots=True)
class Miss:
    """The answer was not there."""

    entry_key: str | None = None
    """Under which the new answer is stored."""
    had_unusable_entry: bool = False
    """Whether something was there that is no answer to the request."""
    status = ledgerpb.CACHE_STATUS_MISS
    reason = ""


@dataclass(frozen=True, slots=True)
class Bypass:
    """The cache was not asked, or could not be."""

    reason: str
    """One of a closed set: a label of a metric."""
    entry_key: str | None = None
    status = ledgerpb.CACHE_STATUS_BYPASS


LookUp: TypeAlias = Hit | Miss | Bypass


class ResponseCache(Protocol):
    """Keeps whole answers."""

    def question(self, tenant: str, requested_model: str, content: Content, policy: CachePolicy) -> CacheQuestion:
        """Return what is to be asked of Redis for this request."""

    def look_up(self, question: CacheQuestion, stored: bytes | None) -> LookUp:
        """Return what is found, given what Redis holds under `question.key`."""

    def store(self, look_up: LookUp, answer: Answer) -> Command | None:
        """Return the command that stores a whole answer; None when it is not to be stored."""


class NoCache:
    """Keeps nothing: for answers that are not worth their room in Redis."""

    def __init__(self, reason: str) -> None:
        """`reason` says in responses and rows why an answer is not cached."""
        self._reason = reason

    def question(self, _tenant: str, _requested_model: str, _content: Content, _policy: CachePolicy) -> CacheQuestion:
        """Ask nothing."""
        return CacheQuestion(key=None, entry_key=None, bypass_reason=self._reason)

    def look_up(self, question: CacheQuestion, _stored: bytes | None) -> LookUp:
        """Find nothing."""
        return Bypass(question.bypass_reason)

    def store(self, _look_up: LookUp, _answer: Answer) -> Command | None:
        """Store nothing."""
        return None
