"""The mock provider sends what its model's name says, and the client finds every answer that is not that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bench.cells import DEFAULT_CELLS, cell_of
from bench.client import Crowd, Load, Question, dechunked
from bench.provider import Provider, Wheel, completion, embedding, frames, serve
from bench.wire import NotWhole, Plan, check_completion, check_embedding, check_stream, plan_of

pytestmark = pytest.mark.integration

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def crowd_of(handler: Handler, clients: int = 1) -> AsyncIterator[Crowd]:
    """Yield clients of a server that handles each connection in this way."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    crowd = Crowd(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}, clients)
    try:
        async with server:
            yield crowd
    finally:
        crowd.close()


@asynccontextmanager
async def provider_and_crowd(clients: int) -> AsyncIterator[tuple[Provider, Crowd]]:
    """Yield the mock provider and clients of it."""
    provider = Provider()
    server = await serve(provider)
    crowd = Crowd(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}, clients)
    try:
        yield provider, crowd
    finally:
        crowd.close()
        server.close()
        await server.wait_closed()


def question_of(name: str) -> Question:
    """Return the question of a cell."""
    question = cell_of(name).question
    assert question is not None
    return question


def answering(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n") -> Handler:
    """Return a server that sends these bytes and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    return handle


async def faults_of(body: bytes, question: Question, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what one client says of this answer."""
    monkeypatch.setattr("bench.client._MAX_TRIES_IN_VAIN", 1)
    async with crowd_of(answering(body)) as crowd:
        return await crowd.ask(replace(question, spread_seconds=0.0), 0.0)


@pytest.mark.parametrize("clients", [1, 30])
async def test_each_stream_has_all_its_chunks_at_its_pace(clients: int) -> None:
    """64 chunks arrive one by one, the interval apart; the provider has counted the same."""
    async with provider_and_crowd(clients) as (provider, crowd):
        load = await crowd.ask(question_of("5ms-1"), 0.0)

    assert not load.faults
    assert clients == load.answers == len(load.first) == provider.counts["whole"]
    assert clients * 64 == provider.counts["chunks"]
    # Two chunks may arrive together on a busy machine, but no more than now and then.
    assert clients * 63 * 0.5 < len(load.gaps) <= clients * 63
    assert min(load.whole) > 63 * 0.005 * 0.98


@pytest.mark.parametrize("name", ["one-3", "whole-3", "embeddings-3", "hit-3"])
async def test_other_answers_are_whole(name: str) -> None:
    """One chunk, an answer in one piece, and a vector pass their checks, on connections that stay open."""
    async with provider_and_crowd(3) as (provider, crowd):
        load = await crowd.ask(question_of(name), 0.1)

    assert not load.faults
    assert 3 < load.answers == provider.counts["whole"] == provider.counts["asked"]


async def test_streams_keep_their_phase() -> None:
    """Steps of one interval are called at their own moments, and no more once they return false."""
    wheel, loop = Wheel(0.02), asyncio.get_running_loop()
    calls: dict[str, list[float]] = {"a": [], "b": []}

    def step(name: str) -> Callable[[], bool]:
        def call() -> bool:
            calls[name].append(loop.time())
            return len(calls[name]) < 4

        return call

    began = loop.time()
    wheel.add(step("a"))
    await asyncio.sleep(0.007)
    wheel.add(step("b"))
    await asyncio.sleep(0.5)

    assert [4, 4] == [len(times) for times in calls.values()]
    assert calls["a"][0] - began >= 0.019
    assert calls["b"][0] > calls["a"][0]


async def test_a_whole_answer_is_not_found_fault_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frames are put together to is accepted: the tests below change it in one place each."""
    load = await faults_of(b"".join(frames(Plan(64, 2), with_usage=True)), question_of("2ms-1"), monkeypatch)

    assert not load.faults
    assert 1 == load.answers


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("lost chunk", lambda parts: [*parts[:20], *parts[21:]]),
        ("doubled chunk", lambda parts: [*parts[:20], parts[19], *parts[20:]]),
        ("swapped chunks", lambda parts: [*parts[:20], parts[21], parts[20], *parts[22:]]),
        ("cut", lambda parts: parts[:-1]),
        ("cut in a chunk", lambda parts: [*parts[:30], parts[30][:-20]]),
        ("cut before the last byte", lambda parts: [*parts[:-1], parts[-1][:-1]]),
        ("ended early", lambda parts: [*parts[:40], b"0\r\n\r\n"]),
        ("no [DONE]", lambda parts: [*parts[:-1], parts[-1].replace(b"e\r\ndata: [DONE]\n\n\r\n", b"")]),
        ("no usage", lambda parts: [*parts[:-1], parts[-1].replace(b'"completion_tokens"', b'"completion_tokenz"')]),
        ("no finish reason", lambda parts: [*parts[:-1], parts[-1].replace(b'"stop"', b'"stoP"')]),
        ("nothing", lambda _parts: []),
    ],
)
async def test_an_answer_that_is_not_whole_is_a_fault(
    what: str, change: Callable[[list[bytes]], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk lost, doubled or out of order, an early or missing end: none counts as an answer."""
    body = b"".join(change(frames(Plan(64, 2), with_usage=True)))

    load = await faults_of(body, question_of("2ms-1"), monkeypatch)

    assert 0 == load.answers, what
    assert 1 == sum(load.faults.values())


async def test_a_refusal_is_asked_again_and_counted() -> None:
    """Who is turned away for now comes again; an answer after that counts."""
    refused: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        if not refused:
            refused.append(1)
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"".join(frames(Plan(1, 0), with_usage=True)))
        await writer.drain()
        writer.close()

    async with crowd_of(handle) as crowd:
        load = await crowd.ask(question_of("one-1"), 0.0)

    assert (1, 1, {}) == (load.refused, load.answers, dict(load.faults))


