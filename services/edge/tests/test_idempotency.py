"""`Idempotency-Key`: one request, one run, one bill, whatever is sent twice and to whichever edge."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.events.redis import RedisStore
from edge.guard.identify import Identify
from edge.guard.keys import add_key, load_keys
from edge.idempotency.idempotency import MAX_KEPT_BYTES, Idempotency

from .scripted_edge import Edge
from .scripted_redis import redis_client
from .scripted_router import GOOD, STOP, attempted, dies, fails, started, texts, waits_for

Counted = Callable[..., float]
ONCE = [("idempotency-key", "order 7")]


def another(edge: Edge, store: RedisStore, lease_seconds: float = 60.0) -> Edge:
    """Return an edge that shares nothing of this with the first one but Redis."""
    return replace(edge, idempotency=Idempotency(store, edge.metrics, lease_seconds))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_request_is_run_once_and_answered_twice(edge: Edge, redis_url: str, stream: bool) -> None:
    """By another edge too; byte by byte, marked, and billed once."""
    first = await edge.complete(headers=ONCE, stream=stream).done()
    async with redis_client(redis_url) as client:
        second = await another(edge, RedisStore(client, 5.0)).complete(headers=ONCE, stream=stream).done()

    assert (200, 200) == (first.status, second.status)
    assert first.content == second.content
    assert first.headers["content-type"] == second.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert "true" == second.headers["idempotency-replayed"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert 1 == len(edge.router.requests)
    assert 1 == len(await edge.settled())


async def test_embeddings_are_answered_once_too(edge: Edge) -> None:
    """Every contract has it."""
    visits = [await edge.embed(headers=ONCE).done() for _ in range(2)]

    assert visits[0].content == visits[1].content
    assert 1 == len(edge.router.embed_requests)


async def test_a_request_that_still_runs_is_409_and_another_body_or_path_422(edge: Edge, redis_url: str) -> None:
    """At any edge; neither is run."""
    go_on = asyncio.Event()
    edge.router.script = [started(), texts("Pa"), waits_for(go_on), attempted(), STOP]
    first = edge.complete(headers=ONCE)
    await first.until(lambda visit: b"Pa" in visit.content)
    async with redis_client(redis_url) as client:
        other = another(edge, RedisStore(client, 5.0))
        same = await other.complete(headers=ONCE).done()
        body = await other.complete(headers=ONCE, seed=1).done()
        path = await other.chat(headers=ONCE).done()
    go_on.set()
    await first.done()

    assert (409, "request_in_progress") == (same.status, same.json["error"]["code"])
    assert (422, "idempotency_key_reused") == (body.status, body.json["error"]["code"])
    assert 422 == path.status
    assert 1 == len(edge.router.requests)


@pytest.mark.parametrize(
    "script", [[fails("rate_limited")], [fails("all_targets_failed")], [started(), texts("P"), dies]]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_frees_the_key(edge: Edge, script: Any, stream: bool) -> None:
    """Before the status and after it."""
    edge.router.script = script
    await edge.complete(headers=ONCE, stream=stream).done()
    before = len(edge.router.requests)
    edge.router.script = GOOD
    again = await edge.complete(headers=ONCE, stream=stream).done()

    assert 200 == again.status
    assert "idempotency-replayed" not in again.headers
    assert before + 1 == len(edge.router.requests)


async def test_a_refusal_frees_the_key(edge: Edge) -> None:
    """What was not begun is not answered."""
    refused = await edge.complete(headers=ONCE, model="nothing").done()

    assert 404 == refused.status
    assert not [key async for key in edge.redis.scan_iter("spillway:idempotency:*")]


async def test_a_client_that_leaves_frees_the_key(edge: Edge) -> None:
    """It has no answer that could be given again."""
    edge.router.script = [started(), texts("Pa"), waits_for(edge.router.stopped), attempted(), STOP]
    first = edge.complete(headers=ONCE)
    await first.until(lambda visit: b"Pa" in visit.content)
    first.gone()
    await first.done()
    edge.router.script = GOOD

    assert 200 == (await edge.complete(headers=ONCE).done()).status
    assert 2 == len(edge.router.requests)


async def test_the_key_of_an_edge_that_died_is_free_when_its_lease_ends(edge: Edge, redis_url: str) -> None:
    """And no sooner while it lives, as it is renewed."""
    async with redis_client(redis_url) as client:
        other = another(edge, RedisStore(client, 5.0), lease_seconds=3.0)
        edge.router.script = [started(), texts("Pa"), waits_for(asyncio.Event()), attempted(), STOP]
        first = other.complete(headers=ONCE)
        await first.until(lambda visit: b"Pa" in visit.content)
        await asyncio.sleep(4.0)
        (key,) = [key async for key in edge.redis.scan_iter("spillway:idempotency:*")]
        value: Any = await edge.redis.get(key)

        assert 409 == (await edge.complete(headers=ONCE).done()).status
        first.gone()
        await first.done()
        await edge.redis.set(key, value, px=300)  # as an edge leaves it that is killed
        edge.router.script = GOOD
        async with asyncio.timeout(20):
            while (await edge.complete(headers=ONCE).done()).status != 200:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(("left_seconds", "most"), [(0.95, 1), (17.5, 18), (3600, 60)])
async def test_who_is_too_early_is_told_when_the_lease_ends(edge: Edge, left_seconds: float, most: int) -> None:
    """Nobody knows whether its edge lives; no client is told to wait for longer than vendors' clients do."""
    edge.router.script = [started(), texts("Pa"), waits_for(edge.router.stopped), attempted(), STOP]
    first = edge.complete(headers=ONCE)
    await first.until(lambda visit: b"Pa" in visit.content)
    (key,) = [key async for key in edge.redis.scan_iter("spillway:idempotency:*")]
    await edge.redis.pexpire(key, int(left_seconds * 1000))
    same = await edge.complete(headers=ONCE).done()
    least = min(math.ceil(await edge.redis.pttl(key) / 1000), most)  # the time of the request itself has passed
    first.gone()
    await first.done()

    assert 409 == same.status
    assert max(least, 1) <= int(same.headers["retry-after"]) <= most


