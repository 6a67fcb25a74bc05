"""Request bodies: read up to a limit."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from edge.problems import Problem

# Python converts no longer number.
_MAX_DIGITS = 20


async def read_bytes(request: Request, limit_bytes: int, hold: Callable[[int], None]) -> bytes:
    """Read the body; Problem when it is longer than `limit_bytes`, or compressed.

    `hold` is told of every byte before it is kept, of a declared length at once; it may raise.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        # A few bytes could become gigabytes; no client of these contracts compresses what it asks.
        raise Problem("invalid_request", "send the body as it is, without a content-encoding")
    declared = request.headers.get("content-length", "")
    held = int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= _MAX_DIGITS else 0
    if held > limit_bytes or len(declared) > _MAX_DIGITS:
        raise _too_large(limit_bytes)
    hold(held)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if size > held:
                hold(size - held)
                held = size
    except ClientDisconnect as error:
        raise Problem("invalid_request", "the connection closed before the body was complete") from error
    return b"".join(chunks)


def _too_large(limit_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is longer than {limit_bytes} bytes")
