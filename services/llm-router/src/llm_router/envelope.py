"""Opens the envelopes that the edge sends: a message of router.proto becomes what the chain needs to know."""

from __future__ import annotations

from typing import Any

import grpc
import orjson

from llm_router.chain.attempts import Limits
from llm_router.chain.chain import ChatRequest
from llm_router.chain.embed import EmbedRequest
from llm_router.failures import CompletionFailed
from llm_router.providers.chat_body import ChatBody, Json, MessagesForm
from llm_router.routes.file import Route
from llm_router.strategies.continuation import may_be_continued
from pricing.estimate import estimate_input_tokens, estimate_prompt_tokens
from spillway.router.v1 import router_pb2 as routerpb

# Of names and ids, which are logged.
_MAX_NAME_CHARACTERS = 1000
_MAX_HEADER_CHARACTERS = 1000
_MAX_SECRET_BYTES = 64
_MAX_TOKENS = 10**10
# As many as OpenAI's contract allows.
_MAX_CHOICES = 128
# A body with no more lists and objects than this is not nested more deeply than JSON can be written again.
_ANY_LEVELS = 250


def held_bytes(message: routerpb.StreamCompletionRequest | routerpb.EmbedRequest) -> int:
    """Return how long the bodies of a message are; `ByteSize` would write the whole message to know it."""
    if isinstance(message, routerpb.EmbedRequest) or not message.HasField("messages_form"):
        return len(message.body)
    return len(message.body) + len(message.messages_form.body)


def check_chat_message(message: routerpb.StreamCompletionRequest) -> None:
    """CompletionFailed when a field beside the bodies makes no sense."""
    _check_common(message)
    if message.continuation not in routerpb.Continuation.values():
        raise _bad_message("continuation is none of those that there are")
    if len(message.stop_secret) > _MAX_SECRET_BYTES:
        raise _bad_message(f"stop_secret has more than {_MAX_SECRET_BYTES} bytes")
    for name in ("beta", "version"):
        if len(getattr(message.messages_form, name)) > _MAX_HEADER_CHARACTERS:
            raise _bad_message(f"{name} has more than {_MAX_HEADER_CHARACTERS} characters")


def check_embed_message(message: routerpb.EmbedRequest) -> None:
    """CompletionFailed when a field beside the body makes no sense."""
    _check_common(message)


def _check_common(message: routerpb.StreamCompletionRequest | routerpb.EmbedRequest) -> None:
    for name in ("request_id", "tenant", "user"):
        if len(getattr(message, name)) > _MAX_NAME_CHARACTERS:
            raise _bad_message(f"{name} has more than {_MAX_NAME_CHARACTERS} characters")
    if not 0 <= message.estimated_input_tokens <= _MAX_TOKENS:
        raise _bad_message("estimated_input_tokens is no count of tokens")


def read_chat_request(message: routerpb.StreamCompletionRequest, route: Route, limits: Limits) -> ChatRequest:
    """Return the request for an answer; CompletionFailed when a body in it is no chat body."""
    form = _read_messages_form(message.messages_form) if message.HasField("messages_form") else None
    chat = ChatBody(_read_chat_body(message.body), form)
    choices = chat.openai.get("n")
    if choices is not None and (type(choices) is not int or not 1 <= choices <= _MAX_CHOICES):
        raise _bad_body(f"n is no number from 1 to {_MAX_CHOICES}", "n")
    wants_continuation = message.continuation == routerpb.CONTINUATION_ALLOW
    if message.continuation == routerpb.CONTINUATION_UNSPECIFIED:
        wants_continuation = route.may_continue
    return ChatRequest(
        route=route,
        chat=chat,
        input_tokens=message.estimated_input_tokens or estimate_prompt_tokens(chat.openai),
        limits=limits,
        may_continue=wants_continuation and may_be_continued(chat),
    )


def read_embed_request(message: routerpb.EmbedRequest, route: Route, limits: Limits) -> EmbedRequest:
    """Return the request for vectors; CompletionFailed when its body is no embeddings body."""
    body = _parse(message.body, "input")
    return EmbedRequest(
        route=route,
        body=body,
        inputs=_count_inputs(body.get("input")),
        input_tokens=message.estimated_input_tokens or estimate_input_tokens(body["input"]),
        limits=limits,
    )


def _read_messages_form(form: routerpb.MessagesForm) -> MessagesForm:
    body = _read_chat_body(form.body)
    if type(body.get("max_tokens")) is not int:
        raise _bad_body("the native form has no limit", "max_tokens")
    return MessagesForm(body, form.beta, tuple(form.untranslatable), form.version, tuple(form.dropped))


def _read_chat_body(encoded: bytes) -> Json:
    body = _parse(encoded, "messages")
    if not isinstance(body.get("messages"), list):
        raise _bad_body("the body is no chat body: it has no list of messages", "messages")
    return body


def _count_inputs(given: Any) -> int:
    if isinstance(given, str) or _are_tokens(given):
        return 1
    if isinstance(given, list) and given and all(isinstance(each, str) or _are_tokens(each) for each in given):
        return len(given)
    raise _bad_body("the input is neither text, nor tokens, nor a list of either", "input")


def _are_tokens(given: object) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def _parse(encoded: bytes, param: str) -> Json:
    try:
        body = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise _bad_body("the body is not JSON", param) from error
    if not isinstance(body, dict):
        raise _bad_body("the body is not a JSON object", param)
    if encoded.count(b"[") + encoded.count(b"{") > _ANY_LEVELS:
        try:
            orjson.dumps(body)
        except TypeError as error:
            raise _bad_body("the body is nested too deeply", param) from error
    return body


def _bad_message(message: str) -> CompletionFailed:
    detail = routerpb.CompletionError(code="invalid_request", message=message)
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)


def _bad_body(message: str, param: str) -> CompletionFailed:
    detail = routerpb.CompletionError(code="invalid_request", message=message, param=param)
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)
