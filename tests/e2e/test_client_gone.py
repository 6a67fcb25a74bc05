"""A client that leaves: a short answer waits for it, a long one is given up and paid for as far as it came."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import pytest
import uuid_utils.compat

from fault_provider.answers import expected_text
from kit.front_door.edge_client import EdgeClient, Json, Provider
from kit.front_door.scenarios import BRIEF

GRACE_SECONDS = 2.0  # the edge's default
CONTRACTS = {
    "chat streaming": ("/chat", True),
    "chat whole": ("/chat", False),
    "completions streaming": ("/v1/chat/completions", True),
    "completions whole": ("/v1/chat/completions", False),
}
in_each_contract = pytest.mark.parametrize(("path", "is_streaming"), CONTRACTS.values(), ids=CONTRACTS.keys())


@dataclass(frozen=True)
class Visit:
    """A request whose client went away while the provider was writing."""

    request_id: str
    """The client's own."""
    path: str
    body: Json
    left_at: float
    """Unix seconds."""


async def visit_and_leave(edge: EdgeClient, provider: Provider, path: str, is_streaming: bool, model: str) -> Visit:
    """Ask, and close the connection once the provider is writing."""
    request_id = str(uuid_utils.compat.uuid7())
    query = f"I leave {request_id}"
    question: Json = {"query": query} if path == "/chat" else {"messages": [{"role": "user", "content": query}]}
    body = {**question, "model": model, "stream": is_streaming}

    async def read() -> None:
        async with edge.stream(path, body, {"x-request-id": request_id}) as response:
            async for _ in response.aiter_raw():
                pass

    reading = asyncio.create_task(read())
    async with asyncio.timeout(30):
        while not any(attempt["status"] for attempt in await provider.asked(model, query)):
            await asyncio.sleep(0.02)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait((reading,))
    return Visit(request_id, path, body, time.time())


async def ending_of(provider: Provider, visit: Visit, test: str) -> Json:
    """Return the one attempt of the visit once it is over."""
    async with asyncio.timeout(60):
        while True:
            (attempt,) = await provider.asked(test, f"I leave {visit.request_id}")
            if attempt["finish"] != "open":
                return attempt
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("bytes_at_a_time", [0, 200], ids=["nothing", "2 kB a second"])
async def test_a_client_that_stops_reading_is_gone_as_well(
    edge: EdgeClient, provider: Provider, bytes_at_a_time: int
) -> None:
    """Its connection stands and next to nothing goes out: it must not hold a stream, and a provider, for ever."""
    request_id = str(uuid_utils.compat.uuid7())
    connection = _connect(edge, receive_buffer=4096)  # or the kernel reads on in the client's place
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
    try:
        writer.write(_written(edge, request_id, {"query": f"I leave {request_id}", "model": "flood"}))
        await reader.readuntil(b"event: delta")
        reading = asyncio.create_task(_read_slowly(reader, bytes_at_a_time))
        receipt = await edge.receipt_by_client_id(request_id)
        (attempt,) = await provider.asked("flood", f"I leave {request_id}")
        reading.cancel()
        await asyncio.wait((reading,))
    finally:
        writer.transport.abort()

    assert "client_closed" == attempt["finish"]
    assert ("client_cancelled", "estimated") == (receipt["outcome"], receipt["attempts"][0]["usage_source"])


async def _read_slowly(reader: asyncio.StreamReader, bytes_at_a_time: int) -> None:
    while bytes_at_a_time and await reader.read(bytes_at_a_time):
        await asyncio.sleep(0.1)


@in_each_contract
async def test_a_client_that_has_closed_its_half_gets_its_answer(
    edge: EdgeClient, path: str, is_streaming: bool
) -> None:
    """To the last byte, and it is no client that left: its answer takes longer than one of those is waited for."""
    request_id = str(uuid_utils.compat.uuid7())
    query = f"I listen {request_id}"
    question: Json = {"query": query} if path == "/chat" else {"messages": [{"role": "user", "content": query}]}
    reader, writer = await asyncio.open_connection(sock=_connect(edge))
    try:
        writer.write(_written(edge, request_id, {**question, "model": "slow", "stream": is_streaming}, path))
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.transport.abort()
    receipt = await edge.receipt_by_client_id(request_id)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"0\r\n\r\n" if is_streaming else b"}")
    assert "ok" == receipt["outcome"]


def _connect(edge: EdgeClient, receive_buffer: int = 0) -> socket.socket:
    address = urlsplit(edge.url)
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((address.hostname, address.port))
    return connection


def _written(edge: EdgeClient, request_id: str, body: Json, path: str = "/chat") -> bytes:
    content = orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {edge.key}\r\nx-request-id: {request_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@in_each_contract
async def test_a_short_answer_comes_to_its_end_and_waits_in_the_cache(
    edge: EdgeClient, provider: Provider, path: str, is_streaming: bool
) -> None:
    """The provider finishes, its own usage is recorded, and who comes back is served for nothing."""
    visit = await visit_and_leave(edge, provider, path, is_streaming, "brief")
    ending = await ending_of(provider, visit, "brief")
    receipt = await edge.receipt_by_client_id(visit.request_id)

    assert "completed" == ending["finish"]
    assert ending["ended_at"] > visit.left_at
    (attempt,) = receipt["attempts"]
    assert ("ok", "ok", "reported") == (receipt["outcome"], attempt["outcome"], attempt["usage_source"])
    assert (12, 12) == (attempt["usage"]["input_tokens"], attempt["usage"]["output_tokens"])

    async with edge.stream(path, visit.body) as again:
        content = await again.aread()
    assert "edge; hit" == again.headers["cache-status"]
    for word in expected_text(BRIEF).split():
        assert f"{word} ".encode() in content
    assert 1 == len(await provider.asked("brief", f"I leave {visit.request_id}"))


@in_each_contract
async def test_a_long_answer_is_given_up_after_the_grace_time(
    edge: EdgeClient, provider: Provider, path: str, is_streaming: bool
) -> None:
    """The provider sees its connection close, and what it made until then is on record, long before it would end."""
    visit = await visit_and_leave(edge, provider, path, is_streaming, "lengthy")
    ending = await ending_of(provider, visit, "lengthy")
    receipt = await edge.receipt_by_client_id(visit.request_id)

    assert "client_closed" == ending["finish"]
    assert GRACE_SECONDS - 0.5 < ending["ended_at"] - visit.left_at < GRACE_SECONDS + 15
    (attempt,) = receipt["attempts"]
    assert ("client_cancelled", "client_cancelled") == (receipt["outcome"], attempt["outcome"])
    assert "estimated" == attempt["usage_source"]
    assert attempt["usage"]["input_tokens"] > 0
    assert attempt["usage"]["output_tokens"] > 0
