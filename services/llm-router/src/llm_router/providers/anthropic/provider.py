"""The provider `anthropic`: its SDK says how to ask, we write the body and read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from anthropic import AsyncAnthropic

from llm_router.errors import RequestRejected
from llm_router.providers.anthropic.request import to_messages_body, without_unsigned_thoughts
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import SdkForm
from llm_router.providers.http.transport import Network
from llm_router.providers.posted import posted
from llm_router.providers.provider import AnswerStream
from llm_router.target import Target


class AnthropicProvider:
    """Messages at api.anthropic.com, or at whatever speaks its wire at the target's `base_url`."""

    def __init__(self, target: Target, network: Network) -> None:
        """Prepare a client for `target`; it connects at the first call."""
        self._target = target
        self._client = ProviderHttpClient(network, target.timeouts.connect_seconds)
        self._form = SdkForm(self._ask)

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send the native form of `chat` as it came, or else its translation; see `Provider.open`."""
        body = _body_of(chat)
        # A model and a stream of the caller's are not what this target is asked for.
        fields = {**body, "model": self._target.model, "stream": True}
        async with posted(self._client, self._form, fields, _beta_header(chat)) as response:
            wire = AnthropicWire(keeps_events=chat.messages_form is not None, usage=AnthropicUsage(body))
            yield AnswerStream(response, wire, response.headers.get("request-id", ""))

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def _ask(self, http_client: httpx2.AsyncClient) -> None:
        sdk = AsyncAnthropic(
            api_key=self._target.credential,
            base_url=self._target.base_url,
            max_retries=0,
            http_client=http_client,
        )
        await sdk.messages.with_raw_response.create(model=self._target.model, max_tokens=1, messages=[], stream=True)


def _body_of(chat: ChatBody) -> Json:
    if chat.messages_form is not None:
        return without_unsigned_thoughts(chat.messages_form.body)
    try:
        return to_messages_body(chat.openai)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RequestRejected("a message has not the shape of the OpenAI contract", param="messages") from error


def _beta_header(chat: ChatBody) -> list[tuple[bytes, bytes]]:
    """Return the header that enables new fields of a native body."""
    beta = chat.messages_form.beta if chat.messages_form is not None else ""
    return [(b"anthropic-beta", beta.encode("ascii"))] if beta and beta.isascii() and beta.isprintable() else []
