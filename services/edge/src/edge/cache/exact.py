"""The exact response cache: the same request of the same tenant gets the same answer for a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson

from edge.answer import Answer
from edge.assembly import MalformedChunk, MessagesEvent
from edge.cache.cache import Bypass, CacheQuestion, Hit, LookUp, Miss
from edge.cache.entry import decode, encode
from edge.cache.key import cache_key
from edge.cache.policy import CachePolicy
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
            if not _is_from_a_router(answer, choices):
                return None
        return answer

    def store(self, look_up: LookUp, answer: Answer) -> Command | None:
        """Store the answer for a day unless it came from here or is too long."""
        if isinstance(look_up, Hit) or look_up.entry_key is None:
            return None
        value = encode(answer)
        return None if value is None else ("SET", look_up.entry_key, value, "EX", TTL_SECONDS)


def _is_from_a_router(answer: Answer, choices: list[dict[str, Any]]) -> bool:
    """Say whether chunks are of choices that were asked for, and each call has a number and says its id and type once.

    A router sees to it, and clients join what comes twice.
    """
    chunks = [chunk for chunk in answer.chunks if isinstance(chunk, bytes) and not isinstance(chunk, MessagesEvent)]
    told = [choice for chunk in chunks for choice in orjson.loads(chunk)]
    if not all(type(choice["index"]) is int and 0 <= choice["index"] < len(choices) for choice in told):
        return False
    calls: defaultdict[tuple[int, Any], list[Any]] = defaultdict(list)
    for choice in told:
        for piece in (choice.get("delta") or {}).get("tool_calls") or ():
            calls[choice["index"], piece.get("index")].append(piece)
    numbers: defaultdict[int, list[Any]] = defaultdict(list)
    for index, number in calls:
        numbers[index].append(number)
    are_in_order = all(found == list(range(len(found))) for found in numbers.values())
    return are_in_order and all(_is_call(*pieces) for pieces in calls.values())


def _is_call(first: dict[str, Any], *rest: dict[str, Any]) -> bool:
    """Say whether the first piece of a call has all that is said once, and the texts of all pieces are texts."""
    kind = "custom" if "custom" in first else "function"
    bodies = [piece.get(kind) or {} for piece in (first, *rest)]
    names = ("name", "input" if kind == "custom" else "arguments")
    return (
        all(isinstance(first.get(name), str) and first[name] for name in ("id", "type"))
        and all(name in bodies[0] for name in names)
        and not any(piece.get(name) is not None for piece in rest for name in ("id", "type"))
        and all(isinstance(body[name], str) for body in bodies for name in names if name in body)
    )
