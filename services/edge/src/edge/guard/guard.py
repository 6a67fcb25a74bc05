"""Step 2 of the request path: may this request run? A list of checks; nothing is spent before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from edge.cache.cache import Hit, LookUp
from edge.cache.policy import CachePolicy
from edge.conversation import Conversation
from edge.events.reservation import Reservation
from edge.facts import RequestFacts
from edge.guard.admission import Admission, Admittance
from edge.guard.check import Asked, Change, Check, Exhausted
from edge.guardrails.guardrails import Guardrails
from edge.guardrails.input import Inspected
from edge.problems import Problem
from edge.router.models import ModelList
from servicekit.tracing import Steps


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request runs, and has to be settled."""

    headers: Mapping[str, str]
    """What the checks tell the client."""
    facts: RequestFacts
    """With the model that it runs with."""
    look_up: LookUp
    inspected: Inspected
    """What it asks for, as the guardrails let it go on."""
    reservations: Sequence[Reservation]
    """To be settled with it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The request does not run; nothing was spent."""

    problem: Problem
    headers: Mapping[str, str]


Verdict: TypeAlias = Admitted | Rejected


class Guard:
    """Asks check after check, the cheapest first, and Redis last."""

    def __init__(
        self,
        models: ModelList,
        default_model: str,
        checks: Sequence[Check],
        admission: Admission,
        guardrails: Guardrails | None = None,
        changes: Sequence[Change] = (),
    ) -> None:
        """`default_model` is what a request runs with that names none. Without `guardrails` nothing is looked for."""
        self._models = models
        self._default_model = default_model
        self._checks = checks
        self._admission = admission
        self._guardrails = guardrails
        self._changes = changes

    async def admit(self, asked: Asked, steps: Steps) -> Verdict:
        """Decide; `steps` learns how long the checks and the round trip to Redis take."""
        headers: dict[str, str] = {}
        try:
            with steps.step("guard"):
                asked = replace(asked, facts=await self._on_route(asked))
                for check in self._checks:
                    headers |= await check.check(asked)
                for change in self._changes:
                    content, told = await change.change(asked)
                    asked = replace(asked, content=content)
                    headers |= told
                inspected = await self._inspect(asked)
                asked = replace(asked, content=inspected.content)
            with steps.step("cache"):
                policy = self._policy(asked, asked.facts.requested_model)
                admittance = await self._admission.admit(asked, policy)
                if admittance.exhausted is not None:
                    asked = await self._economize(asked, admittance, admittance.exhausted)
        except Problem as problem:
            return Rejected(problem, headers)
        headers |= admittance.headers
        if inspected.told:
            headers["x-guardrails"] = ", ".join(f"{each.rule};action={each.action}" for each in inspected.told)
        return Admitted(headers, asked.facts, admittance.look_up, inspected, admittance.reservations)

    async def _on_route(self, asked: Asked) -> RequestFacts:
        """Return the facts with the public model that the request is for, by whichever of its names it asks."""
        name = asked.content.requested_model or self._default_model
        model = await self._models.require(name, asked.facts.identity)
        return replace(asked.facts, requested_model=model, asked_model="" if model == name else name)

    def _policy(self, asked: Asked, model: str) -> CachePolicy:
        is_drawn = isinstance(asked.content, Conversation) and asked.content.is_drawn
        return asked.wish.policy(self._models.cache_mode_of(model), is_drawn=is_drawn)

    async def _economize(self, asked: Asked, admittance: Admittance, exhausted: Exhausted) -> Asked:
        """Answer from the cache what it has, and let the economy model do the rest."""
        model = asked.facts.requested_model
        policy = self._policy(asked, model)
        if exhausted.is_emergency and not policy.may_read:
            admittance.look_up = await self._admission.look_up(asked, model, replace(policy, may_read=True))
        economy = self._models.economy_of(model)
        if isinstance(admittance.look_up, Hit) or not economy:
            return asked
        policy = self._policy(asked, economy)
        may_read = policy.may_read or exhausted.is_emergency
        admittance.look_up = await self._admission.look_up(asked, economy, replace(policy, may_read=may_read))
        admittance.headers["x-economy-model"] = economy
        return replace(asked, facts=replace(asked.facts, economy_model=economy, budget=exhausted.budget))

    async def _inspect(self, asked: Asked) -> Inspected:
        if self._guardrails is None:
            return Inspected(asked.content)
        return await self._guardrails.inspect(asked.facts, asked.content, asked.outside)
