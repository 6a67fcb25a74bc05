"""Request bodies: read up to a limit, and parsed."""

from __future__ import annotations

import orjson
from starlette.requests import ClientDisconnect, Request

from edge.contracts.validation import JsonBody
from edge.problems import Problem


async def read_json(request: Request, limit_bytes: int) -> JsonBody:
    """Read the body as JSON; Problem when it is longer than `limit_bytes` or not JSON."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
    except ClientDisconnect as error:
        raise Problem("invalid_request", "the connection closed before the body was complete") from error
    raw = bytes(body)
    try:
        return JsonBody(raw, orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise Problem(
            "invalid_json", f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error


def _too_large(limit_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is longer than {limit_bytes} bytes")
