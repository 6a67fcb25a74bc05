"""What the router asks of a provider that has embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

import httpx2

from llm_router.errors import StreamBroken
from llm_router.providers.events import MAX_NAME_CHARACTERS
from llm_router.providers.http.client import READS_IN_A_ROW, is_plain


class EmbeddingsReply:
    """The reply to a request for vectors, coming in over HTTP."""

    def __init__(self, response: httpx2.Response, provider_request_id: str) -> None:
        """StreamBroken when the reply is compressed, which nobody has asked for."""
        if not is_plain(response):
            raise StreamBroken("the reply is compressed although it was asked for as it is", http_status=200)
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self._reads = 0
        self.http_status = response.status_code
        self.provider_request_id = provider_request_id[:MAX_NAME_CHARACTERS]

    async def read(self) -> bytes | None:
        """Wait for the next bytes of the body; None when it is over. StreamBroken when the connection breaks."""
        self._reads += 1
        if self._reads % READS_IN_A_ROW == 0:
            await asyncio.sleep(0)
        try:
            return await anext(self._chunks, None)
        except httpx2.HTTPError as error:
            raise StreamBroken("the connection broke") from error


@runtime_checkable
class Embedder(Protocol):
    """A provider that turns inputs into vectors; Anthropic's API has none."""

    def open_embeddings(self, body: dict[str, Any]) -> AbstractAsyncContextManager[EmbeddingsReply]:
        """Send `body`, an OpenAI embeddings body, and enter once the headers of a good reply are there.

        Entering raises ProviderError. Leaving closes the connection unless the reply was read to its end.
        """
