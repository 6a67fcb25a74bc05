"""Posts to a target: nowhere else, and it lets in no more of a refusal than can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import httpx2

from llm_router.providers.http.form import RequestForm
from llm_router.providers.http.transport import WAS_KEPT, Network, PushedTransport

# So many pieces of a body can be there at once that reading them all would keep everybody else waiting.
READS_IN_A_ROW = 256
# Errors of vendors have a kilobyte; a page of a proxy that is cut says no less.
_MAX_REFUSAL_BYTES = 64 * 1024
# The status has come and decides most; its body comes with it or not at all.
_REFUSAL_SECONDS = 1.0
_REFUSAL_HEADERS = ("retry-after", "retry-after-ms")


class ProviderHttpClient:
    """Calls one target. Cookies would tie the requests of all tenants together, so there are none."""

    def __init__(self, network: Network, connect_seconds: float, authorities: str | None = None) -> None:
        """`network` is the same for all targets; `authorities` in PEM are trusted in place of all others."""
        self._transport = PushedTransport(network, authorities)
        self._extensions = {"timeout": {"connect": connect_seconds}}

    async def post(
        self, form: RequestForm, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> httpx2.Response:
        """Send `body` with more `headers`; return a good reply, to be streamed, and of any other what counts.

        An httpx2.HTTPError when no head of a reply comes. A redirect is not followed: it would take the credential
        along.
        """
        request = httpx2.Request(
            "POST", form.url, headers=[*form.headers, *headers], content=body, extensions=self._extensions
        )
        response = await self._transport.handle_async_request(request)
        if response.is_success:
            return response
        try:
            beginning = await _beginning_of(response)
        finally:
            await response.aclose()
        kept = {name: response.headers[name] for name in _REFUSAL_HEADERS if name in response.headers}
        extensions = {WAS_KEPT: response.extensions[WAS_KEPT]}
        return httpx2.Response(response.status_code, headers=kept, content=beginning, extensions=extensions)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._transport.aclose()


async def _beginning_of(response: httpx2.Response) -> bytes:
    """Return as much of a refusal's body as comes soon; nothing of one that cannot be read as it comes."""
    body = bytearray()
    if not is_plain(response):
        return b""
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MAX_REFUSAL_BYTES:
                    break
    return bytes(body[:_MAX_REFUSAL_BYTES])


def is_plain(response: httpx2.Response) -> bool:
    """Tell whether the body of a reply is not compressed: nobody asks for that here."""
    return response.headers.get("content-encoding", "").strip().lower() in {"", "identity"}
