"""Step 1 of the request path: every HTTP request gets its id and its clock here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.metrics import Metrics
from edge.request_id import client_request_id, new_request_id
from servicekit.tracing import Steps, bind_trace


class Accept:
    """ASGI middleware: `scope["state"]` gets `request_id`, `client_request_id` (empty: none came), `accepted`, `steps`.

    `accepted` is when the first bytes came, if the server knows it (`arrived`). And `until_end`: an `ExitStack` for
    what a request holds until it has been answered.

    The response gets the headers `x-request-id` and, when the client sent an id of its own, `x-client-request-id`; and
    those in `headers`, as text, which it does not have.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ours, theirs = new_request_id(), _client_request_id(scope)
        until_end = ExitStack()
        state = scope.setdefault("state", {})
        state.update(
            request_id=ours,
            client_request_id=theirs,
            accepted=state.get("arrived") or time.monotonic(),
            steps=Steps(),
            until_end=until_end,
        )
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=ours, **({"client_request_id": theirs} if theirs else {}))
        _bind_trace(Headers(scope=scope))

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_ids(_with_others(message.get("headers", ()), state), ours, theirs)
                self._metrics.http_responses.labels(scope["method"], message["status"]).inc()
            await send(message)

        with until_end:
            await self._app(scope, receive, send_with_ids)


def _client_request_id(scope: Scope) -> str:
    offered = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return client_request_id(offered.decode(errors="replace"))


def _bind_trace(headers: Headers) -> None:
    traceparent = headers.get("traceparent")
    bind_trace(traceparent, ",".join(headers.getlist("tracestate")) if traceparent else "")


def _with_others(headers: Iterable[tuple[bytes, bytes]], state: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response with those that every answer to this request has."""
    own = list(headers)
    names = {name for name, _ in own}
    others = ((name.encode("latin-1"), value.encode("latin-1")) for name, value in state.get("headers", {}).items())
    return own + [each for each in others if each[0] not in names or each[0] == b"vary"]


def _with_ids(headers: Iterable[tuple[bytes, bytes]], ours: str, theirs: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response with its ids; a client's own holds no control character."""
    kept = [(name, value) for name, value in headers if name != b"x-request-id"]
    return [*kept, (b"x-request-id", ours.encode()), *([(b"x-client-request-id", theirs.encode())] if theirs else ())]
