"""A vendor that answers well, and one that does its worst, on OpenAI's wire; the model's name says which.

Written on bare connections, since no server library sends such things. `python -m tests.overload.provider` prints the
address first.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable
from functools import cache

import orjson

_CHUNKS, _CHUNK_CHARACTERS = 16, 4096
_MEBIBYTE = 1024 * 1024
_MODEL = re.compile(rb'"model":\s*"([^"]+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# No attack goes on for longer than a request may last.
_LONGEST_SECONDS = 40.0

Parts = AsyncIterator[bytes]


def _event(delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


_USAGE = {"prompt_tokens": 10, "completion_tokens": 16_384, "total_tokens": 16_394}
GOOD_TEXT = "water " * (_CHUNK_CHARACTERS // 6) * _CHUNKS
_GOOD = b"".join(
    (
        *[_event({"content": "water " * (_CHUNK_CHARACTERS // 6)})] * _CHUNKS,
        _event({}, "stop"),
        b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": _USAGE}) + b"\n\n",
        b"data: [DONE]\n\n",
    )
)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"


async def _good() -> Parts:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(_GOOD)
    yield _GOOD


async def _endless_error_page() -> Parts:
    yield b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n"
    while True:
        yield b"<p>down</p>" * 6000


async def _endless_event() -> Parts:
    yield _STREAM_HEAD + b"\r\ndata: "
    while True:
        yield b"x" * 65_536


async def _endless_lines() -> Parts:
    yield _STREAM_HEAD + b"\r\n"
    while True:
        yield b"data: x\n" * 8000


async def _endless_comments() -> Parts:
    yield _STREAM_HEAD + b"\r\n"
    while True:
        yield b": still there\n\n" * 4000


async def _endless_headers() -> Parts:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"x-more: " + b"y" * 8000 + b"\r\n"


async def _endless_interim_answers() -> Parts:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100


@cache
def _packed() -> bytes:
    return gzip.compress(b"data: " + b"x" * (256 * _MEBIBYTE))


async def _bomb() -> Parts:
    yield _STREAM_HEAD + b"content-encoding: gzip\r\n\r\n" + _packed()


async def _huge_fields() -> Parts:
    chunk = {"id": "i" * _MEBIBYTE, "model": "m" * _MEBIBYTE, "system_fingerprint": "f" * _MEBIBYTE, "choices": []}
    yield _STREAM_HEAD + b"\r\n"
    for _ in range(200):
        yield b"data: " + orjson.dumps(chunk) + b"\n\n"
    yield _GOOD


async def _elsewhere() -> Parts:
    yield b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.9:1/v1\r\ncontent-length: 0\r\n\r\n"


async def _deep() -> Parts:
    yield _STREAM_HEAD + b"\r\ndata: " + b"[" * 100_000 + b"]" * 100_000 + b"\n\n"


HOSTILE: dict[str, Callable[[], Parts]] = {
    "endless-error-page": _endless_error_page,
    "endless-event": _endless_event,
    "endless-lines": _endless_lines,
    "endless-comments": _endless_comments,
    "endless-headers": _endless_headers,
    "endless-interim-answers": _endless_interim_answers,
    "bomb": _bomb,
    "huge-fields": _huge_fields,
    "elsewhere": _elsewhere,
    "deep": _deep,
}
GOOD = "good"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                model = _MODEL.search(body)
                name = model[1].decode() if model else ""
                async for part in HOSTILE.get(name, _good)():
                    writer.write(part)
                    await writer.drain()
                if name in HOSTILE:
                    return
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass  # whoever has had enough of it closes the connection
    finally:
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)  # noqa: T201 - what the caller waits for
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
