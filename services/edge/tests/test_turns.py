"""So many requests begin at a time as can begin soon."""

from __future__ import annotations

import asyncio

import pytest

from edge.guard.turns import Turns, TurnsTaken


async def turns_at_once(turns: Turns) -> int:
    """Take turns until none is free; give them back, and return how many there were."""
    taken = 0
    while True:
        try:
            async with asyncio.timeout(0.01):
                await turns.take()
        except TimeoutError:
            break
        taken += 1
    for _ in range(taken):
        turns.give_back(0.0)
    return taken


async def hold(turns: Turns, seconds: float, times: int) -> None:
    """Take a turn and give it back as if it had taken so long."""
    for _ in range(times):
        await turns.take()
        turns.give_back(seconds)


async def test_fewer_begin_at_a_time_when_it_takes_long() -> None:
    """Down to a few, who always may; and as many as before when it takes little time again."""
    turns = Turns()
    assert 16 == await turns_at_once(turns)

    await hold(turns, 0.2, 5)
    assert 11 <= await turns_at_once(turns) <= 13
    await hold(turns, 0.2, 100)
    assert 6 <= await turns_at_once(turns) <= 7

    await hold(turns, 0.01, 400)
    assert 16 == await turns_at_once(turns)


async def test_who_waits_gets_the_next_turn() -> None:
    """In order; and who has waited for too long is refused, and keeps no turn."""
    turns = Turns()
    await hold(turns, 0.2, 100)
    for _ in range(6):
        await turns.take()
    first, second = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
    await asyncio.sleep(0)

    turns.give_back(0.2)
    await first
    with pytest.raises(TurnsTaken):
        await second

    for _ in range(6):
        turns.give_back(0.2)
    assert 6 <= await turns_at_once(turns) <= 7


async def test_the_time_that_a_request_has_been_here_counts() -> None:
    """Not so that it would not wait at all."""
    turns = Turns()
    await hold(turns, 0.2, 100)
    for _ in range(6):
        await turns.take()
    loop = asyncio.get_running_loop()

    async def waits(waited_seconds: float) -> float:
        started = loop.time()
        with pytest.raises(TurnsTaken):
            await turns.take(waited_seconds)
        return loop.time() - started

    long, short, least = await asyncio.gather(waits(0.0), waits(0.2), waits(30.0))
    assert long - short > 0.05 < short - least
    assert least > 0.0


async def test_a_queue_that_is_full_takes_nobody() -> None:
    """Who comes then is told at once, and who leaves it makes room."""
    turns = Turns()
    for _ in range(16):
        await turns.take()
    waiting = [asyncio.create_task(turns.take()) for _ in range(64)]
    await asyncio.sleep(0)

    assert turns.is_queue_full
    async with asyncio.timeout(0.05):
        with pytest.raises(TurnsTaken):
            await turns.take()
    waiting[10].cancel()
    await asyncio.wait(waiting[10:11])
    assert not turns.is_queue_full

    for _ in range(16 + 63):
        turns.give_back(0.0)
    await asyncio.gather(*waiting[:10], *waiting[11:])
    assert 16 == await turns_at_once(turns)


async def test_who_is_cancelled_as_the_turn_comes_passes_it_on() -> None:
    """And says nothing about how long it takes to begin."""
    turns = Turns()
    await hold(turns, 0.2, 3)
    limit = turns.limit
    held = int(limit)
    for _ in range(held):
        await turns.take()
    first, second = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    turns.give_back(0.0)
    after = turns.limit
    first.cancel()
    await asyncio.wait((first,))

    assert after == turns.limit
    await second
