"""What a check is: one reason why a request may not run. Some decide here, some are a slot of the script in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from edge.cache.cache import ResponseCache
from edge.cache.policy import CacheWish
from edge.conversation import Content
from edge.events.reservation import Reservation
from edge.facts import RequestFacts


@dataclass(frozen=True, slots=True)
class Asked:
    """A request before the guard."""

    facts: RequestFacts
    content: Content
    cache: ResponseCache
    """Which keeps answers of this kind."""
    wish: CacheWish
    outside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """For a block that waits for somebody else: meanwhile another request has the turn to begin of this one."""


class Check(Protocol):
    """Decides with what this process knows."""

    async def check(self, asked: Asked) -> Mapping[str, str]:
        """Return headers for the response, or none; Problem when the request may not run."""


class Change(Protocol):
    """Makes of a request what may run."""

    async def change(self, asked: Asked) -> tuple[Content, Mapping[str, str]]:
        """Return what it asks for from now on, and headers for the response; Problem when it may not run."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A question to a function of `admission.lua`."""

    name: str
    keys: Sequence[str]
    arguments: Sequence[str | int]
    tag: str = "spillway:cost-events"
    """What stands in the braces of its keys: in a Redis Cluster those with the same one are on one node."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that is used up: the request goes to its model's economy model, if that has one."""

    budget: str
    is_emergency: bool
    """Repeated questions are then answered from the cache whatever the client wants."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a check says of a request that may run."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """For the client."""
    reservation: Reservation | None = None
    exhausted: Exhausted | None = None


Reply = Sequence[int | bytes]
"""What a slot says."""


class Question(Protocol):
    """What a check wants to know of Redis about one request."""

    @property
    def slots(self) -> Sequence[Slot]:
        """What the script has to look at."""

    def refuse(self, number: int, reply: Reply) -> None:
        """Raise the Problem of a request that the slot with this number, from 0, has refused, given what it says."""

    def grant(self, replies: Mapping[int, Reply]) -> Grant:
        """Take the request as admitted, given what the slots say, by their numbers."""

    def decide_alone(self) -> Grant | None:
        """Decide while Redis is away; None: every request passes. Problem when this one may not run."""


class RedisCheck(Protocol):
    """Decides in Redis, in the round trip that admits the request."""

    def question(self, asked: Asked) -> Question:
        """Return what has to be asked."""
