"""What a provider is asked is what its SDK would ask, with our body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from llm_router.errors import ContextTooLong, ProviderError, ProviderRateLimited, RequestRejected
from llm_router.providers.catalogue import create_provider
from llm_router.providers.chat_body import ChatBody, MessagesForm
from llm_router.providers.http.transport import Network
from llm_router.providers.openai.provider import OpenAIProvider
from llm_router.target import Target

pytestmark = pytest.mark.integration

CHAT = {"model": "theirs", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
# A raw response, no compression and other timeouts are what we want of the SDK, and the body is another one. The
# version of Anthropic's contract is the client's, or one that takes a temperature: test_messages_form.py.
OURS = {
    "anthropic-version",
    "content-length",
    "accept-encoding",
    "x-stainless-raw-response",
    "x-stainless-read-timeout",
    "x-stainless-timeout",
}


@dataclass
class Vendor:
    """Refuses everything and keeps what it was asked."""

    url: str = ""
    status: bytes = b"429 Too Many Requests"
    extra: bytes = b""
    body: bytes = b'{"error": {"message": "slow down", "type": "rate_limit_error"}}'
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append((line, headers, body))
                reply = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
                writer.write(reply % (self.status, len(self.body), self.extra, self.body))
        writer.close()

    def told(self, number: int) -> tuple[str, dict[str, str]]:
        """Return a request's line and the headers that both send."""
        line, headers, _ = self.requests[number]
        return line, {name: value for name, value in headers.items() if name not in OURS}


@asynccontextmanager
async def a_vendor() -> AsyncIterator[Vendor]:
    """Serve on a free port."""
    vendor = Vendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield vendor
    finally:
        server.close()


async def ask_openai(url: str) -> None:
    """As the SDK does."""
    async with AsyncOpenAI(api_key="sk-test", base_url=url, max_retries=0) as client:
        await client.chat.completions.create(model="ours", messages=[], stream=True)


async def ask_openai_for_vectors(url: str) -> None:
    """As the SDK does."""
    async with AsyncOpenAI(api_key="sk-test", base_url=url, max_retries=0) as client:
        await client.embeddings.create(model="ours", input="hi")


async def ask_anthropic(url: str) -> None:
    """As the SDK does."""
    async with AsyncAnthropic(api_key="sk-test", base_url=url, max_retries=0) as client:
        await client.messages.create(model="ours", max_tokens=5, messages=[], stream=True)


async def refused(provider: str, url: str, chat: ChatBody, credential: str | None = "sk-test") -> ProviderError:
    """Ask as the router does; return what came of it."""
    target = Target(name="t", provider=provider, model="ours", base_url=url, credential=credential)
    client = create_provider(target, Network(0.01))
    with pytest.raises(ProviderError) as error:
        async with client.open(chat):
            pass
    await client.close()
    return error.value


@pytest.mark.parametrize(("provider", "ask"), [("openai", ask_openai), ("anthropic", ask_anthropic)])
async def test_address_and_headers_are_those_of_the_sdk(provider: str, ask: Callable[[str], Awaitable[None]]) -> None:
    """Its own version, its credential, its language: also those that a newer SDK will have."""
    async with a_vendor() as vendor:
        with pytest.raises(Exception, match="slow down"):
            await ask(vendor.url)
        error = await refused(provider, vendor.url, ChatBody(CHAT))

        assert vendor.told(0) == vendor.told(1)
    assert isinstance(error, ProviderRateLimited)
    sent = orjson.loads(vendor.requests[1][2])
    assert ("ours", True) == (sent["model"], sent["stream"])
    assert "identity" == vendor.requests[1][1]["accept-encoding"]


async def test_vectors_are_asked_for_as_the_sdk_does() -> None:
    """At their own address."""
    async with a_vendor() as vendor:
        with pytest.raises(Exception, match="slow down"):
            await ask_openai_for_vectors(vendor.url)
        provider = OpenAIProvider(
            Target(name="t", provider="openai", model="ours", base_url=vendor.url, credential="sk-test"), Network(0.01)
        )
        with pytest.raises(ProviderRateLimited):
            async with provider.open_embeddings({"input": "hi"}):
                pass
        await provider.close()

        assert vendor.told(0) == vendor.told(1)


async def test_the_sdk_is_asked_once_and_each_request_has_its_own_body() -> None:
    """And nothing of one request is in the next."""
    async with a_vendor() as vendor:
        target = Target(name="t", provider="anthropic", model="ours", base_url=vendor.url, credential="sk-test")
        provider = create_provider(target, Network(0.01))
        for beta in ("a-1", "", "b-2"):
            form = MessagesForm({**CHAT, "max_tokens": 7, "metadata": {"user_id": beta}}, beta)
            with pytest.raises(ProviderRateLimited):
                async with provider.open(ChatBody(CHAT, form)):
                    pass
        await provider.close()

    assert ["a-1", None, "b-2"] == [headers.get("anthropic-beta") for _, headers, _ in vendor.requests]
    assert ["a-1", "", "b-2"] == [orjson.loads(body)["metadata"]["user_id"] for _, _, body in vendor.requests]
    assert all(len(body) == int(headers["content-length"]) for _, headers, body in vendor.requests)


async def test_an_engine_without_a_key_is_shown_none() -> None:
    """And one with a key its own."""
    async with a_vendor() as vendor:
        await refused("vllm", vendor.url, ChatBody(CHAT), credential=None)
        await refused("vllm", vendor.url, ChatBody(CHAT), credential="own")

    assert [None, "Bearer own"] == [headers.get("authorization") for _, headers, _ in vendor.requests]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"message": "maximum context length", "code": 400}}', ContextTooLong),
        (b'[{"error": {"message": "maximum context length"}}]', ContextTooLong),
        (b'{"message": "maximum context length"}', ContextTooLong),
        (b'{"error": {"message": "\\ud800 maximum context length", "n": NaN}}', ContextTooLong),
        (b"<html>", RequestRejected),
        (b"", RequestRejected),
        (b'{"error": ' + b"[" * 5000, RequestRejected),
        (b"\xff\xfe", RequestRejected),
    ],
)
async def test_a_refusal_in_any_shape_is_a_refusal(body: bytes, kind: type[ProviderError]) -> None:
    """Its words count where there are some."""
    async with a_vendor() as vendor:
        vendor.status, vendor.body = b"400 Bad Request", body
        error = await refused("openai", vendor.url, ChatBody(CHAT))

    assert kind is type(error)
    assert 400 == error.http_status


async def test_a_redirect_is_not_followed() -> None:
    """It would take the credential along."""
    async with a_vendor() as other, a_vendor() as vendor:
        vendor.status = b"307 Temporary Redirect"
        vendor.extra = b"Location: %b/chat/completions\r\n" % other.url.encode()
        error = await refused("openai", vendor.url, ChatBody(CHAT))

    assert (307, 0) == (error.http_status, len(other.requests))


async def test_a_body_that_cannot_be_written_is_refused() -> None:
    """Nothing is sent."""
    deep: object = "x"
    for _ in range(300):
        deep = [deep]
    async with a_vendor() as vendor:
        error = await refused("openai", vendor.url, ChatBody({**CHAT, "metadata": deep}))

    assert isinstance(error, RequestRejected)
    assert [] == vendor.requests
