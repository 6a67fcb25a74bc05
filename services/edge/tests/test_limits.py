"""Limits: what is let through is never more than allowed, what is refused counts nothing, and the client knows why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.events.spool import Spool
from edge.limits.rules import DEFAULT_RULES, LimitsError, Rule, Rules, parse_limits

from .scripted_edge import Edge, running_edge
from .scripted_redis import FakeRedis
from .scripted_router import STOP, Visit, attempted, started, texts, waits_for
from .test_rights import give_key

pytestmark = pytest.mark.integration

Limited = Callable[..., Any]


@pytest.fixture(name="limited")
async def _limited(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry
) -> Any:
    """Return a function that runs an edge with these rules."""

    folders: list[Path] = []

    @asynccontextmanager
    async def run(*rules: Rule, url: str = redis_url, **options: Any) -> AsyncIterator[Edge]:
        folder = tmp_path / f"edge-{len(folders)}"
        folder.mkdir()
        folders.append(folder)
        own = registry if len(folders) == 1 else CollectorRegistry()
        async with running_edge(folder, url, spool, own, rules=Rules(rules), **options) as edge:
            yield edge

    return run


async def asked(edge: Edge, count: int) -> list[Visit]:
    """Ask so many different questions, one after the other."""
    return [await edge.chat(f"question {number}").done() for number in range(count)]


async def test_what_is_allowed_runs_and_no_more(limited: Limited, counted: Callable[..., float]) -> None:
    """The 429 says which limit, whose, and when to come again, in the words that clients act on."""
    async with limited(Rule(name="free", each=["user"], requests_per_minute=3)) as edge:
        visits = await asked(edge, 5)

        assert [200, 200, 200, 429, 429] == [visit.status for visit in visits]
        assert ["3", "2", "1", "0"] == ["3", *(visit.headers["x-ratelimit-remaining-requests"] for visit in visits[:3])]
        error = visits[3].json["error"]
        assert ("rate_limit_exceeded", "rate_limit_error", True) == (error["code"], error["type"], error["retryable"])
        assert "user 'ada' has reached 3 requests a minute (limit 'free')" in error["message"]
        headers = visits[3].headers
        assert 50 <= int(headers["retry-after"]) <= 61
        assert 50_000 <= int(headers["retry-after-ms"]) <= 60_500
        assert ("3", "0") == (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"])
        assert "0" == headers["anthropic-ratelimit-requests-remaining"]
        assert 2 == counted("edge_limits_exceeded_total", limit="free", unit="requests")
        assert 3 == len(edge.router.requests)


async def test_many_at_once_get_exactly_what_is_allowed(limited: Limited) -> None:
    """Over two edges, too."""
    rule = Rule(name="tenant", each=["tenant"], requests_per_minute=20)
    async with AsyncExitStack() as stack:
        edges = [await stack.enter_async_context(limited(rule)) for _ in range(2)]
        apps = [edge.app() for edge in edges]
        visits = [
            edges[number % 2].visit("/chat", {"query": f"q{number}"}, app=apps[number % 2]) for number in range(60)
        ]
        statuses = [(await visit.done()).status for visit in visits]
    assert 20 == statuses.count(200)
    assert 40 == statuses.count(429)


async def test_a_team_counts_together(limited: Limited) -> None:
    """All who are in it; a team of the same name in another tenant, and whoever is in none, do not count with them."""
    async with limited(
        Rule(name="each", each=["team"], requests_per_minute=2), Rule(name="slow", team="s*", requests_per_minute=1)
    ) as edge:

        async def ask(user: str, **fields: str) -> int:
            give_key(edge, user=user, **fields)
            visit: Visit = await edge.chat(f"{user} {fields} {len(edge.router.requests)}").done()
            return visit.status

        statuses = [await ask(user, team="red") for user in ("ada", "bob", "lea")]
        other = await ask("ada", team="red", tenant="globex")
        alone = [await ask(user) for user in ("ada", "bob", "lea")]
        slow = [await ask("sue", team=team) for team in ("slow", "slower")]

    assert ([200, 200, 429], 200, [200, 200, 200], [200, 429]) == (statuses, other, alone, slow)


async def test_what_one_limit_refuses_counts_nowhere(limited: Limited, valkey: redis.Redis) -> None:
    """All of a request's limits are decided before any is counted."""
    wide, narrow = Rule(name="wide", requests_per_minute=100), Rule(name="narrow", each=["key"], requests_per_minute=1)
    async with limited(wide, narrow) as edge:
        await asked(edge, 10)

        (key,) = [key async for key in valkey.scan_iter("*:limit:wide:*")]
        assert b"1" == await valkey.hget(key, "t")