@pytest.mark.parametrize("script", [GOOD, [started(), texts("Pa"), dies]])
@pytest.mark.parametrize("how", ["chat", "complete", "message"])
async def test_nothing_is_open_when_the_terminal_frame_goes_out(edge: Edge, script: Any, how: str) -> None:
    """Then an answer is kept and the key of a failure is free, whatever becomes of the connection."""
    edge.router.script = script
    if how == "message":
        body = {"model": "default", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Who?"}]}
        visit = edge.visit("/v1/messages", body, ONCE)
    else:
        visit = getattr(edge, how)(headers=ONCE)
    states: list[Any] = []

    async def look(content: bytes) -> None:
        values = [await edge.redis.get(key) async for key in edge.redis.scan_iter("spillway:idempotency:*")]
        states.append((content, [value[:1] for value in values if value]))

    visit.before_content = look
    await visit.done()

    assert all([b"r"] == state for _, state in states[:-1])
    content, last = states[-1]
    assert any(end in content for end in (b"event: done", b"[DONE]", b"message_stop", b"error"))
    assert ([b"k"] if script is GOOD else []) == last


@pytest.mark.parametrize("how", ["long", "no-store"])
async def test_an_answer_that_may_not_be_kept_is_not_given_again_nor_run_again(edge: Edge, how: str) -> None:
    """Longer than a MiB, or not to be stored."""
    headers = [*ONCE, ("cache-control", "no-store")] if how == "no-store" else ONCE
    text = "x" * MAX_KEPT_BYTES if how == "long" else "Paris"
    edge.router.script = [started(), texts(text), attempted(), STOP]
    await edge.complete(headers=headers).done()
    again = await edge.complete(headers=headers).done()

    assert (409, "conflict", "false") == (again.status, again.json["error"]["code"], again.headers["x-should-retry"])
    assert "not kept" in again.json["error"]["message"]
    assert 1 == len(edge.router.requests)
    (key,) = [key async for key in edge.redis.scan_iter("spillway:idempotency:*")]
    assert 100 > await edge.redis.strlen(key)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "gr\u00f6\u00dfe"])
async def test_a_key_that_is_none_is_refused(edge: Edge, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    assert 400 == (await edge.complete(headers=[("idempotency-key", key)]).done()).status
    assert 400 == (await edge.complete(headers=[*ONCE, *ONCE]).done()).status
    assert 200 == (await edge.complete(headers=[("idempotency-key", "x" * 255)]).done()).status


async def test_another_user_has_keys_of_their_own(edge: Edge, tmp_path: Path) -> None:
    """Nobody gets somebody else's answer."""
    await edge.complete(headers=ONCE).done()
    for tenant, user in (("acme", "bob"), ("umbrella", "ada")):
        key = add_key(tmp_path / "keys.yaml", tenant, user, "gold")
        other = replace(edge, key=key, identify=Identify(load_keys(tmp_path / "keys.yaml")))
        visit = await other.complete(headers=ONCE, seed=2).done()

        assert 200 == visit.status
        assert "idempotency-replayed" not in visit.headers


async def test_without_redis_the_request_runs_and_is_counted(edge: Edge, counted: Counted) -> None:
    """A key is no reason to refuse."""
    async with redis_client("redis://127.0.0.1:1") as client:
        other = another(edge, RedisStore(client, 5.0))
        visits = [await other.complete(headers=ONCE).done() for _ in range(2)]

    assert [200, 200] == [visit.status for visit in visits]
    assert 2 == counted("edge_idempotency_skipped_total")
