"""Budgets: who has used one up is moved to the economy model or refused, by what is spent and what runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.budgets.rules import BudgetsUnusable, Per, Period, period_of, read_budgets
from edge.events.spool import Spool

from .budget_figures import figures, publish, spend
from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, attempted, started, texts, waits_for

USER = {"name": "user-daily", "each": "user", "per": "day", "usd": "0.5", "over": "economy"}
GLOBAL = {"name": "global-daily", "each": "all", "per": "day", "usd": "100", "over": "emergency"}
LONG = "word " * 900

Budgeted = Callable[..., Any]


@pytest.fixture(name="budgeted")
async def _budgeted(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry
) -> Budgeted:
    """Return a function that runs an edge with these budgets, whose model has an economy model."""

    @asynccontextmanager
    async def run(*budgets: object, **options: Any) -> AsyncIterator[Edge]:
        await publish(valkey, budgets)
        async with running_edge(tmp_path, redis_url, spool, registry, **options) as edge:
            edge.router.models, edge.router.economy = ["default", "small"], {"default": "small"}
            await edge.budgets.follow()
            await edge.chat("before").done()
            await edge.budgets.follow()
            edge.router.requests.clear()
            yield edge

    return run


def routes(edge: Edge) -> list[str]:
    """Return what the router was asked for."""
    return [request.route for request in edge.router.requests]


async def test_below_the_budget_nothing_changes(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """No header, no word in `start`."""
    async with budgeted(USER, GLOBAL) as edge:
        await spend(valkey, "user", "0.39")
        visit = await edge.chat().done()

    assert ["default"] == routes(edge)
    assert not {"x-budget", "x-economy-model"} & set(visit.headers)
    assert visit.events[0][1]["economy"] is None


async def test_at_80_percent_there_is_a_warning(
    budgeted: Budgeted, valkey: redis.Redis, counted: Callable[..., float]
) -> None:
    """In a header and a metric; the answer is the same."""
    async with budgeted(USER, GLOBAL) as edge:
        await spend(valkey, "user", "0.4")
        visit = await edge.chat().done()

    assert ["default"] == routes(edge)
    assert "user-daily;nearly-exhausted;spent=0.4;limit=0.5" == visit.headers["x-budget"]
    assert 1 == counted("edge_budget_requests_total", budget="user-daily", each="user", action="nearly_exhausted")


async def test_beyond_it_the_economy_model_answers(
    budgeted: Budgeted, valkey: redis.Redis, counted: Callable[..., float]
) -> None:
    """Said in `start`, in headers, in the receipt and in the cost event; the requested model stays on record."""
    async with budgeted(USER, GLOBAL) as edge:
        await spend(valkey, "user", "0.5")
        visit = await edge.chat().done()
        settled = (await edge.settled())[-1]

    economy = {"model": "small", "budget": "user-daily"}
    assert ["small"] == routes(edge)
    assert ("small", "user-daily;exhausted;spent=0.5;limit=0.5") == (
        visit.headers["x-economy-model"],
        visit.headers["x-budget"],
    )
    assert [economy, economy] == [visit.events[0][1]["economy"], visit.events[-1][1]["economy"]]
    assert "default" == visit.events[0][1]["model"]
    assert ("default", "small", "user-daily") == (
        settled.request.requested_model,
        settled.economy_model,
        settled.budget,
    )
    assert 1 == counted("edge_budget_requests_total", budget="user-daily", each="user", action="economy")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
async def test_in_every_contract(budgeted: Budgeted, valkey: redis.Redis, path: str) -> None:
    """A header says it where the contract has no word for it."""
    async with budgeted(USER) as edge:
        await spend(valkey, "user", "0.5")
        body = (
            {"model": "default", "input": ["one", "two"]}
            if path == "/v1/embeddings"
            else {"model": "default", "max_tokens": 5, "messages": [{"role": "user", "content": "Who?"}]}
        )
        visit = await edge.visit(path, body).done()
        asked_for = [request.route for request in (*edge.router.requests, *edge.router.embed_requests)]

    assert (200, "small") == (visit.status, visit.headers["x-economy-model"])
    assert ["small"] == asked_for


async def test_an_economy_answer_is_never_that_of_the_requested_model(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """It is kept as the economy model's; what the requested model has answered before is given all the same."""
    async with budgeted(USER) as edge:
        await spend(valkey, "user", "0.5")
        first, second = [await edge.chat("new").done() for _ in range(2)]
        known = await edge.chat("before").done()
        asked_small = await edge.chat("new", model="small").done()
        await spend(valkey, "user", "0")
        again = await edge.chat("new").done()

    statuses = [visit.headers["cache-status"] for visit in (first, second, known, asked_small, again)]
    assert ["edge; fwd=miss", "edge; hit", "edge; hit", "edge; hit", "edge; fwd=miss"] == statuses
    assert "x-economy-model" not in known.headers
    assert ["small", "default"] == routes(edge)


