"""Step 1 of the request path: every HTTP request gets its id and its clock here."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uuid_utils.compat
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.metrics import Metrics

log = structlog.get_logger()

# A client's own id is taken when its time is about now: the ledger's rows are ordered, and kept, by that time.
_FURTHEST_CLOCK_SECONDS = 300
# Of the 74 random bits of an id; a client's own id looks like an edge's once in 16 million, and is replaced then.
_MARK_BITS = 24
# As long as an id can still be about now.
_CLAIM_SECONDS = 2 * _FURTHEST_CLOCK_SECONDS


class Arrival:
    """ASGI middleware: `scope["state"]` gets `request_id`, `accepted` and `is_own_id` (the client's own was taken).

    The response gets the header `x-request-id`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id")
        state = scope.setdefault("state", {})
        own_id = take_request_id(offered)
        state["accepted"] = time.monotonic()
        state["is_own_id"] = own_id is not None
        structlog.contextvars.clear_contextvars()
        if offered is not None:
            structlog.contextvars.bind_contextvars(client_request_id=offered[:100])
        bind_request_id(state, own_id or new_request_id())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = state["request_id"]
                self._metrics.http_responses.labels(scope["method"], message["status"]).inc()
            await send(message)

        await self._app(scope, receive, send_with_id)


def bind_request_id(state: dict[str, Any], request_id: str) -> None:
    """Give the request its id, in its state and in every log line that follows."""
    state["request_id"] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)


async def claim_request_id(request: Request, claim: Callable[[str, int], Awaitable[bool]]) -> None:
    """Keep the client's own request id unless it was used before: the ledger counts each id once.

    `claim` takes an id for some seconds and tells whether nobody has had it.
    """
    if request.state.is_own_id and not await claim(request.state.request_id, _CLAIM_SECONDS):
        bind_request_id(request.scope["state"], new_request_id())


def new_request_id() -> str:
    """Return a new UUIDv7 that every edge knows for its own: its last bits follow from the others."""
    number = uuid_utils.compat.uuid7().int >> _MARK_BITS
    return str(uuid.UUID(int=number << _MARK_BITS | _mark(number)))


def _mark(number: int) -> int:
    return int.from_bytes(hashlib.blake2b(number.to_bytes(16), digest_size=_MARK_BITS // 8).digest())


def take_request_id(offered: str | None) -> str | None:
    """Return the client's id when it is a UUIDv7 of about now; None when it is anything else.

    None as well for an id that an edge has minted: a client that sends back what it got has used it already.
    """
    if offered is None:
        return None
    try:
        known = uuid.UUID(offered)
    except ValueError:
        return None
    seconds = (known.int >> 80) / 1000
    if known.int & ((1 << _MARK_BITS) - 1) == _mark(known.int >> _MARK_BITS):
        return None
    if known.version != 7 or abs(time.time() - seconds) > _FURTHEST_CLOCK_SECONDS:
        return None
    return str(known)
