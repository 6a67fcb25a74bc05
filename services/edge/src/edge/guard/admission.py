"""The round trip that admits a request: what is decided in Redis, the admitted event, the look-up of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import resources

import structlog

from edge.cache.cache import Bypass, LookUp, Miss
from edge.events.cost_event import admitted_event
from edge.events.emitter import Emitter
from edge.events.redis import COST_EVENTS, RedisAway, RedisStore
from edge.guard.check import Asked, RedisCheck
from edge.metrics import Metrics

log = structlog.get_logger()


class Admission:
    """Records that a request runs, unless a check in Redis refuses it."""

    def __init__(self, store: RedisStore, emitter: Emitter, checks: Sequence[RedisCheck], metrics: Metrics) -> None:
        self._store = store
        self._script = store.script(resources.files("edge.guard").joinpath("admission.lua").read_text())
        self._emitter = emitter
        self._checks = checks
        self._metrics = metrics

    async def admit(self, asked: Asked) -> LookUp:
        """Return what the response cache has; from then on the request has to be settled.

        Problem when a check refuses it, or (503) when the event can be recorded nowhere: then nothing may be spent.
        """
        look_up = await self._admit(asked)
        if isinstance(look_up, Bypass):
            self._metrics.cache_bypasses.labels(look_up.reason).inc()
        elif isinstance(look_up, Miss) and look_up.had_unusable_entry:
            self._metrics.cache_unusable_entries.inc()
        return look_up

    async def _admit(self, asked: Asked) -> LookUp:
        facts = asked.facts
        question = asked.cache.question(facts.identity.tenant, facts.requested_model, asked.content, asked.policy)
        event = admitted_event(facts).SerializeToString()
        try:
            stored = await self._ask(asked, event, question.key)
        except RedisAway:
            if self._checks:
                self._metrics.checks_skipped.inc(len(self._checks))
            await self._emitter.spool_admitted(event)
            return Bypass("cache_error" if question.key is not None else question.bypass_reason)
        self._emitter.note(event)
        return asked.cache.look_up(question, stored)

    async def _ask(self, asked: Asked, event: bytes, key: str | None) -> bytes | None:
        """Run the script; return what is stored under `key`, which in a Cluster may be on another node."""
        is_beside = key is not None and self._store.is_cluster
        is_inside = key is not None and not is_beside
        keys = [COST_EVENTS, key if key is not None and is_inside else COST_EVENTS]
        arguments: list[str | bytes | int] = [event, "1" if is_inside else "0"]
        for check in self._checks:
            slot = check.slot(asked)
            keys += slot.keys
            arguments += [slot.name, len(slot.keys), len(slot.arguments), *slot.arguments]
        evaluated = self._store.evaluate(self._script, keys, arguments)
        if key is not None and is_beside:
            # Read also for a request that is then refused: one after the other would take twice as long.
            (is_admitted, *reply), beside = await asyncio.gather(evaluated, self._store.look_up(key))
            reply = [beside] if is_admitted else reply
        else:
            is_admitted, *reply = await evaluated
        if not is_admitted:
            self._checks[reply[0] - 1].refuse(reply[1:])
        stored: bytes | None = reply[0] if is_admitted else None
        return stored
