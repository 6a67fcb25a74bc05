"""The backlog of the stream is measured, and members of the group that are gone are removed."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as redis

from cost_ledger.recording.backlog import Backlog, measure_backlog, move_former_dead_letters, remove_idle_members
from cost_ledger.recording.consumer import DEAD_LETTERS, GROUP, STREAM
from kit.ledger.cost_events import admitted, request, settled
from kit.ledger.process import Parts, until


async def members(client: redis.Redis) -> set[str]:
    """Return the names in the group."""
    members: Any = await client.xinfo_consumers(STREAM, GROUP)
    return {member["name"].decode() for member in members}


async def test_an_empty_stream_is_no_backlog(parts: Parts) -> None:
    """Neither before the first event nor after the last one; no group is no error."""
    assert Backlog(0, 0.0, 0) == await measure_backlog(parts.client)
    assert [] == await remove_idle_members(parts.client, 0)
    await parts.send(settled(request()))
    assert [] == await remove_idle_members(parts.client, 0)
    await parts.consume_all()
    assert Backlog(0, 0.0, 0) == await measure_backlog(parts.client)


async def test_the_oldest_entry_is_the_lag_of_the_ledger(parts: Parts) -> None:
    """Whether it was read or not: it counts until it is recorded."""
    seconds, _ = await parts.client.time()
    await parts.client.xadd(STREAM, {"event": b"old"}, id=f"{(seconds - 90) * 1000}-0")
    await parts.send(admitted(request()))
    await parts.client.xadd(DEAD_LETTERS, {"event": b"dead"})
    await parts.client.xgroup_create(STREAM, GROUP, id="0")
    await parts.client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=1)
    backlog = await measure_backlog(parts.client)

    assert (2, 1) == (backlog.events, backlog.dead_letters)
    assert 89 <= backlog.oldest_seconds <= 150


async def test_a_clock_of_redis_that_went_back_is_no_negative_age(parts: Parts) -> None:
    """Entries from the future are young."""
    seconds, _ = await parts.client.time()
    await parts.client.xadd(STREAM, {"event": b"future"}, id=f"{(seconds + 3600) * 1000}-0")

    assert 0.0 == (await measure_backlog(parts.client)).oldest_seconds


async def test_a_member_that_is_gone_is_removed_once_it_holds_nothing(parts: Parts) -> None:
    """What it holds is never dropped with it; a member that still reads stays."""
    asked = request()
    await parts.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await parts.send(settled(asked))
    await parts.client.xreadgroup(GROUP, "holder", {STREAM: ">"})
    await parts.client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    assert [] == await remove_idle_members(parts.client, 600)
    await until(lambda: _are_idle(parts.client, 50))
    await parts.client.xreadgroup(GROUP, "asking", {STREAM: ">"})

    assert ["gone"] == await remove_idle_members(parts.client, 0.05)
    assert {"holder", "asking"} == await members(parts.client)
    assert 1 == await parts.pending()


async def test_a_member_that_was_removed_while_it_waited_misses_nothing(parts: Parts) -> None:
    """Its next read makes it a member again, and it gets what was sent meanwhile."""
    stop = asyncio.Event()
    task = asyncio.create_task(parts.consumer("alive").run(stop))
    try:
        for _ in range(5):
            await until(lambda: _is_member(parts.client, "alive"))
            await remove_idle_members(parts.client, -1)
            await parts.send(settled(request()))
            await until(parts.is_drained)
    finally:
        stop.set()
        await asyncio.wait_for(task, 15.0)
    assert [(5,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")
    assert 5 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")


async def _are_idle(client: redis.Redis, milliseconds: int) -> bool:
    members: Any = await client.xinfo_consumers(STREAM, GROUP)
    return all(member["idle"] > milliseconds for member in members)


async def _is_member(client: redis.Redis, name: str) -> bool:
    return bool(await client.exists(STREAM)) and name in await members(client)


async def test_dead_letters_of_a_former_version_are_kept(parts: Parts) -> None:
    """They were under a name that a Cluster has on another node than the stream."""
    letters: list[dict[Any, Any]] = [
        {b"event": b"%d" % number, b"reason": b"r", b"entry_id": b"1-1"} for number in range(3)
    ]
    for fields in letters:
        await parts.client.xadd("spillway:cost-events:dead", fields)
    assert 3 == await move_former_dead_letters(parts.client)
    assert 0 == await move_former_dead_letters(parts.client)

    assert letters == await parts.dead()
    assert Backlog(0, 0.0, 3) == await measure_backlog(parts.client)
    assert 0 == await parts.client.xlen("spillway:cost-events:dead")
