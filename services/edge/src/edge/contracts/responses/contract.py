"""The contract of OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.contract import Documentation, Json
from edge.contracts.responses.examples import EVENTS, RESPONSE, STREAM
from edge.contracts.responses.frames import ResponseFrames, check_answer, whole_object
from edge.contracts.responses.request import ResponsesRequest
from edge.contracts.validation import JsonBody, validate
from edge.conversation import Conversation
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import CHAT_ERRORS, Problem


class ResponsesContract:
    """`/v1/responses`."""

    paths = ("/v1/responses",)
    cache_mode: CacheMode = "deterministic"
    permission: Permission = "chat"
    documentation = Documentation(
        tag="chat",
        summary="Responses",
        description="Answer a conversation in the contract of OpenAI's Responses API, as a stream or whole.",
        body=ResponsesRequest,
        whole=RESPONSE,
        stream=STREAM,
        errors=(*CHAT_ERRORS, "previous_response_not_found", "responses_unavailable"),
        events=EVENTS,
    )

    def read(self, path: str, body: JsonBody, _headers: Mapping[str, str]) -> Conversation:
        """Read a `ResponsesRequest`."""
        return validate(ResponsesRequest, body.value).to_conversation(path, body.value)

    def headers(self, _request_id: str) -> dict[str, str]:
        """Return none."""
        return {}

    def frames(self, exchange: Exchange) -> ResponseFrames:
        """Write the events of a response."""
        return ResponseFrames(exchange)

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write a `response` object."""
        return orjson.dumps(whole_object(exchange, receipt.ending, is_kept=receipt.is_kept))

    def check(self, answer: Answer) -> None:
        """Try whether its output items can be told."""
        check_answer(answer)

    def error(self, problem: Problem, _request_id: str) -> Json:
        """Write OpenAI's error object."""
        return problem.body()
