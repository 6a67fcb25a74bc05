"""The round trip that admits a request: what is decided in Redis, the admitted event, the look-up of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby
from typing import NamedTuple

import structlog

from edge.cache.cache import Bypass, LookUp, Miss
from edge.cache.policy import CachePolicy
from edge.events.cost_event import admitted_event
from edge.events.emitter import Emitter
from edge.events.redis import COST_EVENTS, RedisAway, RedisStore
from edge.events.reservation import Reservation
from edge.guard.check import Asked, Exhausted, Grant, Question, RedisCheck, Reply, Slot
from edge.metrics import Metrics

log = structlog.get_logger()


@dataclass(slots=True)
class Admittance:
    """What a request was admitted with."""

    look_up: LookUp
    headers: dict[str, str] = field(default_factory=dict)
    """What the checks tell the client."""
    reservations: list[Reservation] = field(default_factory=list)
    """To be settled when the request has ended."""
    exhausted: Exhausted | None = None
    """The budget that is used up; None: none is."""


class _Place(NamedTuple):
    """One slot, and whose it is."""

    question: int
    number: int
    slot: Slot


class Admission:
    """Records that a request runs, unless a check in Redis refuses it."""

    def __init__(self, store: RedisStore, emitter: Emitter, checks: Sequence[RedisCheck], metrics: Metrics) -> None:
        self._store = store
        self._script = store.script(resources.files("edge.guard").joinpath("admission.lua").read_text())
        self._emitter = emitter
        self._checks = checks
        self._metrics = metrics

    async def admit(self, asked: Asked, policy: CachePolicy) -> Admittance:
        """Return what the response cache has and what the checks say; from then on the request has to be settled.

        Problem when a check refuses it, or (503) when the event can be recorded nowhere: then nothing may be spent.
        """
        admittance = await self._admit(asked, policy)
        look_up = admittance.look_up
        if isinstance(look_up, Bypass):
            self._metrics.cache_bypasses.labels(look_up.reason).inc()
        elif isinstance(look_up, Miss) and look_up.had_unusable_entry:
            self._metrics.cache_unusable_entries.inc()
        return admittance

    async def _admit(self, asked: Asked, policy: CachePolicy) -> Admittance:
        facts = asked.facts
        question = asked.cache.question(facts.identity.tenant, facts.requested_model, asked.content, policy)
        event = admitted_event(facts).SerializeToString()
        questions = [check.question(asked) for check in self._checks]
        try:
            stored, grants = await self._ask(questions, event, question.key)
        except RedisAway:
            grants = [grant for each in questions if (grant := self._decide_alone(each)) is not None]
            await self._emitter.spool_admitted(event)
            look_up: LookUp = Bypass("cache_error" if question.key is not None else question.bypass_reason)
        else:
            self._emitter.note(event)
            look_up = asked.cache.look_up(question, stored)
        admittance = Admittance(look_up)
        for grant in grants:
            admittance.headers.update(grant.headers)
            if grant.reservation is not None:
                admittance.reservations.append(grant.reservation)
            if grant.exhausted is not None:
                admittance.exhausted = grant.exhausted
        return admittance

    async def look_up(self, asked: Asked, model: str, policy: CachePolicy) -> LookUp:
        """Return what the response cache has as the answer of another model, or against the client's wish."""
        question = asked.cache.question(asked.facts.identity.tenant, model, asked.content, policy)
        stored = None
        if question.key is not None:
            try:
                stored = await self._store.look_up(question.key)
            except RedisAway:
                return Bypass("cache_error")
        return asked.cache.look_up(question, stored)

    def _decide_alone(self, question: Question) -> Grant | None:
        grant = question.decide_alone()
        if grant is None:
            self._metrics.checks_skipped.inc()
        return grant

    async def _ask(
        self, questions: Sequence[Question], event: bytes, key: str | None
    ) -> tuple[bytes | None, list[Grant]]:
        """Run the script; return what is stored under `key`, which in a Cluster may be on another node."""
        is_cluster = self._store.is_cluster
        is_inside, is_beside = key is not None and not is_cluster, key is not None and is_cluster
        places = list(_places(questions))
        replies: list[dict[int, Reply]] = [{} for _ in questions]
        groups: list[list[_Place]] = []
        if is_cluster:
            elsewhere = sorted((place for place in places if place.slot.tag != COST_EVENTS), key=_tag)
            groups = [list(group) for _, group in groupby(elsewhere, key=_tag)]
            places = [place for place in places if place.slot.tag == COST_EVENTS]
        head = [COST_EVENTS, key if key is not None and is_inside else COST_EVENTS]
        try:
            for group in groups:
                await self._decide(questions, group, [], ["", "0"], replies)
            deciding = self._decide(questions, places, head, [event, "1" if is_inside else "0"], replies)
            if key is not None and is_beside:
                # Read also for a request that is then refused: one after the other would take twice as long.
                _, stored = await asyncio.gather(deciding, self._store.look_up(key))
            else:
                stored = await deciding
        except BaseException:
            if is_cluster:
                await self._give_back(questions, replies)
            raise
        return stored, [each.grant(said) for each, said in zip(questions, replies, strict=True)]

    async def _decide(
        self,
        questions: Sequence[Question],
        places: Sequence[_Place],
        keys: Sequence[str],
        arguments: Sequence[str | bytes | int],
        replies: Sequence[dict[int, Reply]],
    ) -> bytes | None:
        """Run the script for some slots; note what they say, return the stored answer. Problem when one refuses."""
        keys, arguments = list(keys), list(arguments)
        for place in places:
            slot = place.slot
            keys += slot.keys
            arguments += [slot.name, len(slot.keys), len(slot.arguments), *slot.arguments]
        is_admitted, *reply = await self._store.evaluate(self._script, keys, arguments)
        if not is_admitted:
            refusing = places[reply[0] - 1]
            questions[refusing.question].refuse(refusing.number, reply[1:])
        for place, said in zip(places, reply[1:], strict=True):
            replies[place.question][place.number] = said
        stored: bytes | None = reply[0]
        return stored

    async def _give_back(self, questions: Sequence[Question], replies: Sequence[dict[int, Reply]]) -> None:
        """Undo what other nodes of a Cluster have counted of a request that does not run."""
        for each, said in zip(questions, replies, strict=True):
            if said and (reservation := each.grant(said).reservation) is not None:
                with suppress(RedisAway):
                    await self._store.run(reservation.settle(None))


def _places(questions: Sequence[Question]) -> Iterator[_Place]:
    for index, question in enumerate(questions):
        for number, slot in enumerate(question.slots):
            yield _Place(index, number, slot)


def _tag(place: _Place) -> str:
    return place.slot.tag
