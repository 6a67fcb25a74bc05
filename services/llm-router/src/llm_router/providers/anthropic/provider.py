"""The provider `anthropic`: its SDK says how to ask, we write the body and read the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
from anthropic import AsyncAnthropic, Omit

from llm_router.errors import RequestRejected, TargetUnable
from llm_router.providers.anthropic.dispensable import DISPENSABLE, has_field, without_fields
from llm_router.providers.anthropic.native import native_body
from llm_router.providers.anthropic.request import MessagesRequest, to_messages_request
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import SdkForm
from llm_router.providers.http.transport import Network
from llm_router.providers.posted import posted
from llm_router.providers.provider import AnswerStream
from llm_router.providers.tool_names import ToolNames
from llm_router.target import Target

# The SDK's own is the newest one, whose models take no temperature. This one takes it, and is what is asked where the
# client says nothing. Claude API docs, Versions.
VERSION = "2023-06-01"

_Headers = Sequence[tuple[bytes, bytes]]


class AnthropicProvider:
    """Messages at api.anthropic.com, or at whatever speaks its wire at the target's `base_url`."""

    def __init__(self, target: Target, network: Network) -> None:
        """Prepare a client for `target`; it connects at the first call."""
        self._target = target
        self._client = ProviderHttpClient(network, target.timeouts.connect_seconds, target.authorities)
        self._form = SdkForm(self._ask)
        self._unsaid: frozenset[str] = frozenset()  # fields that the model has refused

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Send the native form of `chat` as it came, or else its translation; see `Provider.open`."""
        dropped = Dropped()
        asked = request_for(chat, dropped)
        # A model and a stream of the caller's are not what this target is asked for.
        fields = {**asked.body, "model": self._target.model, "stream": True}
        send = self._sent if chat.messages_form is not None else self._understood
        async with send(fields, headers_of(chat), dropped) as response:
            usage = AnthropicUsage(asked.body)
            wire = AnthropicWire(
                keeps_events=chat.messages_form is not None,
                usage=usage,
                names=asked.names,
                custom_tools=asked.custom_tools,
            )
            yield AnswerStream(response, wire, response.headers.get("request-id", ""), dropped.names)

    @asynccontextmanager
    async def _sent(self, body: Json, headers: _Headers, _dropped: Dropped) -> AsyncIterator[httpx2.Response]:
        async with posted(self._client, self._form, body, headers) as response:
            yield response

    @asynccontextmanager
    async def _understood(self, body: Json, headers: _Headers, dropped: Dropped) -> AsyncIterator[httpx2.Response]:
        """Send a translation without the fields that the model refuses and that change no answer; see `posted`.

        Models differ in whether they take a temperature, an effort or a budget to think, and their callers have chosen
        none of Anthropic's. It is asked again at once, and what has helped is remembered.
        """
        unsaid = self._unsaid
        async with AsyncExitStack() as stack:
            while True:
                try:
                    sending = posted(self._client, self._form, without_fields(body, unsaid), headers)
                    response = await stack.enter_async_context(sending)
                    break
                except TargetUnable as refusal:
                    named = {*refusal.unknown_fields, refusal.param.partition(".")[0]}
                    refused = named & DISPENSABLE.keys() - unsaid
                    if not refused:
                        raise
                    unsaid |= refused
            self._unsaid |= unsaid  # others have learned meanwhile
            dropped.add_all(DISPENSABLE[name] for name in sorted(unsaid) if has_field(body, name))
            yield response

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
        unset = {"anthropic-version": Omit()}  # each request has its own
        await sdk.messages.with_raw_response.create(
            model=self._target.model, max_tokens=1, messages=[], stream=True, extra_headers=unset
        )


def request_for(chat: ChatBody, dropped: Dropped) -> MessagesRequest:
    """Return what a target on this wire is asked; `dropped` gets what is left out. ProviderError when it cannot be."""
    if chat.messages_form is not None:
        return MessagesRequest(native_body(chat.messages_form.body, dropped), ToolNames(), frozenset())
    try:
        return to_messages_request(chat.openai, dropped)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RequestRejected("a message has not the shape of the OpenAI contract", param="messages") from error


def headers_of(chat: ChatBody) -> list[tuple[bytes, bytes]]:
    """Return the version of the contract that the client has named, else ours, and the betas that it has named."""
    form = chat.messages_form
    version = form.version if form is not None and _can_be_header(form.version) else VERSION
    headers = [(b"anthropic-version", version.encode())]
    if form is not None and _can_be_header(form.beta):
        headers.append((b"anthropic-beta", form.beta.encode()))
    return headers


def _can_be_header(value: str) -> bool:
    return bool(value.strip()) and value.isascii() and value.isprintable()
