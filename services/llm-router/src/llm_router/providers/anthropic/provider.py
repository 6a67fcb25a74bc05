"""The provider `anthropic`: its SDK opens the call, we write the body and read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
from anthropic import AsyncAnthropic

from llm_router.errors import ProviderError, RequestRejected, TargetUnreachable
from llm_router.providers.anthropic.request import to_messages_body, without_unsigned_thoughts
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.transport import Network
from llm_router.providers.provider import AnswerStream
from llm_router.providers.refusal import read_refusal
from llm_router.target import Target


class AnthropicProvider:
    """Messages at api.anthropic.com, or at whatever speaks its wire at the target's `base_url`."""

    def __init__(self, target: Target, network: Network) -> None:
        """Prepare a client for `target`; it connects at the first call."""
        self._model = target.model
        self._client = AsyncAnthropic(
            api_key=target.credential,
            base_url=target.base_url,
            max_retries=0,  # retries belong to the chain, which counts them
            timeout=anthropic.Timeout(None, connect=target.timeouts.connect_seconds),
            http_client=ProviderHttpClient(network),
        )

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send the native form of `chat` as it came, or else its translation; see `Provider.open`."""
        body = _body_of(chat)
        # The SDK walks every message it is given; through extra_body, which wins over the arguments, they go out as
        # they came. So do a model and a stream of the caller's, unless they are set here.
        call = self._client.messages.with_streaming_response.create(
            model=self._model,
            max_tokens=0,
            messages=[],
            stream=True,
            extra_headers=_beta_header(chat),
            extra_body={**body, "model": self._model, "stream": True},
        )
        try:
            response = await call.__aenter__()
        except anthropic.AnthropicError as error:
            raise _read_error(error) from error
        try:
            wire = AnthropicWire(keeps_events=chat.messages_form is not None, usage=AnthropicUsage(body))
            yield AnswerStream(response.http_response, wire, response.headers.get("request-id", ""))
        finally:
            await response.close()

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.close()


def _body_of(chat: ChatBody) -> Json:
    if chat.messages_form is not None:
        return without_unsigned_thoughts(chat.messages_form.body)
    try:
        return to_messages_body(chat.openai)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RequestRejected("a message has not the shape of the OpenAI contract", param="messages") from error


def _beta_header(chat: ChatBody) -> dict[str, str]:
    """Return the header that enables new fields of a native body."""
    beta = chat.messages_form.beta if chat.messages_form is not None else ""
    return {"anthropic-beta": beta} if beta and beta.isascii() and beta.isprintable() else {}


def _read_error(error: anthropic.AnthropicError) -> ProviderError:
    if isinstance(error, anthropic.APIStatusError):
        return read_refusal(error.status_code, error.body, error.response.headers)
    return TargetUnreachable("the connection failed before an answer began")
