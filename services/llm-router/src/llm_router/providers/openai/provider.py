"""The provider `openai`: its SDK says how to ask, we write the body and read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI

from llm_router.errors import RequestRejected
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import SdkForm
from llm_router.providers.http.transport import Network
from llm_router.providers.openai.embedder import EmbeddingsReply
from llm_router.providers.openai.request import to_openai_body
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.posted import posted
from llm_router.providers.provider import AnswerStream
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
        self._target = target
        self._headers = headers
        self._native_fields = native_fields
        self._client = ProviderHttpClient(network, target.timeouts.connect_seconds)
        self._chat_form = SdkForm(self._ask_for_chat)
        self._embeddings_form = SdkForm(self._ask_for_embeddings)

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send an OpenAI chat body; see `Provider.open`."""
        target, body = self._target, to_openai_body(chat, self._native_fields)
        try:
            has_functions = not body.get("tools") or bool(body.get("functions"))
            usage = OpenAIUsage(target.billed_by, target.model, body)
            wire = OpenAIWire(body.get("n") or 1, _tools(body), has_functions=has_functions, usage=usage)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise RequestRejected("the tools have not the shape of the OpenAI contract", param="tools") from error
        fields = {**body, "model": target.model, **(_WHOLE if chat.is_whole_only else _STREAMED)}
        async with posted(self._client, self._chat_form, fields) as response:
            yield AnswerStream(response, wire, response.headers.get("x-request-id", ""))

    @asynccontextmanager
    async def open_embeddings(self, body: dict[str, Any]) -> AsyncIterator[EmbeddingsReply]:
        """Send `body`; see `Embedder.open_embeddings`.

        Vectors are asked for as base64: a quarter of the bytes of decimal numbers, and no digit is lost. By name,
        because vLLM refuses a null; an engine that ignores it and sends numbers is understood too.
        """
        fields = {**body, "model": self._target.model, "encoding_format": "base64"}
        async with posted(self._client, self._embeddings_form, fields) as response:
            yield EmbeddingsReply(response, response.headers.get("x-request-id", ""))

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    def _sdk(self, http_client: httpx2.AsyncClient) -> AsyncOpenAI:
        return AsyncOpenAI(
            api_key=self._target.credential or "none",  # the SDK requires one
            base_url=self._target.base_url,
            max_retries=0,
            http_client=http_client,
        )

    async def _ask_for_chat(self, http_client: httpx2.AsyncClient) -> None:
        await self._sdk(http_client).chat.completions.with_raw_response.create(
            model=self._target.model, messages=[], stream=True, extra_headers=self._headers
        )

    async def _ask_for_embeddings(self, http_client: httpx2.AsyncClient) -> None:
        await self._sdk(http_client).embeddings.with_raw_response.create(
            model=self._target.model, input="", encoding_format="base64", extra_headers=self._headers
        )


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
