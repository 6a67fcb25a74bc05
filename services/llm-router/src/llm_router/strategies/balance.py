"""In which order the targets of a route are asked."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_router.routes.file import Route
from llm_router.strategies.latency import Latencies
from llm_router.target import Target


def order_targets(route: Route, latencies: Latencies, rng: random.Random) -> list[Target]:
    """Return the targets rank by rank; within a rank of several by weighted lot or by latency, as the route says."""
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
    """Draw without putting back: each place goes to a target with a probability proportional to its weight."""
    return sorted(rank, key=lambda target: rng.random() ** (1 / target.weight), reverse=True)


def _by_latency(rank: Sequence[Target], latencies: Latencies, rng: random.Random) -> list[Target]:
    """Put the better of two that were drawn in front: all pods picking the best one would make it the worst."""
    drawn = _weighted(rank, rng)
    best = min(drawn[:2], key=lambda target: latencies.load(target.name))
    return [best, *(target for target in drawn if target is not best)]
