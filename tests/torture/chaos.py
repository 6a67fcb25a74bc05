"""What happens to the system, chosen by a seed: first each part is killed in turn and the two that write are killed
while their store does not answer; then whatever chance says."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .system import VICTIMS, Patient

_PAUSES_SECONDS = (0.2, 3.0)
_MOST_SUFFERING = 2
_DOWN_SECONDS = (0.0, 0.0, 0.5, 2.0)
# The stores, which can be slow as well as gone. Longer than any timeout towards them, and shorter.
_FREEZABLE = ("valkey", "postgres")
_WRITERS = (("edge", "valkey"), ("cost-ledger", "postgres"))
_FROZEN_SECONDS = (0.1, 0.4, 1.5, 4.0)


@dataclass(frozen=True)
class Blow:
    """One thing that is done to one or two parts at the same moment."""

    killed: Sequence[str]
    frozen: Sequence[str]
    """They are frozen before the others are killed: what those have begun to write is not done."""
    seconds: float
    """How long they are down or frozen."""

    @property
    def victims(self) -> Sequence[str]:
        """Everybody who suffers from it."""
        return (*self.killed, *self.frozen)


def first_blows(chance: random.Random) -> list[Blow]:
    """Return one blow for each part and each of its worst moments, in an order of their own."""
    blows = [Blow((victim,), (), 0.0) for victim in VICTIMS]
    blows += [Blow((writer,), (store,), 1.5) for writer, store in _WRITERS]
    return chance.sample(blows, len(blows))


def any_blow(chance: random.Random) -> Blow:
    """Choose a blow."""
    what = chance.random()
    if what < 0.2:
        return Blow((), chance.sample(_FREEZABLE, chance.choice((1, 1, 2))), chance.choice(_FROZEN_SECONDS))
    if what < 0.4:
        writer, store = chance.choice(_WRITERS)
        return Blow((writer,), (store,), chance.choice(_FROZEN_SECONDS))
    return Blow(chance.sample(VICTIMS, 2 if what < 0.6 else 1), (), chance.choice(_DOWN_SECONDS))


class Tormentor:
    """Strikes until it is time, then leaves everything running."""

    def __init__(self, patient: Patient, chance: random.Random) -> None:
        self._patient = patient
        self._chance = chance
        self._suffering: set[str] = set()
        self.blows: Counter[str] = Counter()
        """How often which part was killed or frozen."""

    async def strike_until(self, moment: float) -> None:
        """Strike until `moment` on the monotonic clock; the next blow does not wait until the last one is overcome."""
        plan = first_blows(self._chance)
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < moment:
                await asyncio.sleep(self._chance.uniform(*_PAUSES_SECONDS))
                blow = plan.pop() if plan else any_blow(self._chance)
                while len(self._suffering) + len(blow.victims) > _MOST_SUFFERING or not self._suffering.isdisjoint(
                    blow.victims
                ):
                    await asyncio.sleep(0.1)
                self._suffering.update(blow.victims)
                group.create_task(self._strike(blow))

    async def _strike(self, blow: Blow) -> None:
        self.blows.update(f"{victim} killed" for victim in blow.killed)
        self.blows.update(f"{victim} frozen" for victim in blow.frozen)
        with ExitStack() as stack:
            for victim in blow.frozen:
                stack.enter_context(self._patient.frozen(victim))
            if blow.frozen:
                await asyncio.sleep(blow.seconds)
            await asyncio.gather(*(self._patient.kill(victim) for victim in blow.killed))
        if not blow.frozen:
            await asyncio.sleep(blow.seconds)
        await asyncio.gather(*(self._patient.start(victim) for victim in blow.killed))
        self._suffering.difference_update(blow.victims)
