"""Request bodies: read up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from edge.http.inflate import STEP_BYTES, inflation_of
from edge.problems import Problem

# Python converts no longer number.
_MAX_DIGITS = 20


async def read_bytes(request: Request, limit_bytes: int, hold: Callable[[int], None]) -> bytes:
    """Read the body, unpacked where it comes compressed; Problem when either is longer than `limit_bytes`.

    `hold` is told of every byte before it is kept, of a declared length at once; it may raise.
    """
    inflation = inflation_of(",".join(request.headers.getlist("content-encoding")))
    declared = request.headers.get("content-length", "")
    held = int(declared) if declared.isascii() and declared.isdigit() and len(declared) <= _MAX_DIGITS else 0
    if held > limit_bytes or len(declared) > _MAX_DIGITS:
        raise _too_large(limit_bytes)
    hold(held)
    pieces: list[bytes] = []
    came = size = 0
    try:
        async for chunk in request.stream():
            came += len(chunk)
            if came > limit_bytes:
                raise _too_large(limit_bytes)
            for piece in (chunk,) if inflation is None else inflation.take(chunk):
                size += len(piece)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                if size > held:
                    hold(size - held)
                    held = size
                pieces.append(piece)
                if len(piece) == STEP_BYTES:
                    await asyncio.sleep(0)  # others have waited for it to be unpacked
    except ClientDisconnect as error:
        raise Problem("invalid_request", "the connection closed before the body was complete") from error
    if inflation is not None:
        inflation.end()
    return b"".join(pieces)


def _too_large(limit_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is longer than {limit_bytes} bytes")
