"""What a check is: one reason why a request may not run. Some decide here, some are a slot of the script in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.cache.cache import CachePolicy, ResponseCache
from edge.conversation import Content
from edge.facts import RequestFacts


@dataclass(frozen=True, slots=True)
class Asked:
    """A request before the guard."""

    facts: RequestFacts
    content: Content
    cache: ResponseCache
    """Which keeps answers of this kind."""
    policy: CachePolicy


class Check(Protocol):
    """Decides with what this process knows."""

    async def check(self, asked: Asked) -> Mapping[str, str]:
        """Return headers for the response, or none; Problem when the request may not run."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A question to a function of `admission.lua`."""

    name: str
    keys: Sequence[str]
    arguments: Sequence[str | int]


class RedisCheck(Protocol):
    """Decides in Redis, in the round trip that admits the request. While Redis is away it lets every request pass."""

    def slot(self, asked: Asked) -> Slot:
        """Return what the script has to look at."""

    def refuse(self, reply: Sequence[bytes]) -> None:
        """Raise the Problem of a request that the slot has refused, given what it says."""
