"""The provider `anthropic`: its SDK opens the call, we translate the body and read the bytes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
from anthropic import AsyncAnthropic

from llm_router.errors import ProviderError, RequestRejected, TargetUnreachable
from llm_router.providers.anthropic.request import to_messages_body
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.provider import AnswerStream
from llm_router.providers.refusal import read_refusal
from llm_router.providers.transport import PacedTransport
from llm_router.routes.file import Target


class AnthropicProvider:
    """Messages at api.anthropic.com, or at whatever speaks its wire at the target's `base_url`."""

    def __init__(self, target: Target, ssl_context: ssl.SSLContext) -> None:
        """Prepare a client for `target`; it connects at the first call."""
        self._model = target.model
        self._client = AsyncAnthropic(
            api_key=target.credential,
            base_url=target.base_url,
            max_retries=0,  # retries belong to the chain, which counts them
            timeout=anthropic.Timeout(None, connect=target.timeouts.connect_seconds),
            http_client=anthropic.DefaultAsyncHttpxClient(transport=PacedTransport(ssl_context)),
        )

    @asynccontextmanager
    async def open(self, body: dict[str, Any]) -> AsyncIterator[AnswerStream]:
        """Translate and send `body`; see `Provider.open`."""
        try:
            translated = to_messages_body(body)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise RequestRejected("a message has not the shape of the OpenAI contract", param="messages") from error
        call = self._client.messages.with_streaming_response.create(
            model=self._model,
            max_tokens=translated["max_tokens"],
            messages=[],
            stream=True,
            extra_headers=_beta_header(body),
            extra_body=translated,
        )
        try:
            response = await call.__aenter__()
        except anthropic.AnthropicError as error:
            raise _read_error(error) from error
        try:
            wire = AnthropicWire(tells_own_words="anthropic" in body)
            yield AnswerStream(response.http_response, wire, response.headers.get("request-id", ""))
        finally:
            await response.close()

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.close()


def _beta_header(body: dict[str, Any]) -> dict[str, str]:
    """Pass on what a caller of Anthropic's contract wants to be understood."""
    beta = (body.get("anthropic") or {}).get("beta")
    return {"anthropic-beta": beta} if isinstance(beta, str) and beta.isascii() and beta.isprintable() else {}


def _read_error(error: anthropic.AnthropicError) -> ProviderError:
    if isinstance(error, anthropic.APIStatusError):
        return read_refusal(error.status_code, error.body, error.response.headers)
    return TargetUnreachable("the connection failed before an answer began")
