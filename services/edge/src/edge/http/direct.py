"""An endpoint that is called without the framework around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from edge.http.errors import Errors
from edge.problems import Problem


class DirectEndpoint:
    """ASGI application that answers as FastAPI would, without its ten layers.

    They take a tenth of the time of a short answer, and three of them pass on each piece of a stream. The endpoint of
    a contract needs none of them: it reads its body itself and depends on nothing.
    """

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]], errors: Errors) -> None:
        """`errors` writes what is answered when the endpoint raises."""
        self._endpoint = endpoint
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a crash is answered too, where nothing was, and raised for the server: it closes the connection."""
        request = Request(scope, receive, send)
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            try:
                response = await self._endpoint(request)
            except Problem as problem:
                response = await self._errors.on_problem(request, problem)
            await response(scope, receive, send_on)
        except Exception as error:
            if not has_begun:
                await (await self._errors.on_crash(request, error))(scope, receive, send)
            raise