async def test_tokens_are_reserved_and_settled_by_truth(limited: Limited, valkey: redis.Redis) -> None:
    """The estimate counts while the request runs, what the provider reports when it has ended, nothing for a hit."""
    goes_on = asyncio.Event()
    async with limited(Rule(name="t", each=["user"], tokens_per_minute=10_000)) as edge:
        edge.router.script = [started(), waits_for(goes_on), texts("Paris"), attempted(), STOP]
        visit = edge.chat("Who?")
        await visit.until(lambda _: bool(edge.router.requests))
        (key,) = [key async for key in valkey.scan_iter("*:limit:t:*")]
        assert int(await valkey.hget(key, "t") or 0) > 500
        goes_on.set()
        await visit.done()
        await edge.emitter.close()
        (settled,) = await edge.settled()
        usage = settled.attempts[0].usage
        spent = usage.input_tokens + usage.output_tokens
        assert spent == int(await valkey.hget(key, "t") or 0)

        hit = await edge.chat("Who?").done()
        assert "edge; hit" == hit.headers["cache-status"]
        await edge.emitter.close()
        assert spent == int(await valkey.hget(key, "t") or 0)


async def test_a_request_larger_than_its_limit_is_told_so(limited: Limited) -> None:
    """Waiting would not help."""
    async with limited(Rule(name="t", each=["user"], tokens_per_minute=100)) as edge:
        visit = await edge.chat("Who?").done()
        assert 429 == visit.status
        assert not visit.json["error"]["retryable"]
        assert "may use 100 tokens a minute" in visit.json["error"]["message"]
        assert "retry-after" not in visit.headers


async def test_streams_are_leases(limited: Limited, valkey: redis.Redis) -> None:
    """They are given back at the end; those of an edge that died end by themselves."""
    goes_on = asyncio.Event()
    async with limited(Rule(name="s", each=["user"], concurrent_streams=2)) as edge:
        edge.router.script = [started(), waits_for(goes_on), texts("Paris"), attempted(), STOP]
        app = edge.app()
        body = {"model": "default", "stream": True}
        running = [
            edge.visit("/v1/chat/completions", {**body, "messages": [{"role": "user", "content": word}]}, app=app)
            for word in ("one", "two")
        ]
        for visit in running:
            await visit.until(lambda _: len(edge.router.requests) == 2)
        refused = await edge.complete().done()
        assert 429 == refused.status
        assert "2 streams at once" in refused.json["error"]["message"]
        (key,) = [key async for key in valkey.scan_iter("*:limit:s:*")]
        assert 0 < await valkey.pttl(key) <= 60_000
        goes_on.set()
        for visit in running:
            await visit.done()
        await edge.emitter.close()
        assert 0 == await valkey.zcard(key)
        assert 200 == (await edge.complete().done()).status

        await edge.emitter.close()
        await valkey.zadd(key, {"of an edge that died": 1, "another": 1})
        assert 200 == (await edge.complete().done()).status


async def test_a_limit_in_shadow_refuses_nothing(limited: Limited, counted: Callable[..., float]) -> None:
    """It counts what it would have refused."""
    async with limited(Rule(name="soon", each=["user"], requests_per_minute=1, shadow=True)) as edge:
        assert {200} == {visit.status for visit in await asked(edge, 3)}
        assert 2 == counted("edge_limits_exceeded_in_shadow_total", limit="soon", unit="requests")
        assert 0 == counted("edge_limits_exceeded_total", limit="soon", unit="requests")


async def test_without_redis_each_edge_has_its_part(
    limited: Limited, redis_url: str, counted: Callable[..., float]
) -> None:
    """Ten requests over two edges are five here; it is counted."""
    rule = Rule(name="free", tenant="acme", each=["user"], requests_per_minute=10)
    async with (
        FakeRedis(redis_url).listening() as fake,
        limited(rule, url=fake.url, look_up_timeout_seconds=0.1, edges=2) as edge,
    ):
        fake.answers.clear()
        statuses = [visit.status for visit in await asked(edge, 7)]
        assert [200] * 5 + [429] * 2 == statuses
        assert 7 == counted("edge_limits_decided_alone_total")
        give_key(edge, tenant="of no limits", user="bob")
        assert 200 == (await edge.chat("question").done()).status
        assert 7 == counted("edge_limits_decided_alone_total")
        fake.answers.set()


def test_a_file_is_read_and_its_faults_are_named() -> None:
    """By the place in the file."""
    path = Path("limits.yaml")
    (rule,) = parse_limits(path, b"limits: [{name: free, tier: free, each: [user], requests_per_minute: 10}]")
    assert rule == DEFAULT_RULES[0]
    assert [] == list(parse_limits(path, b"limits: []"))
    for content, words in (
        (b"limits: [{name: x}]", "limits.0: .*it limits nothing"),
        (b"limits: [{name: x, requests_per_minute: -1}]", "limits.0.requests_per_minute"),
        (b"limits: [{name: x, each: [city], requests_per_minute: 1}]", "limits.0.each.0"),
        (b"limits: [{name: 'a b', requests_per_minute: 1}]", "limits.0.name"),
        (b"limits: [{name: x, requests_per_minute: 1}, {name: x, requests_per_day: 1}]", "twice"),
        (b"limits: {", "not YAML"),
        (b"\xff", "not YAML"),
        (b"[]", "the file"),
    ):
        with pytest.raises(LimitsError, match=words):
            parse_limits(path, content)
