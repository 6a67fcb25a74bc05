"""The provider `openai`: its SDK says how to ask, we write the body and read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

import httpx2
import structlog
from openai import AsyncOpenAI, Omit

from llm_router.errors import ModelMissing, RequestRejected, TargetUnable
from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import SdkForm
from llm_router.providers.http.transport import Network
from llm_router.providers.openai.dialect import DISPENSABLE, Dialect
from llm_router.providers.openai.embedder import EmbeddingsReply
from llm_router.providers.openai.request import callers_name, to_openai_body, without_marks
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.posted import posted
from llm_router.providers.provider import AnswerStream
from llm_router.providers.tool_names import ToolNames
from llm_router.target import Target
from llm_router.vendors import PROVIDERS

log = structlog.get_logger()


class OpenAIProvider:
    """Chat completions at whatever speaks OpenAI's wire: at the target's `base_url`, or at its vendor's."""

    def __init__(self, target: Target, network: Network) -> None:
        """Prepare a client for `target`; it connects at the first call."""
        vendor = target.billed_by
        self._target = target
        self._native_fields = vendor.native_fields
        self._refuses_marks = vendor.refuses_marks and target.is_of_known_vendor
        self._dialect = Dialect.of(vendor)
        """By its vendor's row, and by what the server has refused since this target is in force."""
        self._client = ProviderHttpClient(network, target.timeouts.connect_seconds, target.authorities)
        self._chat_form = SdkForm(self._ask_for_chat)
        self._embeddings_form = SdkForm(self._ask_for_embeddings)

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send an OpenAI chat body; see `Provider.open`."""
        target, names, dropped = self._target, ToolNames(), Dropped()
        try:
            body = to_openai_body(chat, self._native_fields, names, dropped)
            if self._refuses_marks:
                body = without_marks(body, dropped)
            has_functions = not body.get("tools") or bool(body.get("functions"))
            usage = OpenAIUsage(target.billed_by, target.model, self._dialect.without_unsaid(body))
            wire = OpenAIWire(body.get("n") or 1, _tools(body), has_functions=has_functions, usage=usage, names=names)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise RequestRejected("the tools have not the shape of the OpenAI contract", param="tools") from error
        fields = {**body, "model": target.model, "stream": not chat.is_whole_only}
        async with self._understood(self._chat_form, lambda dialect: dialect.to_chat(fields)) as (response, sent):
            unsaid = [name for name in fields if name in DISPENSABLE and name not in sent]
            dropped.add_all(callers_name(name, chat) for name in unsaid)
            yield AnswerStream(response, wire, response.headers.get("x-request-id", ""), dropped.names)

    @asynccontextmanager
    async def open_embeddings(self, body: Json) -> AsyncIterator[EmbeddingsReply]:
        """Send `body`; see `Embedder.open_embeddings`."""
        fields = {**body, "model": self._target.model}
        async with AsyncExitStack() as stack:
            asking = self._understood(self._embeddings_form, lambda dialect: dialect.to_embeddings(fields))
            try:
                response, _ = await stack.enter_async_context(asking)
            except RequestRejected as error:
                if not _has_no_address(error):
                    raise
                message = f"it has no embeddings: it answered {error.http_status} for their address"
                raise TargetUnable(message, http_status=error.http_status, param="model") from None
            yield EmbeddingsReply(response, response.headers.get("x-request-id", ""))

    @asynccontextmanager
    async def _understood(
        self, form: SdkForm, write: Callable[[Dialect], Json]
    ) -> AsyncIterator[tuple[httpx2.Response, Json]]:
        """Send what `write` makes of a request in the server's dialect, and enter with it; see `posted`.

        A server that does not know a field that is ours, or that changes no answer, is asked again at once without it.
        That is no failure and no attempt of its own: nothing was done, and nothing is billed. It is remembered only
        when it has helped, as the words of a refusal may be somebody's prompt; that it refuses a value is not.
        """
        dialect, unknown, refused = self._dialect, set[str](), list[Json]()
        async with AsyncExitStack() as stack:
            while True:
                body = write(dialect)
                try:
                    response = await stack.enter_async_context(posted(self._client, form, body))
                    break
                except TargetUnable as refusal:
                    refused.append(body)
                    unknown.update(refusal.unknown_fields)
                    dialect = dialect.without(refusal.unknown_fields or DISPENSABLE & {refusal.param}, body)
                    if write(dialect) in refused:
                        raise
            if unknown:
                # Of what it is now: others have learned meanwhile.
                self._dialect = self._dialect.without(unknown, refused[0])
                log.info("dialect_learned", target=self._target.name, **asdict(self._dialect))
            yield response, body

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    def _sdk(self, http_client: httpx2.AsyncClient) -> AsyncOpenAI:
        return AsyncOpenAI(
            api_key=self._target.credential or "none",  # the SDK requires one
            base_url=self._target.base_url or PROVIDERS[self._target.provider].base_url,
            max_retries=0,
            http_client=http_client,
        )

    @property
    def _headers(self) -> dict[str, str | Omit]:
        """What goes with a request besides what the SDK sends by itself, which is the credential as Bearer."""
        target = self._target
        if target.sends_credential_as == "bearer":
            return {}
        headers: dict[str, str | Omit] = {"Authorization": Omit()}
        if target.sends_credential_as == "api-key" and target.credential is not None:
            headers["api-key"] = target.credential
        return headers

    async def _ask_for_chat(self, http_client: httpx2.AsyncClient) -> None:
        await self._sdk(http_client).chat.completions.with_raw_response.create(
            model=self._target.model, messages=[], stream=True, extra_headers=self._headers
        )

    async def _ask_for_embeddings(self, http_client: httpx2.AsyncClient) -> None:
        await self._sdk(http_client).embeddings.with_raw_response.create(
            model=self._target.model, input="", encoding_format="base64", extra_headers=self._headers
        )


def _has_no_address(error: RequestRejected) -> bool:
    """Tell whether a server has nothing at an address: 404 that speaks of no model, or 405."""
    return error.http_status == 405 or (isinstance(error, ModelMissing) and not error.names_model)


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
