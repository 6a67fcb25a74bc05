"""The contract of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.contract import Documentation, Json
from edge.contracts.messages.examples import ERROR_SCHEMA, EVENTS, MESSAGE, STREAM
from edge.contracts.messages.frames import MessagesFrames, MessagesRequest, check_answer, error_object, whole_object
from edge.contracts.validation import JsonBody, validate
from edge.conversation import Conversation
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import CHAT_ERRORS, Problem


class MessagesContract:
    """`/v1/messages`, and the shape of errors below it."""

    paths = ("/v1/messages",)
    cache_mode: CacheMode = "deterministic"
    permission: Permission = "chat"
    documentation = Documentation(
        tag="chat",
        summary="Messages",
        description="Answer a conversation in the contract of Anthropic's Messages API, as a stream or whole.",
        body=MessagesRequest,
        whole=MESSAGE,
        stream=STREAM,
        errors=CHAT_ERRORS,
        events=EVENTS,
        error_schema_name="AnthropicError",
        error_schema=ERROR_SCHEMA,
    )

    def read(self, path: str, body: JsonBody, headers: Mapping[str, str]) -> Conversation:
        """Read a `MessagesRequest`; the headers `anthropic-beta` and `anthropic-version` belong to it."""
        request = validate(MessagesRequest, body.value)
        beta, version = (headers.get(name, "") for name in ("anthropic-beta", "anthropic-version"))
        return request.to_conversation(path, body.value, body.raw, beta=beta, version=version)

    def headers(self, request_id: str) -> dict[str, str]:
        """Return the id where Anthropic's clients look for it."""
        return {"request-id": request_id}

    def frames(self, exchange: Exchange) -> MessagesFrames:
        """Write the events of a message."""
        return MessagesFrames(exchange)

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write a `message` object."""
        return orjson.dumps(whole_object(exchange, receipt))

    def check(self, answer: Answer) -> None:
        """Try whether its content blocks can be told."""
        check_answer(answer)

    def error(self, problem: Problem, request_id: str) -> Json:
        """Write an `error` object."""
        return error_object(problem, request_id)
