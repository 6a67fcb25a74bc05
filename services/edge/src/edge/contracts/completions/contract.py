"""The contract of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.completions.examples import COMPLETION, STREAM
from edge.contracts.completions.frames import CompletionFrames, check_answer, whole_object
from edge.contracts.completions.request import CompletionRequest
from edge.contracts.contract import Documentation, Json
from edge.contracts.responses.request import chat_body_of, is_responses_body
from edge.contracts.validation import JsonBody, validate
from edge.conversation import Conversation
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import CHAT_ERRORS, Problem


class CompletionsContract:
    """`/v1/chat/completions`."""

    paths = ("/v1/chat/completions",)
    cache_mode: CacheMode = "deterministic"
    permission: Permission = "chat"
    documentation = Documentation(
        tag="chat",
        summary="Completions",
        description="Answer a conversation in OpenAI's contract, as a stream or whole.",
        body=CompletionRequest,
        whole=COMPLETION,
        stream=STREAM,
        errors=CHAT_ERRORS,
    )

    def read(self, path: str, body: JsonBody, _headers: Mapping[str, str]) -> Conversation:
        """Read a `CompletionRequest`; fields that it does not name pass through.

        Cursor sends bodies of the Responses API here, and reads chunks of chat (LiteLLM's documentation, "Cursor").
        """
        value = chat_body_of(body.value) if is_responses_body(body.value) else body.value
        return validate(CompletionRequest, value).to_conversation(path, value)

    def headers(self, _request_id: str) -> dict[str, str]:
        """Return none."""
        return {}

    def frames(self, exchange: Exchange) -> CompletionFrames:
        """Write `chat.completion.chunk` events."""
        return CompletionFrames(exchange)

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write a `chat.completion` object."""
        return orjson.dumps(whole_object(exchange, receipt))

    def check(self, answer: Answer) -> None:
        """Try whether its choices can be told."""
        check_answer(answer)

    def error(self, problem: Problem, _request_id: str) -> Json:
        """Write OpenAI's error object."""
        return problem.body()
