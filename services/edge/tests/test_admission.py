"""The round trip that admits a request: Redis decides, records the event and looks the answer up, behind a yes only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.cache.exact import TTL_SECONDS
from edge.events.redis import COST_EVENTS
from edge.events.spool import Spool
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from .budget_figures import publish, spend
from .scripted_edge import Edge, running_edge
from .scripted_redis import FakeRedis

BUDGETS = [
    {"name": "large", "each": "tenant", "per": "day", "usd": "1000", "over": "warn"},
    {"name": "small", "each": "all", "per": "day", "usd": "1", "stop_usd": "1", "over": "warn"},
]


@pytest.fixture(name="limited")
async def _limited(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry
) -> AsyncIterator[Edge]:
    """Yield an edge that may spend a dollar a day, with two budgets so that each has its own slot."""
    await publish(valkey, BUDGETS)
    async with running_edge(tmp_path, redis_url, spool, registry) as edge:
        await edge.budgets.follow()
        await edge.chat("before").done()
        await edge.budgets.follow()
        edge.router.requests.clear()
        await edge.emitter.close()
        await valkey.delete(COST_EVENTS)
        yield edge


async def events(edge: Edge) -> list[str]:
    """Return the kinds of the recorded events, in order."""
    entries: Any = await edge.redis.xrange(COST_EVENTS)
    return [str(ledgerpb.CostEvent.FromString(fields[b"event"]).WhichOneof("event")) for _, fields in entries]


async def test_the_answer_lives_for_a_day_whatever_is_asked(edge: Edge) -> None:
    """24 hours from the write; a hit does not extend it, so that a wrong answer dies however popular it is."""
    await edge.chat().done()
    (key,) = await edge.stored()
    assert 86_400 == TTL_SECONDS
    assert TTL_SECONDS - 5 <= await edge.redis.ttl(key) <= TTL_SECONDS

    await edge.redis.expire(key, 100)
    assert "edge; hit" == (await edge.chat().done()).headers["cache-status"]
    assert await edge.redis.ttl(key) <= 100


async def test_below_the_limit_requests_run(limited: Edge, valkey: redis.Redis) -> None:
    """Also while nothing was published yet; the event is recorded."""
    assert 200 == (await limited.chat().done()).status
    await spend(valkey, "all", "0.99")
    assert 200 == (await limited.chat("Why?").done()).status

    await limited.emitter.close()
    assert ["admitted", "settled"] * 2 == await events(limited)


async def test_a_request_that_redis_refuses_leaves_nothing_behind(
    limited: Edge, valkey: redis.Redis, counted: Callable[..., float]
) -> None:
    """No event, no look-up, no call: 429 with the time of midnight, and it is counted."""
    await limited.chat().done()
    await limited.emitter.close()
    before = await events(limited)
    await spend(valkey, "all", "1")
    visit = await limited.chat().done()

    error = visit.json["error"]
    assert (429, "spend_limit_reached", False) == (visit.status, error["code"], error["retryable"])
    assert "this gateway has spent 1 of 1 USD" in error["message"]
    assert "(budget 'small'); the next day begins 2" in error["message"]
    assert 1 <= int(visit.headers["retry-after"]) <= 86_400
    assert "cache-status" not in visit.headers
    assert before == await events(limited)
    assert 1 == len(limited.router.requests)
    assert 1 == counted("edge_refusals_total", reason="spend_limit_reached")
    assert 1 == counted("edge_budget_requests_total", budget="small", each="all", action="stopped")


async def test_while_redis_is_away_checks_there_are_skipped_and_counted(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, registry: CollectorRegistry, spool: Spool,
    counted: Callable[..., float],
) -> None:  # fmt: skip
    """The request runs, its event waits in the spool."""
    await publish(valkey, BUDGETS)
    async with (
        FakeRedis(redis_url).listening() as fake,
        running_edge(tmp_path, fake.url, spool, registry, 0.1) as edge,
    ):
        await edge.budgets.follow()
        await edge.chat().done()
        await edge.budgets.follow()
        await spend(valkey, "all", "1")
        fake.answers.clear()
        visit = await edge.chat("Why?").done()

        assert 200 == visit.status
        assert 1 == counted("edge_checks_skipped_total")
        fake.answers.set()


async def test_a_redis_that_has_forgotten_the_script_gets_it_again(edge: Edge, valkey: redis.Redis) -> None:
    """After a restart or a failover."""
    await edge.chat("one").done()
    await valkey.script_flush()
    visit = await edge.chat("two").done()

    assert "edge; fwd=miss" == visit.headers["cache-status"]


async def test_a_cancelled_admission_breaks_nothing(edge: Edge) -> None:
    """The next one on the same connections is whole, and gets its own answer."""
    for number in range(6):
        await edge.chat(f"q{number}").done()
    visits = [edge.chat(f"q{number % 6}") for number in range(24)]
    await asyncio.sleep(0.003)
    for visit in visits[::2]:
        visit.task.cancel()
    await asyncio.wait({visit.task for visit in visits})

    for visit in visits[1::2]:
        assert ("edge; hit", "done") == (visit.headers["cache-status"], visit.events[-1][0])