async def test_without_an_economy_model_the_model_goes_on(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """The header says that the budget is used up."""
    async with budgeted(USER) as edge:
        await spend(valkey, "user", "0.5")
        visit = await edge.chat(model="small").done()

    assert ["small"] == routes(edge)
    assert "x-economy-model" not in visit.headers
    assert visit.headers["x-budget"].startswith("user-daily;exhausted")


async def test_an_emergency(budgeted: Budgeted, valkey: redis.Redis, counted: Callable[..., float]) -> None:
    """Known questions from the cache whatever the client wants, the economy model for the rest, no long prompts."""
    async with budgeted(GLOBAL, USER) as edge:
        await spend(valkey, "all", "100")
        known = await edge.chat("before", headers=[("cache-control", "no-cache")]).done()
        new = await edge.chat("new").done()
        edge.guard._checks = ()  # the limit of this edge's prompts is lower
        long = await edge.chat(LONG * 3).done()

    assert "edge; hit" == known.headers["cache-status"]
    assert "small" == new.headers["x-economy-model"]
    assert ["small"] == routes(edge)
    assert (429, "spend_limit_reached") == (long.status, long.json["error"]["code"])
    assert "takes no prompt of more than 2000 tokens" in long.json["error"]["message"]
    assert 1 == counted("edge_budget_requests_total", budget="global-daily", each="all", action="stopped")
    assert 2 == counted("edge_budget_requests_total", budget="global-daily", each="all", action="emergency")


async def test_who_uses_up_a_users_budget_uses_up_no_emergency(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """A client that wants a new answer gets one, of the economy model."""
    async with budgeted(GLOBAL, USER) as edge:
        await spend(valkey, "user", "1")
        visit = await edge.chat("before", headers=[("cache-control", "no-cache")]).done()

    assert visit.headers["cache-status"].startswith("edge; fwd=bypass")
    assert ["small"] == routes(edge)


async def test_twenty_at_once_overshoot_by_no_request(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """What runs is reserved: of a dollar, four requests of a quarter are let through, and the others refused."""
    goes_on = asyncio.Event()
    stop = {**USER, "usd": "1", "stop_usd": "1", "over": "warn"}
    async with budgeted(stop, expected_usd=Decimal("0.25")) as edge:
        edge.router.script = [started(), waits_for(goes_on), texts("Paris"), attempted(), STOP]
        app = edge.app()
        visits = [edge.visit("/chat", {"query": f"q{number}"}, app=app) for number in range(20)]
        async with asyncio.timeout(20):
            while len(edge.router.requests) + sum(visit.status == 429 for visit in visits) < 20:
                await asyncio.sleep(0.01)
        (key,) = await figures(valkey, "user")
        assert b"1000000000" == await valkey.hget(key, "pending")
        goes_on.set()
        statuses = [(await visit.done()).status for visit in visits]
        await edge.emitter.close()

    assert (4, 16) == (statuses.count(200), statuses.count(429))
    # They had no price: nothing is left of what was reserved.
    assert b"0" == await valkey.hget(key, "pending")
    assert 0 == await valkey.zcard(f"{key}:leases")


async def test_what_an_edge_that_died_has_reserved_is_free_again(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """A reservation is a lease."""
    stop = {**USER, "usd": "1", "stop_usd": "1", "over": "warn"}
    async with budgeted(stop, expected_usd=Decimal("0.6")) as edge:
        (key,) = await figures(valkey, "user")
        await valkey.hset(key, mapping={"gone": 600_000_000, "pending": 600_000_000})
        await valkey.zadd(f"{key}:leases", {"gone": 2**45})
        assert 429 == (await edge.chat("one").done()).status
        await valkey.zadd(f"{key}:leases", {"gone": 1})
        assert 200 == (await edge.chat("two").done()).status
        await edge.emitter.close()

    assert await valkey.hget(key, "gone") is None


async def leases_of(valkey: redis.Redis, key: str) -> list[tuple[bytes, float]]:
    """Return the leases of a figure, and when they end."""
    found: Any = await valkey.zrange(f"{key}:leases", 0, -1, withscores=True)
    return [(member, float(score)) for member, score in found]


async def test_a_running_request_keeps_its_reservation(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """However long it runs; what is settled is not cut short by a renewal that comes late."""
    goes_on = asyncio.Event()
    async with budgeted(USER, expected_usd=Decimal("0.1")) as edge:
        edge.router.script = [started(), waits_for(goes_on), texts("Paris"), attempted(), STOP]
        visit = edge.chat("slow")
        await visit.until(lambda _: bool(edge.router.requests))
        (key,) = await figures(valkey, "user")
        ((member, score),) = await leases_of(valkey, key)
        await valkey.zadd(f"{key}:leases", {member: score - 50_000, b"settled": score + 10**9})
        await edge.budgets.leases.renew()
        found = dict(await leases_of(valkey, key))
        ttl = await valkey.ttl(f"{key}:leases")
        await valkey.zadd(f"{key}:leases", {member: score + 10**9})
        await edge.budgets.leases.renew()
        ended = dict(await leases_of(valkey, key))
        goes_on.set()
        await visit.done()

    assert score + 10**9 == ended[member]
    assert found[member] >= score
    assert score + 10**9 == found[b"settled"]
    assert ttl > 3600


async def test_a_redis_that_lost_everything_forgives_nothing(budgeted: Budgeted, valkey: redis.Redis) -> None:
    """Until the ledger has published again, what it said last holds; and it is asked for it."""
    async with budgeted(USER) as edge:
        await spend(valkey, "user", "0.5")
        await edge.chat("one").done()
        await valkey.flushdb()
        await publish(valkey, [USER])
        await edge.chat("two").done()

    assert ["small", "small"] == routes(edge)


async def test_budgets_that_cannot_be_read_leave_the_old_ones_in_force(
    budgeted: Budgeted, valkey: redis.Redis, counted: Callable[..., float]
) -> None:
    """It is told by a metric until they can be."""
    async with budgeted(USER) as edge:
        await spend(valkey, "user", "0.5")
        await publish(valkey, [{**USER, "zone": "Europe/Nowhere"}])
        await edge.budgets.follow()
        assert 1 == counted("edge_budgets_stale")
        assert "small" == (await edge.chat("one").done()).headers["x-economy-model"]
        await publish(valkey, [])
        await edge.budgets.follow()
        assert 0 == counted("edge_budgets_stale")
        assert "x-economy-model" not in (await edge.chat("two").done()).headers


@pytest.mark.parametrize("budgets", [b"", b"{}", b"[1]", b'[{"name": "x"}]', b"[" * 10_000, b"\xff", b'[{"usd": -1}]'])
def test_what_is_no_list_of_budgets_is_refused(budgets: bytes) -> None:
    """With a reason, never a traceback."""
    with pytest.raises(BudgetsUnusable):
        read_budgets(budgets)


def moment(text: str) -> int:
    """Return the second of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("per", "zone", "at", "first", "last"),
    [
        ("hour", "UTC", "2026-11-29T12:34:56", "2026-11-29T12:00", "2026-11-29T13:00"),
        ("hour", "Asia/Kolkata", "2026-11-29T12:34:56", "2026-11-29T12:30", "2026-11-29T13:30"),
        ("day", "UTC", "2026-11-29T23:59:59", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("day", "UTC", "2026-11-30T00:00:00", "2026-11-30T00:00", "2026-12-01T00:00"),
        ("day", "Europe/Berlin", "2026-11-29T22:59:59", "2026-11-28T23:00", "2026-11-29T23:00"),
        ("day", "Europe/Berlin", "2026-11-29T23:00:00", "2026-11-29T23:00", "2026-11-30T23:00"),
        # Clocks go back on this day, which has 25 hours, and forward on that one, which has 23.
        ("day", "Europe/Berlin", "2026-10-25T12:00:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("month", "UTC", "2026-12-31T23:59:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "America/New_York", "2026-11-01T03:59:59", "2026-10-01T04:00", "2026-11-01T04:00"),
        ("month", "America/New_York", "2026-11-01T04:00:00", "2026-11-01T04:00", "2026-12-01T05:00"),
    ],
)
def test_periods_are_those_of_the_calendar(per: Per, zone: str, at: str, first: str, last: str) -> None:
    """Of the zone: an hour, a day or a month begins when it begins there."""
    assert Period(moment(first), moment(last)) == period_of(per, zone, moment(at))


def test_everything_since_ever_is_one_period() -> None:
    """Also across the end of a year."""
    assert period_of("total", "UTC", 0) == period_of("total", "Asia/Tokyo", moment("2026-12-31T23:59:59"))
