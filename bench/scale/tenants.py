"""Tenants of very different size, and the shards of a Redis Cluster that have their limits and budgets.

All keys of a tenant carry its name as hash tag, so one shard has them all; a Cluster spreads tenants, never one tenant.
"""

from __future__ import annotations

import math
import statistics
from binascii import crc_hqx
from functools import cache

SLOTS = 16384
"""Of every Redis Cluster."""
PLACEMENTS = 9
"""Sets of names, that is, ways in which tenants fall on slots; the median counts."""

_HEAD = 1000


@cache
def shares(tenants: int, exponent: float) -> tuple[float, ...]:
    """Return the parts of all requests that tenants have, the largest first, by Zipf's law; their sum is 1."""
    weights = [rank**-exponent for rank in range(1, tenants + 1)]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def largest_share(tenants: int, exponent: float) -> float:
    """Return the part that the largest tenant has, for any number of tenants: the long tail is an integral."""
    head = min(tenants, _HEAD)
    total = 1 / shares(head, exponent)[0]
    first, last = head + 0.5, tenants + 0.5
    if exponent == 1:
        total += math.log(last / first)
    else:
        total += (last ** (1 - exponent) - first ** (1 - exponent)) / (1 - exponent)
    return 1 / total


def concentration(tenants: int, exponent: float) -> float:
    """Return the sum of the squares of all parts: 1 for a single tenant, less the more even they are."""
    head = min(tenants, _HEAD)
    squares = sum(rank ** (-2 * exponent) for rank in range(1, head + 1))
    power = 1 - 2 * exponent
    squares += ((tenants + 0.5) ** power - (head + 0.5) ** power) / power
    share = largest_share(tenants, exponent)
    return float(squares * share * share)


def slot_of(tag: str) -> int:
    """Return the slot of all keys with this hash tag."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def hottest(tenants: int, exponent: float, shards: int) -> float:
    """Return the part of all requests that the busiest of so many shards has: the median of several sets of names."""
    return statistics.median(max(_loads(tenants, exponent, shards, each)) for each in range(PLACEMENTS))


def shards_for(tenants: int, exponent: float, bearable: float, most: int) -> int | None:
    """Return how few shards do for none to have more than a part of all requests; None: `most` do not.

    A shard has what its largest tenant has, so no number does when that is too much.
    """
    if largest_share(tenants, exponent) > bearable:
        return None
    if bearable >= 1:
        return 1
    few, many = 1, 1
    while hottest(tenants, exponent, many) > bearable:
        few, many = many, many * 2
        if few >= most:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        if hottest(tenants, exponent, middle) > bearable:
            few = middle
        else:
            many = middle
    return many


@cache
def _slots(tenants: int, placement: int) -> tuple[int, ...]:
    return tuple(slot_of(f"spillway:limits:tenant-{placement}-{number}") for number in range(tenants))


def _loads(tenants: int, exponent: float, shards: int, placement: int) -> list[float]:
    loads = [0.0] * shards
    for slot, share in zip(_slots(tenants, placement), shares(tenants, exponent), strict=True):
        loads[slot * shards // SLOTS] += share
    return loads
