"""What a vendor's SDK would send besides the body: asked of it once, used for every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2

# They go with a body, and each request has one of its own.
_OF_THE_BODY = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class RequestForm:
    """Where a request goes and with which headers."""

    url: httpx2.URL
    headers: tuple[tuple[bytes, bytes], ...]


class SdkForm:
    """The form of one kind of request, which the SDK is asked for when it is needed first."""

    def __init__(self, ask: Callable[[httpx2.AsyncClient], Awaitable[object]]) -> None:
        """`ask` has an SDK make the request with the HTTP client that it is given, which sends nothing."""
        self._ask = ask
        self._form: RequestForm | None = None

    async def get(self) -> RequestForm:
        """Return the form."""
        if self._form is None:
            self._form = await self._asked()
        return self._form

    async def _asked(self) -> RequestForm:
        requests: list[httpx2.Request] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            requests.append(request)
            return httpx2.Response(200, json={})

        # Compressed, a small reply may become one of any size.
        headers = {"accept-encoding": "identity"}
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(keep), headers=headers) as client:
            await self._ask(client)
        request = requests[-1]
        kept = tuple(header for header in request.headers.raw if header[0].lower() not in _OF_THE_BODY)
        return RequestForm(request.url, kept)
