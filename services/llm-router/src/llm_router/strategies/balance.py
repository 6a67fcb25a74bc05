"""The order in which the targets of a route are tried."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_router.routes.file import Route
from llm_router.strategies.latency import Latencies
from llm_router.target import Target


def order_targets(route: Route, latencies: Latencies, rng: random.Random) -> list[Target]:
    """Return the targets rank by rank; those of equal rank in weighted random order or by latency."""
    ordered: list[Target] = []
    for rank in route.ranks:
        if len(rank) == 1:
            ordered += rank
        elif route.balance == "least_latency":
            ordered += _by_latency(rank, latencies, rng)
        else:
            ordered += _weighted(rank, rng)
    return ordered


def _weighted(rank: Sequence[Target], rng: random.Random) -> list[Target]:
    """Sample without replacement: each place goes to a target with a probability proportional to its weight."""
    return sorted(rank, key=lambda target: rng.random() ** (1 / target.weight), reverse=True)


def _by_latency(rank: Sequence[Target], latencies: Latencies, rng: random.Random) -> list[Target]:
    """Put the better of two random targets first: if every pod chose the best one, it would become the worst."""
    sampled = _weighted(rank, rng)
    best = min(sampled[:2], key=lambda target: latencies.load(target.name))
    return [best, *(target for target in sampled if target is not best)]
