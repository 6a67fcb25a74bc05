"""How long the ledger takes to publish the figures that budgets are decided by, with the ledger's own code.

The sum of one user is read from all rows that the tenant has that day, so a figure costs more in a large tenant.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import orjson
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from bench.scale.slopes import Figures
from cost_ledger.budgets.publish import ACTIVE, BudgetPublisher
from cost_ledger.metrics import Metrics

FIGURES, SMALL, LARGE = 500, 100, 10_000
_ROUNDS = 7
_DAY_SECONDS = 24 * 60 * 60
_ROWS = """
INSERT INTO spend_daily (tenant, day, user_id, key_id, requested_model, provider, target_model, template, requests,
    attempts, input_tokens, output_tokens, cost_usd, unpriced_attempts, cache_hits, cache_misses, cache_bypasses,
    saved_cost_usd)
SELECT $1 || number / $2, $3, 'user-' || number % $2, 'key-' || number % $2, 'm', 'p', 'm', '', 1, 1, 1, 1, 0.01, 0,
    0, 1, 0, 0
FROM generate_series(0, $4 - 1) AS number
"""


async def measure(postgres_url: str, client: redis.Redis, say: Callable[[str], None]) -> Figures:
    """Publish figures of users of small tenants and of a large one.

    No ledger may run meanwhile: whoever publishes has a lock.
    """
    async with asyncpg.create_pool(postgres_url) as pool:
        today = datetime.now(UTC).date()
        await pool.execute(_ROWS, "small-", SMALL, today, FIGURES)
        await pool.execute(_ROWS, "large-", LARGE, today, LARGE)
        await pool.execute("ANALYZE spend_daily")
        publisher = BudgetPublisher(pool, client, Metrics(CollectorRegistry()))
        await publisher.publish()
        small = await _seconds(publisher, client, "small-", SMALL)
        large = await _seconds(publisher, client, "large-", LARGE)
    row_us = max(large - small, 0.0) * 1e6 / FIGURES / (LARGE - SMALL)
    found = Figures(small * 1000 / FIGURES - SMALL * row_us / 1000, row_us)
    say(f"a budget's figure takes {found.figure_ms:.2f} ms, and {row_us:.2f} us for each row of its tenant's day")
    return found


async def _seconds(publisher: BudgetPublisher, client: redis.Redis, tenant: str, users: int) -> float:
    members = {
        _asked(f"{tenant}{number // users}", "user", f"user-{number % users}"): time.time() for number in range(FIGURES)
    }
    return statistics.median([await _published(publisher, client, members) for _ in range(_ROUNDS)])


async def _published(publisher: BudgetPublisher, client: redis.Redis, members: dict[bytes, float]) -> float:
    """Return how long it takes to publish figures that have all changed, as those of active users have."""
    await client.delete(ACTIVE, *(orjson.loads(member)[0] for member in members))
    await client.zadd(ACTIVE, members)
    began = time.perf_counter()
    await publisher.publish()
    return time.perf_counter() - began


def _asked(tenant: str, each: str, subject: str) -> bytes:
    """Return what an edge asks for: the figure of a day."""
    first = int(time.time()) // _DAY_SECONDS * _DAY_SECONDS
    tag = "spillway:cost-events" if each == "all" else f"spillway:limits:{tenant}"
    key = f"{{{tag}}}:budget:{each}={subject}:day:{first}-{first + _DAY_SECONDS}"
    return orjson.dumps([key, each, tenant, subject, first, first + _DAY_SECONDS])
