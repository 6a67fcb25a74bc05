"""Requests of clients in every contract, and their way on: through the router's envelope to each provider's wire."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.types import Message, Scope

from edge.cache.exact import ExactCache
from edge.cache.policy import MODE_HEADER, read_cache_control, read_wish
from edge.contracts.chat.contract import ChatContract
from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.contract import Contract
from edge.contracts.embeddings.contract import EmbeddingsContract
from edge.contracts.messages.contract import MessagesContract
from edge.contracts.reading import read_content
from edge.contracts.responses.contract import ResponsesContract
from edge.conversation import Content, Conversation, EmbeddingInput
from edge.guard.identify import Identify
from edge.guard.keys import KeyEntry, KeyRing
from edge.http.body import read_bytes
from edge.problems import Problem
from edge.request_id import client_request_id
from llm_router.chain.attempts import Limits
from llm_router.envelope import check_chat_message, check_embed_message, read_chat_request, read_embed_request
from llm_router.errors import ProviderError
from llm_router.failures import CompletionFailed
from llm_router.providers.anthropic.provider import request_for
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.dropped import Dropped
from llm_router.providers.openai.provider import _tools
from llm_router.providers.openai.request import to_openai_body
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.tool_names import ToolNames
from llm_router.routes.file import Route
from llm_router.strategies.continuation import continuation_of
from llm_router.target import Target as RouterTarget
from servicekit.tracing import parse_trace_context
from spillway.router.v1 import router_pb2 as routerpb

from ..mutation import in_bytes, in_json, in_message
from ..target import Target, finish

_LIMIT_BYTES = 1024 * 1024
_NATIVE_FIELDS = frozenset({"top_k"})
_TARGET = RouterTarget(name="t", provider="vllm", model="m", base_url="http://h")
_KEY = b"sk-spillway-fuzz-secret"
_SALT = "00" * 16
_ENTRY = KeyEntry(
    key_id="fuzz",
    tenant="tenant",
    user="owner",
    tier="tier",
    salt=_SALT,
    sha256=hashlib.sha256(bytes.fromhex(_SALT) + b"secret").hexdigest(),
)
_IDENTIFY = Identify(KeyRing([_ENTRY]))
_ROUTE = Route(name="default", ranks=((_TARGET,),))
_LIMITS = Limits(attempt_budget=1, deadline=0.0)


def _request(body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    return Request(scope, receive)


def _checker(contract: Contract) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        """A body becomes content or a Problem; content can be sent, read by the router and turned into any wire."""
        try:
            content = read_content(contract, contract.paths[0], data, {"anthropic-beta": "fuzz-2024"})
        except Problem as problem:
            orjson.dumps(problem.body())
            orjson.dumps(contract.error(problem, "id"))
            return
        _check_content(content)

    return check


def _check_content(content: Content) -> None:
    assert 0 <= content.estimated_input_tokens < math.inf
    assert 0 <= content.longest.tokens <= content.estimated_input_tokens
    assert isinstance(content.estimated_input_tokens, int)
    ExactCache(ChatContract().check).question(
        "tenant", content.requested_model or "default", content, read_cache_control(None)
    )
    assert isinstance(orjson.loads(content.encoded_body), dict)
    if isinstance(content, EmbeddingInput):
        check_embed_request(_embed_message(content))
    else:
        check_completion_request(_completion_message(content))


def _embed_message(content: EmbeddingInput) -> bytes:
    return routerpb.EmbedRequest(route=content.requested_model or "", body=content.encoded_body).SerializeToString()


def _completion_message(content: Conversation) -> bytes:
    message = routerpb.StreamCompletionRequest(route=content.requested_model or "", body=content.encoded_body)
    form = content.messages_form
    if form is not None:
        native = routerpb.MessagesForm(body=form.body, beta=form.beta, untranslatable=form.untranslatable)
        message.messages_form.CopyFrom(native)
    return message.SerializeToString()


def check_completion_request(data: bytes) -> None:
    """A message becomes a request for each provider, or an error for its sender."""
    try:
        message = routerpb.StreamCompletionRequest.FromString(data)
    except DecodeError:
        return  # gRPC answers before we see it
    try:
        check_chat_message(message)
        request = read_chat_request(message, _ROUTE, _LIMITS)
    except CompletionFailed as failure:
        failure.detail.SerializeToString()
        return
    assert 0 <= request.input_tokens < math.inf
    chats = [request.chat]
    if request.may_continue:
        chats.append(continuation_of(request.chat, "what was delivered"))
    for chat in chats:
        try:
            body = to_openai_body(chat, _NATIVE_FIELDS, ToolNames(), Dropped())
            OpenAIWire(body.get("n") or 1, _tools(body), usage=OpenAIUsage(_TARGET.billed_by, "m", body))
            _check_sendable(body)
        except ProviderError:
            pass
        try:
            body = request_for(chat, Dropped()).body
            AnthropicUsage(body)
            _check_sendable(body)
        except ProviderError:
            pass


def check_embed_request(data: bytes) -> None:
    """A message becomes a request for vectors, or an error for its sender."""
    try:
        message = routerpb.EmbedRequest.FromString(data)
    except DecodeError:
        return
    try:
        check_embed_message(message)
        request = read_embed_request(message, _ROUTE, _LIMITS)
    except CompletionFailed as failure:
        failure.detail.SerializeToString()
        return
    assert request.inputs > 0
    assert 0 <= request.input_tokens < math.inf
    _check_sendable(request.body)


def _check_sendable(body: dict[str, Any]) -> None:
    """Write a body as the SDKs do."""
    json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def check_headers(data: bytes) -> None:
    """Headers of strangers become an owner of a key or a 401; all others are read, or ignored."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in lines]
    request = _request(b"{}", headers)
    try:
        identity = finish(_IDENTIFY.identify(request))
    except Problem as problem:
        orjson.dumps(problem.body())
    else:
        assert "owner" == identity.user
        assert _KEY in data
    with suppress(Problem):
        read_wish(request.headers.getlist("cache-control"), request.headers.getlist(MODE_HEADER), "always")
    trace = parse_trace_context(request.headers.get("traceparent", ""), request.headers.get("tracestate", ""))
    if trace is not None:
        (trace.traceparent + trace.tracestate).encode("ascii")
    identifier = client_request_id(request.headers.get("x-request-id", ""))
    assert len(identifier) <= 200
    assert identifier.isprintable()
    with suppress(Problem):
        finish(read_bytes(request, _LIMIT_BYTES, hold=lambda _: None))
    form = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    content = read_content(MessagesContract(), "/v1/messages", orjson.dumps(form), request.headers)
    assert isinstance(content, Conversation)
    check_completion_request(_completion_message(content))


TARGETS = [
    Target("chat_request", _checker(ChatContract()), in_json),
    Target("completions_request", _checker(CompletionsContract()), in_json),
    Target("responses_request", _checker(ResponsesContract()), in_json),
    Target("messages_request", _checker(MessagesContract()), in_json),
    Target("embeddings_request", _checker(EmbeddingsContract()), in_json),
    Target(
        "grpc_completion",
        check_completion_request,
        in_message(routerpb.StreamCompletionRequest, "body", "messages_form.body"),
    ),
    Target("grpc_embed", check_embed_request, in_message(routerpb.EmbedRequest, "body")),
    Target("headers", check_headers, in_bytes),
]
