"""Step 1 of the request path: every HTTP request gets its id, its clock and its error handling here."""

from __future__ import annotations

import time
import uuid

import structlog
import uuid_utils.compat
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.metrics import Metrics

log = structlog.get_logger()

# A client's own id is taken when its time is about now: the ledger's rows are ordered, and kept, by that time.
_FURTHEST_CLOCK_SECONDS = 300.0


class Arrival:
    """ASGI middleware: `scope["state"]` gets `request_id` and `accepted`; the response gets `x-request-id`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id")
        request_id = take_request_id(offered)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["accepted"] = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if offered is not None and offered != request_id:
            structlog.contextvars.bind_contextvars(client_request_id=offered[:100])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                self._metrics.http_responses.labels(scope["method"], message["status"]).inc()
            await send(message)

        await self._app(scope, receive, send_with_id)


def take_request_id(offered: str | None) -> str:
    """Return the client's id when it is a UUIDv7 of about now, else a new one: the ledger counts by it."""
    if offered is not None:
        try:
            known = uuid.UUID(offered)
        except ValueError:
            known = None
        if known is not None and known.version == 7:
            seconds = (known.int >> 80) / 1000
            if abs(time.time() - seconds) <= _FURTHEST_CLOCK_SECONDS:
                return str(known)
    return str(uuid_utils.compat.uuid7())
