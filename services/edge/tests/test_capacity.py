"""As many requests run as there are places; one more is refused at once and costs nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from edge.guard.capacity import Capacity
from edge.problems import Problem

from .scripted_edge import Edge
from .scripted_router import STOP, Visit, attempted, started, texts, waits_for


@pytest.fixture(name="two_places")
def _two_places() -> Capacity:
    """Return places for two requests, one for each key, and ten bytes of bodies, nine for each key."""
    return Capacity(2, 1, 10, 9)


def refusal(capacity: Capacity, key_id: str) -> Problem:
    """Return why a request gets no place."""
    with pytest.raises(Problem) as caught, capacity.place(key_id):
        pass
    return caught.value


def test_a_key_has_its_own_limit(two_places: Capacity) -> None:
    """The client is told that it is its own requests that it waits for, and another key is not held up."""
    with two_places.place("ada"):
        problem = refusal(two_places, "ada")
        assert ("too_many_requests", 429, "1") == (problem.code, problem.kind.status, problem.headers()["retry-after"])
        with two_places.place("bob"):
            pass
    with two_places.place("ada"):
        pass


def test_the_edge_has_a_limit(two_places: Capacity) -> None:
    """Whoever asks then: there is no place."""
    with two_places.place("ada"), two_places.place("bob"):
        problem = refusal(two_places, "eve")
        assert ("overloaded", 503, "1") == (problem.code, problem.kind.status, problem.headers()["retry-after"])
        assert problem.headers()["x-should-retry"] == "true"


def test_bodies_have_a_limit_together(two_places: Capacity) -> None:
    """And what a request has held is free when it ends, however it ends."""
    with suppress(ZeroDivisionError), two_places.place("ada") as one:
        one.hold(5)
        one.hold(4)
        with two_places.place("bob") as other, pytest.raises(Problem, match="too long together"):
            other.hold(2)
        raise ZeroDivisionError
    with two_places.place("ada") as again:
        again.hold(9)


def test_long_bodies_of_one_key_leave_room_for_those_of_others(two_places: Capacity) -> None:
    """Who sends them slowly, to hold the memory of all, is told to wait, and another key is served."""
    with two_places.place("ada") as one:
        one.hold(8)
        with pytest.raises(Problem) as caught:
            one.hold(2)
        with two_places.place("bob") as other:
            other.hold(2)

    problem = caught.value
    assert ("too_many_requests", 429, "1") == (problem.code, problem.kind.status, problem.headers()["retry-after"])
    assert "may have 9 bytes together" in problem.message


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_request_holds_its_place_until_it_is_answered(edge: Edge, path: str) -> None:
    """One more is refused in its contract's own shape, nothing is asked of the router, and then there is a place."""
    goes_on = asyncio.Event()
    edge.settings["max_concurrent_requests"] = 1
    edge.router.script = [started(), texts("Pa"), waits_for(goes_on), texts("ris"), attempted(), STOP]
    app = edge.app()
    question = {"model": "default", "messages": [{"role": "user", "content": "q"}], "max_tokens": 9, "stream": True}
    body = {"query": "q"} if path == "/chat" else question
    first = asyncio.create_task(edge.visit(path, body, app=app).done())
    while not edge.router.requests:
        await asyncio.sleep(0.01)
    second = await edge.visit(path, body, app=app).done()
    goes_on.set()

    assert 503 == second.status
    assert b"overloaded" in second.content
    assert "1" == second.headers["retry-after"]
    assert 200 == (await first).status
    assert 1 == len(edge.router.requests)
    assert 200 == (await edge.visit(path, body, app=app).done()).status
    assert 2 == len(await edge.settled())


async def begun(edge: Edge, count: int) -> None:
    """Wait until the router has been asked so often."""
    async with asyncio.timeout(20):
        while len(edge.router.requests) < count:
            await asyncio.sleep(0.01)


async def test_who_cannot_begin_is_refused_soon(edge: Edge) -> None:
    """A router that begins with nothing gets no more than it has; when it begins, all is as before."""
    begins = asyncio.Event()
    edge.router.script = [waits_for(begins), started(), texts("Paris"), attempted(), STOP]
    app = edge.app()
    ask = partial(edge.visit, "/chat", app=app)
    first = [ask({"query": f"q{number}"}) for number in range(16)]
    await begun(edge, 16)
    late: list[Visit] = [await ask({"query": f"late {number}"}).done() for number in range(2)]
    waiting = ask({"query": "in time"})
    await asyncio.sleep(0.05)
    begins.set()

    assert [503, 503] == [each.status for each in late]
    assert all(b"more requests come than can be begun" in each.content for each in late)
    assert {200} == {(await each.done()).status for each in (*first, waiting)}
    assert 17 == len(edge.router.requests)


async def test_an_answer_that_is_long_in_coming_keeps_nobody_from_beginning(edge: Edge) -> None:
    """A router that has begun does not count: models may think."""
    goes_on = asyncio.Event()
    edge.router.script = [started(), waits_for(goes_on), texts("Paris"), attempted(), STOP]
    app = edge.app()
    visits = []
    for number in range(50):
        visits.append(edge.visit("/chat", {"query": f"q{number}"}, app=app))
        await begun(edge, number + 1)
    goes_on.set()

    assert {200} == {(await each.done()).status for each in visits}


async def test_who_leaves_while_waiting_to_begin_takes_no_turn(edge: Edge) -> None:
    """Cancelled at any point, a turn is given back."""
    begins = asyncio.Event()
    edge.router.script = [waits_for(begins), started(), texts("Paris"), attempted(), STOP]
    app = edge.app()
    first = [edge.visit("/chat", {"query": f"q{number}"}, app=app) for number in range(16)]
    await begun(edge, 16)
    for number in range(40):
        leaving = edge.visit("/chat", {"query": f"late {number}"}, app=app)
        await asyncio.sleep(0.001 * (number % 5))
        leaving.task.cancel()
        await asyncio.wait((leaving.task,))
    begins.set()

    assert {200} == {(await each.done()).status for each in first}
    again = [edge.visit("/chat", {"query": f"again {number}"}, app=app) for number in range(16)]
    assert {200} == {(await each.done()).status for each in again}


async def test_models_that_do_not_exist_do_not_keep_the_router_busy(edge: Edge) -> None:
    """Somebody who asks for many of them makes the edge ask for the list now and then, not each time."""
    app = edge.app()
    question = {"messages": [{"role": "user", "content": "q"}]}
    visits = [edge.visit("/v1/chat/completions", {**question, "model": f"m{n}"}, app=app) for n in range(30)]

    assert {404} == {(await each.done()).status for each in visits}
    assert edge.router.times_listed < 10
