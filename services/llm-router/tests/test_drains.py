"""Servers behind one address that shut down, one after the other: neither the client nor the breaker learns of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from kit.router.hostile import DONE, HostileProvider, HostileRouter, chunk, running_hostile_router
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

GOOD = chunk("good") + chunk(None, "stop") + DONE
HEAD = b"HTTP/1.1 %b\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
# What a server says on a connection that it still has while it shuts down; it closes it without a word.
FAREWELLS = {
    "500": HEAD % (b"500 Internal Server Error", 0),
    "503": HEAD % (b"503 Service Unavailable", 0),
    "reset": b"",
}


def one_answer_each(farewell: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Serve as many servers behind one address: each answers once and then shuts down."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            reply = HEAD % (b"200 OK", len(GOOD)) + GOOD
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].partition(b":")[2]))
                if not reply:
                    break
                writer.write(reply)
                await writer.drain()
                reply = farewell
        writer.close()

    return serve


@asynccontextmanager
async def pool(farewell: bytes) -> AsyncIterator[str]:
    """Yield the address of such servers."""
    server = await asyncio.start_server(one_answer_each(farewell), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    folder: Path = tmp_path_factory.mktemp("drains")
    async with AsyncExitStack() as stack:
        addresses = {name: await stack.enter_async_context(pool(farewell)) for name, farewell in FAREWELLS.items()}
        provider = await stack.enter_async_context(HostileProvider().serving())
        yield await stack.enter_async_context(
            running_hostile_router(
                folder,
                provider,
                {name: [f"vllm:{name}"] for name in FAREWELLS},
                target_options={f"vllm:{name}": {"base_url": url} for name, url in addresses.items()},
            )
        )


@pytest.mark.parametrize("farewell", FAREWELLS)
async def test_a_server_that_shuts_down_fails_nobody(router: HostileRouter, farewell: str) -> None:
    """Each request but the first finds its connection's server gone, and the next one answers at once.

    What was tried is recorded and costs nothing; the breaker stays closed.
    """
    outcomes = []
    for _ in range(12):
        stream = await router.complete(farewell, {"messages": []})
        assert ["good"] == stream.texts
        outcomes.append([attempt.error_code for attempt in stream.attempts])
        assert [False, True] == [attempt.HasField("usage") for attempt in stream.attempts][-2:] or len(outcomes) == 1
        assert routerpb.OUTCOME_OK == stream.attempts[-1].outcome

    assert [[""], *[["connection_stale", ""]] * 11] == outcomes
    assert 0 == await router.metric(f'llm_router_breaker_open{{target="vllm:{farewell}"}}')
    opened = f'llm_router_breaker_openings_total{{reason="failure_ratio",target="vllm:{farewell}"}}'
    assert 0 == await router.metric(opened)
