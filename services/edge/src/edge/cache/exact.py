"""The exact response cache: the same request of the same tenant gets the same answer for a day."""

from __future__ import annotations

from collections.abc import Callable

from edge.answer import Answer
from edge.assembly import MalformedChunk
from edge.cache.cache import Bypass, CachePolicy, CacheQuestion, Hit, LookUp, Miss
from edge.cache.entry import decode, encode
from edge.cache.key import cache_key
from edge.conversation import Content, Conversation
from edge.events.redis import Command

# From the moment of writing; a hit does not extend it, so that a wrong answer dies however popular it is.
TTL_SECONDS = 24 * 60 * 60


class ExactCache:
    """Keeps answers under a key of everything that can change them."""

    def __init__(self, check: Callable[[Answer], None]) -> None:
        """`check` raises MalformedChunk for an answer that the contract of the request cannot write."""
        self._check = check

    def question(self, tenant: str, requested_model: str, content: Content, policy: CachePolicy) -> CacheQuestion:
        """Ask for the answer to the same request, as far as the client's `policy` allows."""
        if not isinstance(content, Conversation) or not (policy.may_read or policy.may_write):
            return CacheQuestion(None, None, policy.bypass_reason or "not_cacheable")
        key = cache_key(tenant, requested_model, content)
        return CacheQuestion(
            key=key if policy.may_read else None,
            entry_key=key if policy.may_write else None,
            bypass_reason=policy.bypass_reason,
            choices=content.choices,
        )

    def look_up(self, question: CacheQuestion, stored: bytes | None) -> LookUp:
        """Read what is stored; what cannot be read, or not be written for the client, is a miss."""
        if question.key is None:
            return Bypass(question.bypass_reason, question.entry_key)
        if stored is None:
            return Miss(question.entry_key)
        answer = self._usable(stored, question.choices)
        return Miss(question.entry_key, had_unusable_entry=True) if answer is None else Hit(answer)

    def _usable(self, stored: bytes, asked_for: int) -> Answer | None:
        answer = decode(stored)
        if answer is None or len(answer.finish_reasons) != asked_for:
            return None
        if not all(isinstance(chunk, str) for chunk in answer.chunks):  # text alone can always be written
            try:
                self._check(answer)
                choices = answer.choices()
            except MalformedChunk:
                return None
            # The router gives each call an id, and clients answer calls by their ids.
            if not all(call["id"] for choice in choices for call in choice["message"].get("tool_calls") or ()):
                return None
        return answer

    def store(self, look_up: LookUp, answer: Answer) -> Command | None:
        """Store the answer for a day unless it came from here or is too long."""
        if isinstance(look_up, Hit) or look_up.entry_key is None:
            return None
        value = encode(answer)
        return None if value is None else ("SET", look_up.entry_key, value, "EX", TTL_SECONDS)
