"""What the ledger writes to Redis of budgets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import redis.asyncio as redis


async def publish(valkey: redis.Redis, budgets: Sequence[object]) -> None:
    """Put budgets in force for edges that follow them."""
    await valkey.set("{spillway:cost-events}:budgets", json.dumps(budgets))


async def spend(valkey: redis.Redis, each: str, usd: str) -> None:
    """Publish what everybody of this kind, who was charged already, has spent."""
    for key in await figures(valkey, each):
        await valkey.hset(key, "ledger", int(Decimal(usd) * 10**9))


async def figures(valkey: redis.Redis, each: str) -> list[str]:
    """Return the keys of the figures that edges have asked for."""
    members: Any = await valkey.zrange("{spillway:cost-events}:budgets:active", 0, -1)
    return [asked[0] for asked in map(json.loads, members) if asked[1] == each]