def test_an_answer_in_one_piece_is_checked() -> None:
    """Another text, another usage and another vector are found."""
    plan = Plan(64, 0)
    check_completion(completion(plan), plan)
    check_embedding(embedding(False))

    with pytest.raises(NotWhole):
        check_completion(completion(Plan(63, 0)), plan)
    with pytest.raises(NotWhole):
        check_completion(completion(plan).replace(b'"completion_tokens":64', b'"completion_tokens":63'), plan)
    with pytest.raises(NotWhole):
        check_embedding(re.sub(rb"\[-[\d.e-]+,", b"[", embedding(False), count=1))


def test_http_chunks_must_be_whole() -> None:
    """Chunks are put together; a wrong length or a missing end is found."""
    assert b"abcde" == dechunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    for broken in (b"", b"3\r\nabc\r\n", b"4\r\nabc\r\n0\r\n\r\n", b"x\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n"):
        with pytest.raises(NotWhole):
            dechunked(broken)


def test_streams_as_others_write_them_are_read() -> None:
    """Blanks after colons, and events that are merged, change nothing."""
    events = [f'data: {{"choices": [{{"delta": {{"content": "{Plan(2, 0).text}"}}}}]}}']
    events += ['data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}', ": still there"]
    events += ['data: {"choices": [], "usage": {"completion_tokens": 2}}', "data: [DONE]"]

    check_stream("".join(f"{event}\n\n" for event in events).encode(), Plan(2, 0))


def test_every_cell_has_a_model_with_its_plan() -> None:
    """The cells of `make bench` are known by their names, and the mock provider knows their models."""
    for name in DEFAULT_CELLS:
        cell = cell_of(name)
        model = str(cell.question.body["model"]) if cell.question else "mock-1-0"
        assert name == cell.name
        assert "embedding" in model or plan_of(model)
        assert cell.says
    with pytest.raises(ValueError, match="is no cell"):
        cell_of("20ms")
