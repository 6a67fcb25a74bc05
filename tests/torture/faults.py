"""The faults injected into the system, chosen by a seed: first each part is killed in turn, and the two writers while
their store does not answer; then random faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .system import PARTS, Victim

_PAUSES_SECONDS = (0.2, 3.0)
_MAX_AFFECTED = 2
_DOWN_SECONDS = (0.0, 0.0, 0.5, 2.0)
# The stores can be slow as well as down. Some times are longer than every timeout of their clients, some shorter.
_FREEZABLE = ("valkey", "postgres")
_WRITERS = (("edge", "valkey"), ("cost-ledger", "postgres"))
_FROZEN_SECONDS = (0.1, 0.4, 1.5, 4.0)


@dataclass(frozen=True)
class Fault:
    """One fault of one or two parts at the same moment."""

    killed: Sequence[str]
    frozen: Sequence[str]
    """Frozen before the others are killed, so that their writes stay unfinished."""
    seconds: float
    """How long they are down or frozen."""

    @property
    def parts(self) -> Sequence[str]:
        """All affected parts."""
        return (*self.killed, *self.frozen)


def initial_faults(rng: random.Random) -> list[Fault]:
    """Return the kills of each part, and of each writer during a write, in random order."""
    faults = [Fault((part,), (), 0.0) for part in PARTS]
    faults += [Fault((writer,), (store,), 1.5) for writer, store in _WRITERS]
    return rng.sample(faults, len(faults))


def random_fault(rng: random.Random) -> Fault:
    """Choose a fault."""
    kind = rng.random()
    if kind < 0.2:
        return Fault((), rng.sample(_FREEZABLE, rng.choice((1, 1, 2))), rng.choice(_FROZEN_SECONDS))
    if kind < 0.4:
        writer, store = rng.choice(_WRITERS)
        return Fault((writer,), (store,), rng.choice(_FROZEN_SECONDS))
    return Fault(rng.sample(PARTS, 2 if kind < 0.6 else 1), (), rng.choice(_DOWN_SECONDS))


class FaultInjector:
    """Injects faults for a while, then leaves everything running."""

    def __init__(self, victim: Victim, rng: random.Random) -> None:
        self._victim = victim
        self._rng = rng
        self._affected: set[str] = set()
        self.faults: Counter[str] = Counter()
        """How often each part was killed or frozen."""

    async def inject_until(self, moment: float) -> None:
        """Inject faults until `moment` on the monotonic clock; they may overlap."""
        plan = initial_faults(self._rng)
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < moment:
                await asyncio.sleep(self._rng.uniform(*_PAUSES_SECONDS))
                fault = plan.pop() if plan else random_fault(self._rng)
                while len(self._affected) + len(fault.parts) > _MAX_AFFECTED or not self._affected.isdisjoint(
                    fault.parts
                ):
                    await asyncio.sleep(0.1)
                self._affected.update(fault.parts)
                group.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        self.faults.update(f"{part} killed" for part in fault.killed)
        self.faults.update(f"{part} frozen" for part in fault.frozen)
        with ExitStack() as stack:
            for part in fault.frozen:
                stack.enter_context(self._victim.frozen(part))
            if fault.frozen:
                await asyncio.sleep(fault.seconds)
            await asyncio.gather(*(self._victim.kill(part) for part in fault.killed))
        if not fault.frozen:
            await asyncio.sleep(fault.seconds)
        await asyncio.gather(*(self._victim.start(part) for part in fault.killed))
        self._affected.difference_update(fault.parts)
