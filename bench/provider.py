"""A mock provider that costs little: a fixed number of chunks, a fixed time apart, on OpenAI's wire.

The model's name is the plan, `mock-CHUNKS-MILLISECONDS`. All streams of one interval share a timer, and each keeps
the phase in which it began, as independent streams do. `GET /counts` returns what was answered so far.
`python -m bench.provider` prints its address first.
"""

from __future__ import annotations

import asyncio
import base64
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from bench.wire import EMBEDDING_MODEL, EMBEDDING_SIZE, Plan, piece, plan_of

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_PHASE_SECONDS = 0.001
_PROMPT_TOKENS = 12
_BACKLOG = 2048


class Wheel:
    """The timer of all streams of one interval: those of one phase are written to in the same turn of the loop."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._loop = asyncio.get_running_loop()
        self._phases: dict[int, tuple[float, list[Callable[[], bool]]]] = {}
        """By phase: when it is due next, and what is called then until it returns false."""
        self._count = max(round(interval_seconds / _PHASE_SECONDS), 1)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def add(self, step: Callable[[], bool]) -> None:
        """Call `step` after each interval from now on, to a millisecond, until it returns false."""
        now = self._loop.time()
        phase = int(now / _PHASE_SECONDS) % self._count
        if phase in self._phases:
            self._phases[phase][1].append(step)
        else:
            self._phases[phase] = (now + self._interval, [step])
            self._set_timer(now + self._interval)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            if due >= self._timer_due:
                return
            self._timer.cancel()
        self._timer, self._timer_due = self._loop.call_at(due, self._tick), due

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for phase, (due, steps) in list(self._phases.items()):
            if due > now:
                continue
            staying = [step for step in steps if step()]
            if staying:
                # Who is late by more than an interval does not catch up: a burst is no steady stream.
                self._phases[phase] = (max(due + self._interval, now), staying)
            else:
                del self._phases[phase]
        if self._phases:
            self._set_timer(min(due for due, _ in self._phases.values()))


class Provider:
    """What its connections share."""

    def __init__(self) -> None:
        self.counts = {"asked": 0, "whole": 0, "chunks": 0}
        self._wheels: dict[int, Wheel] = {}

    def wheel(self, interval_ms: int) -> Wheel:
        """Return the timer of this interval."""
        wheel = self._wheels.get(interval_ms)
        if wheel is None:
            wheel = self._wheels[interval_ms] = Wheel(interval_ms / 1000)
        return wheel


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._is_busy = False
        self._frames: list[bytes] = []
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what runs."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer each whole request; one that comes while another runs waits for it."""
        self._buffer += data
        self._answer_next()

    def _answer_next(self) -> None:
        while not self._is_busy and (end := self._buffer.find(b"\r\n\r\n") + 4) >= 4:
            head = self._buffer[:end]
            found = _LENGTH.search(head)
            whole = end + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end:whole], self._buffer[whole:]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/counts":
            self._write_json(orjson.dumps(self._provider.counts))
            return
        request = orjson.loads(body)
        self._provider.counts["asked"] += 1
        if path == b"/v1/embeddings" and request.get("model") == EMBEDDING_MODEL:
            self._provider.counts["whole"] += 1
            self._write_json(embedding(request.get("encoding_format") == "base64"))
            return
        plan = plan_of(str(request.get("model")))
        if path != b"/v1/chat/completions" or plan is None:
            self._write_json(b'{"error":{"message":"unknown","type":"invalid_request_error"}}', b"404 Not Found")
        elif request.get("stream"):
            self._begin_stream(plan, bool((request.get("stream_options") or {}).get("include_usage")))
        else:
            self._provider.counts["whole"] += 1
            self._provider.counts["chunks"] += plan.chunks
            self._write_json(completion(plan))

    def _begin_stream(self, plan: Plan, with_usage: bool) -> None:
        self._frames, self._next, self._is_busy = frames(plan, with_usage), 0, True
        if self._step(_STREAM_HEAD):
            self._provider.wheel(plan.interval_ms).add(self._step)

    def _step(self, before: bytes = b"") -> bool:
        """Write the next frame; return whether there are more."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(before + self._frames[self._next])
        self._provider.counts["chunks"] += 1
        self._next += 1
        if self._next < len(self._frames):
            return True
        self._provider.counts["whole"] += 1
        self._is_busy = False
        if self._buffer:
            self._answer_next()
        return False

    def _write_json(self, body: bytes, status: bytes = b"200 OK") -> None:
        if self._transport is not None:
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n"
            self._transport.write(head % (status, len(body)) + b"\r\n" + body)


@cache
def frames(plan: Plan, with_usage: bool) -> list[bytes]:
    """Return what is written at each moment, one chunk of content in each: the first has the role before it, the last
    finish reason, usage and end behind it."""
    written = [_event(plan, {"content": piece(number)}, None, with_usage) for number in range(plan.chunks)]
    written[0] = _event(plan, {"role": "assistant", "content": "", "refusal": None}, None, with_usage) + written[0]
    written[-1] += _event(plan, {}, "stop", with_usage)
    if with_usage:
        written[-1] += _chunked({**_chunk(plan), "choices": [], "usage": _usage(plan)})
    written[-1] += b"e\r\ndata: [DONE]\n\n\r\n" + _END
    return written


def _event(plan: Plan, delta: dict[str, Any], finish: str | None, with_usage: bool) -> bytes:
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return _chunked({**_chunk(plan), "choices": choices, **({"usage": None} if with_usage else {})})


def _chunk(plan: Plan) -> dict[str, Any]:
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": plan.model,
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }


def _usage(plan: Plan) -> dict[str, int]:
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "completion_tokens": plan.chunks,
        "total_tokens": _PROMPT_TOKENS + plan.chunks,
    }


def _chunked(document: dict[str, Any]) -> bytes:
    event = b"data: " + orjson.dumps(document) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


@cache
def completion(plan: Plan) -> bytes:
    """Return an answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": plan.text, "refusal": None, "annotations": []}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    return orjson.dumps({**_chunk(plan), "object": "chat.completion", "choices": choices, "usage": _usage(plan)})


@cache
def embedding(is_base64: bool) -> bytes:
    """Return the vector of one input."""
    numbers = [(number % 200 - 100) / 4096 for number in range(EMBEDDING_SIZE)]
    packed = base64.b64encode(struct.pack(f"<{EMBEDDING_SIZE}f", *numbers)).decode()
    entry = {"object": "embedding", "index": 0, "embedding": packed if is_base64 else numbers}
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return orjson.dumps({"object": "list", "data": [entry], "model": EMBEDDING_MODEL, "usage": usage})


async def serve(provider: Provider) -> asyncio.Server:
    """Listen on a free port of this machine."""
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(provider), "127.0.0.1", 0, backlog=_BACKLOG
    )


async def _main() -> None:
    server = await serve(Provider())
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)  # noqa: T201 - what the caller waits for
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
