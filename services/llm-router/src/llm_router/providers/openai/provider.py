"""The provider `openai`: its SDK opens the call, we read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
from openai import AsyncOpenAI

from llm_router.errors import ProviderError, RequestRejected, TargetUnreachable
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.transport import Network
from llm_router.providers.openai.embedder import EmbeddingsReply
from llm_router.providers.openai.request import to_openai_body
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.provider import AnswerStream
from llm_router.providers.refusal import read_refusal
from llm_router.target import Target

_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_WHOLE: dict[str, Any] = {"stream": False}


class OpenAIProvider:
    """Chat completions at api.openai.com, or at whatever speaks its wire at the target's `base_url`."""

    def __init__(
        self,
        target: Target,
        network: Network,
        headers: Mapping[str, str | openai.Omit] | None = None,
        native_fields: frozenset[str] = frozenset(),
    ) -> None:
        """Prepare a client for `target`, with extra `headers`; it connects at the first call.

        `native_fields` are fields of the Messages API that this engine knows besides OpenAI's.
        """
        self._model = target.model
        self._vendor = target.billed_by
        self._headers = headers
        self._native_fields = native_fields
        self._client = AsyncOpenAI(
            api_key=target.credential or "none",  # the SDK requires one
            base_url=target.base_url,
            max_retries=0,  # retries belong to the chain, which counts them
            timeout=openai.Timeout(None, connect=target.timeouts.connect_seconds),
            http_client=ProviderHttpClient(network),
        )

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send an OpenAI chat body; see `Provider.open`."""
        body = to_openai_body(chat, self._native_fields)
        try:
            has_functions = not body.get("tools") or bool(body.get("functions"))
            usage = OpenAIUsage(self._vendor, self._model, body)
            wire = OpenAIWire(body.get("n") or 1, _tools(body), has_functions=has_functions, usage=usage)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise RequestRejected("the tools have not the shape of the OpenAI contract", param="tools") from error
        # The SDK walks every message it is given; through extra_body the caller's body goes out as it came.
        call = self._client.chat.completions.with_streaming_response.create(
            model=self._model,
            messages=[],
            stream=True,
            extra_headers=self._headers,
            extra_body={**body, "model": self._model, **(_WHOLE if chat.is_whole_only else _STREAMED)},
        )
        try:
            response = await call.__aenter__()
        except openai.OpenAIError as error:
            raise _read_error(error) from error
        try:
            yield AnswerStream(response.http_response, wire, response.headers.get("x-request-id", ""))
        finally:
            await response.close()

    @asynccontextmanager
    async def open_embeddings(self, body: dict[str, Any]) -> AsyncIterator[EmbeddingsReply]:
        """Send `body`; see `Embedder.open_embeddings`.

        Vectors are asked for as base64: a quarter of the bytes of decimal numbers, and no digit is lost. By name,
        because vLLM refuses a null; an engine that ignores it and sends numbers is understood too.
        """
        call = self._client.embeddings.with_streaming_response.create(
            model=self._model,
            input="",
            encoding_format="base64",
            extra_headers=self._headers,
            extra_body={**body, "model": self._model, "encoding_format": "base64"},
        )
        try:
            response = await call.__aenter__()
        except openai.OpenAIError as error:
            raise _read_error(error) from error
        try:
            yield EmbeddingsReply(response.http_response, response.headers.get("x-request-id", ""))
        finally:
            await response.close()

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.close()


def _read_error(error: openai.OpenAIError) -> ProviderError:
    if isinstance(error, openai.APIStatusError):
        return read_refusal(error.status_code, error.body, error.response.headers)
    return TargetUnreachable("the connection failed before an answer began")


def _tools(body: dict[str, Any]) -> dict[str, bool]:
    """Return the tools that the model may call by name, and whether they take arguments."""
    tools = body.get("tools")
    definitions = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    functions = [tool.get("function") or tool.get("custom") for tool in definitions]
    return {
        function["name"]: isinstance(schema := function.get("parameters"), dict) and bool(schema.get("properties"))
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }
