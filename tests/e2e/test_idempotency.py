"""`Idempotency-Key` as clients meet it who come again the moment they have an answer."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
import orjson
import pytest

from kit.front_door.edge_client import EdgeClient

Json = dict[str, Any]

ROUNDS = 25
MESSAGES = [{"role": "user", "content": "hello"}]
CONVERSATION: Json = {"model": "other", "max_tokens": 50, "messages": MESSAGES}
BODIES: dict[str, Json] = {
    "/chat": {"model": "other", "query": "hello"},
    "/v1/chat/completions": CONVERSATION,
    "/v1/messages": CONVERSATION,
    "/v1/embeddings": {"model": "vectors", "input": "hello"},
}
# With what each contract says that nothing more comes.
TERMINAL_FRAMES = {"/chat": b"event: done", "/v1/chat/completions": b"data: [DONE]", "/v1/messages": b"message_stop"}
STREAMS = [(path, True) for path in TERMINAL_FRAMES]


async def _until(edge: EdgeClient, path: str, body: Json, key: Json, end: bytes) -> tuple[bytes, httpx2.Response]:
    """Read a stream as far as `end`, send the request again while the first response is open, and read on."""
    seen = b""
    again: httpx2.Response | None = None
    async with edge.stream(path, body, key) as response:
        assert 200 == response.status_code
        async for part in response.aiter_raw():
            seen += part
            if again is None and end in seen:
                again = await edge.post(path, orjson.dumps(body), key)
    assert again is not None, seen
    return seen, again


@pytest.mark.parametrize(("path", "stream"), [*STREAMS, *((path, False) for path in BODIES)])
async def test_who_comes_again_at_the_end_of_an_answer_gets_it_again(edge: EdgeClient, path: str, stream: bool) -> None:
    """As soon as the terminal frame is there, before the connection has seen the end: every time, byte for byte."""
    for _ in range(ROUNDS):
        key = {"idempotency-key": f"again-{uuid.uuid4()}", "cache-control": "no-cache"}
        body = BODIES[path] if path == "/v1/embeddings" else {**BODIES[path], "stream": stream}
        if stream:
            seen, again = await _until(edge, path, body, key, TERMINAL_FRAMES[path])
        else:
            seen = (await edge.post(path, orjson.dumps(body), key)).content
            again = await edge.post(path, orjson.dumps(body), key)

        assert (200, "true") == (again.status_code, again.headers.get("idempotency-replayed"))
        assert seen == again.content


@pytest.mark.parametrize(
    ("path", "end"),
    [("/chat", b"event: error"), ("/v1/chat/completions", b'"error"'), ("/v1/messages", b"event: error")],
)
async def test_who_comes_again_at_the_end_of_a_broken_answer_may_try_again(
    edge: EdgeClient, path: str, end: bytes
) -> None:
    """Once the error frame is there, the key is free: nobody is told that the request still runs."""
    for _ in range(5):
        key = {"idempotency-key": f"broken-{uuid.uuid4()}"}
        _, again = await _until(edge, path, {**BODIES[path], "model": "cut-alone", "stream": True}, key, end)

        assert 409 != again.status_code
        assert "idempotency-replayed" not in again.headers
