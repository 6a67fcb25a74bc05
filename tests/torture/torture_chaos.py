"""What happens to the system, chosen by a seed: first each part is killed in turn, then whatever chance says."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torture_system import VICTIMS, Patient

_PAUSES_SECONDS = (0.2, 3.0)
_MOST_SUFFERING = 2
_DOWN_SECONDS = (0.0, 0.0, 0.5, 2.0)
# The stores, which can be slow as well as gone. Longer than any timeout towards them, and shorter.
_FREEZABLE = ("valkey", "postgres")
_FROZEN_SECONDS = (0.1, 0.4, 1.5, 4.0)


@dataclass(frozen=True)
class Blow:
    """One thing that is done to one or two parts at the same moment."""

    kind: Literal["kill", "freeze"]
    victims: Sequence[str]
    seconds: float
    """How long they are down or frozen."""

    def __str__(self) -> str:
        return f"{self.kind} {' and '.join(self.victims)} for {self.seconds:g} s"


def first_blows(chance: random.Random) -> list[Blow]:
    """Return one blow for each part, in an order of their own."""
    return [Blow("kill", (victim,), 0.0) for victim in chance.sample(VICTIMS, len(VICTIMS))]


def any_blow(chance: random.Random) -> Blow:
    """Choose a blow."""
    what = chance.random()
    if what < 0.3:
        victims = chance.sample(_FREEZABLE, chance.choice((1, 1, 2)))
        return Blow("freeze", victims, chance.choice(_FROZEN_SECONDS))
    victims = chance.sample(VICTIMS, 2 if what < 0.5 else 1)
    return Blow("kill", victims, chance.choice(_DOWN_SECONDS))


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
        self.blows.update(f"{victim} {'killed' if blow.kind == 'kill' else 'frozen'}" for victim in blow.victims)
        await asyncio.gather(*(self._hurt(blow, victim) for victim in blow.victims))
        self._suffering.difference_update(blow.victims)

    async def _hurt(self, blow: Blow, victim: str) -> None:
        if blow.kind == "freeze":
            await self._patient.freeze(victim, blow.seconds)
            return
        await self._patient.kill(victim)
        await asyncio.sleep(blow.seconds)
        await self._patient.start(victim)
