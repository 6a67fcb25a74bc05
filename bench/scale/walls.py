"""From how many streams on one of each resource is not enough: the walls, in the order in which they are met."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.scale.model import (
    MAX_ACTIVE_FIGURES,
    MAX_KEYS_PER_EDGE,
    MAX_TAKEN,
    MONTH_DAYS,
    ORDINARY,
    POSTGRES_CONNECTIONS,
    TURN_SECONDS,
    Needs,
    Sizes,
    Workload,
    needs,
)
from bench.scale.slopes import Slopes


@dataclass(frozen=True)
class Wall:
    """Where a resource is used up."""

    name: str
    unit: str
    """What is then full."""
    can_be_spread: bool
    """Whether more of the same, configured with what there is today, is enough beyond it."""
    used: Callable[[Needs], float]
    """How many of the unit are needed."""
    streams: float = math.inf
    """From how many streams on one is not enough."""


_MAX_STREAMS = 10**7


def walls(slopes: Slopes, work: Workload, sizes: Sizes = ORDINARY) -> list[Wall]:
    """Return all of them, the first that is met first."""
    full = sizes.utilisation
    node, disk = sizes.valkey_gib, sizes.disk_tib * 1024
    resources = (
        Wall("router", "one pod", True, lambda need: need.routers),
        Wall("edge", "one pod", True, lambda need: need.edges),
        Wall("cache of a day", f"{node} GiB of Valkey", True, lambda need: need.cache_gib / node),
        Wall("budget figures", f"{MAX_ACTIVE_FIGURES:,} in use", False, lambda need: need.figures / MAX_ACTIVE_FIGURES),
        Wall(
            "budget figures",
            f"a turn of {TURN_SECONDS:g} s",
            False,
            lambda need: need.turn_seconds / TURN_SECONDS,
        ),
        Wall(
            "budget of all",
            f"{MAX_TAKEN:,} requests between two turns",
            False,
            lambda need: need.uncounted_per_turn / MAX_TAKEN,
        ),
        Wall("API keys", f"{MAX_KEYS_PER_EDGE:,} in an edge", False, lambda need: need.keys / MAX_KEYS_PER_EDGE),
        Wall("ledger", "one core", True, lambda need: need.ledgers),
        Wall("PostgreSQL, CPU", "one core", True, lambda need: need.postgres_cores / full),
        Wall(
            "PostgreSQL, disk of a month",
            f"{sizes.disk_tib:g} TiB",
            False,
            lambda need: need.disk_gib_per_day * MONTH_DAYS / disk,
        ),
        Wall(
            "PostgreSQL, connections",
            f"{POSTGRES_CONNECTIONS} of its default",
            True,
            lambda need: need.postgres_connections / POSTGRES_CONNECTIONS,
        ),
        Wall("key of the cost events", "one core of Valkey", False, lambda need: need.stream_cores / full),
        Wall("cost events, no budget of all", "one core of Valkey", False, lambda need: need.stream_alone_cores / full),
        Wall("routers' breakers", "one core of Valkey", False, lambda need: need.breaker_cores / full),
        Wall("all tenants' limits", "one core of Valkey", True, lambda need: need.tenant_cores / full),
        Wall("largest tenant's limits", "one core of Valkey", False, lambda need: need.largest_tenant_cores / full),
        Wall(
            "largest tenant, all limits",
            "one core of Valkey",
            False,
            lambda need: need.largest_full_tenant_cores / full,
        ),
        Wall("cost events of an outage", f"{node} GiB of Valkey", False, lambda need: need.backlog_gib / node),
    )
    found = [_with_streams(slopes, work, sizes, each) for each in resources]
    return sorted(found, key=lambda wall: wall.streams)


def _with_streams(slopes: Slopes, work: Workload, sizes: Sizes, wall: Wall) -> Wall:
    """Find from where on more than one is needed, to one part in a hundred."""
    low, high = 1, 2
    while wall.used(needs(slopes, work, high, sizes)) <= 1:
        low, high = high, high * 2
        if low > _MAX_STREAMS:
            return wall
    while high - low > max(low // 100, 1):
        middle = (low + high) // 2
        if wall.used(needs(slopes, work, middle, sizes)) <= 1:
            low = middle
        else:
            high = middle
    return Wall(wall.name, wall.unit, wall.can_be_spread, wall.used, high)
