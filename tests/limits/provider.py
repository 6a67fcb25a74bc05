"""A vendor that answers every question in a few words at once, on OpenAI's wire.

`python -m tests.limits.provider` prints its address first. Each answer has `INPUT_TOKENS` and `OUTPUT_TOKENS`.
"""

from __future__ import annotations

import asyncio
import re

import orjson

INPUT_TOKENS, OUTPUT_TOKENS = 10, 140
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def _event(choices: list[object], **more: object) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}
_BODY = b"".join(
    (
        _event([{"index": 0, "delta": {"content": "yes"}, "finish_reason": None}]),
        _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        _event([], usage=_USAGE),
        b"data: [DONE]\n\n",
    )
)
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(_ANSWER)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass  # the router has closed the connection
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
