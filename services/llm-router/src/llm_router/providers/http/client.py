"""The HTTP client below the SDKs. It goes nowhere but to its target, and lets in no more of a refusal than can be used.

The SDKs read the whole body of a refusal, whatever its size and encoding, and would follow a redirect with the
credential. So they get what is left of it here: the status, the headers that count, and the beginning of the body.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx2

from llm_router.providers.http.transport import Network, PushedTransport

# So many pieces of a body can be there at once that reading them all would keep everybody else waiting.
READS_IN_A_ROW = 256
# Errors of vendors have a kilobyte; a page of a proxy that is cut says no less.
_MAX_REFUSAL_BYTES = 64 * 1024
# The status has come and decides most; its body comes with it or not at all.
_REFUSAL_SECONDS = 1.0
_REFUSAL_HEADERS = ("retry-after", "retry-after-ms")


class _NoCookies(httpx2.Cookies):
    """Keeps nothing: cookies would tie the requests of all tenants together, and there is no end of them."""

    def extract_cookies(self, response: httpx2.Response) -> None:
        pass


class ProviderHttpClient(httpx2.AsyncClient):
    """Calls one target."""

    def __init__(self, network: Network) -> None:
        """`network` is the same for all targets."""
        super().__init__(
            transport=PushedTransport(network),
            follow_redirects=False,
            # Compressed, a small reply may become one of any size.
            headers={"accept-encoding": "identity"},
        )
        self._cookies = _NoCookies()

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Return a good reply as it is, to be streamed, and of any other what counts."""
        response = await super().send(request, stream=True, **{**options, "follow_redirects": False})
        if response.is_success:
            return response
        try:
            body = await _beginning_of(response)
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _REFUSAL_HEADERS if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


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
