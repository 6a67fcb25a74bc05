"""The contract of `/chat`: one question, an answer as named events with a receipt at the end."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.chat.examples import EVENTS, STREAM, WHOLE
from edge.contracts.chat.frames import ChatFrames, check_answer, whole_object
from edge.contracts.chat.request import ChatRequest
from edge.contracts.contract import Documentation, Json
from edge.contracts.validation import JsonBody, validate
from edge.conversation import Conversation
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import CHAT_ERRORS, Problem


class ChatContract:
    """`/chat`."""

    paths = ("/chat", "/v1/chat")
    cache_mode: CacheMode = "always"
    permission: Permission = "chat"
    documentation = Documentation(
        tag="chat",
        summary="Chat",
        description="Answer a question: as a stream of named events with a receipt at the end, or as one JSON object.",
        body=ChatRequest,
        whole=WHOLE,
        stream=STREAM,
        errors=CHAT_ERRORS,
        events=EVENTS,
    )

    def read(self, path: str, body: JsonBody, _headers: Mapping[str, str]) -> Conversation:
        """Read a `ChatRequest`."""
        return validate(ChatRequest, body.value).to_conversation(path)

    def headers(self, _request_id: str) -> dict[str, str]:
        """Return none."""
        return {}

    def frames(self, exchange: Exchange) -> ChatFrames:
        """Write named events."""
        return ChatFrames(exchange)

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write the answer and its receipt."""
        return orjson.dumps(whole_object(exchange, receipt))

    def check(self, answer: Answer) -> None:
        """Try whether its texts and its tool calls can be told."""
        check_answer(answer)

    def error(self, problem: Problem, _request_id: str) -> Json:
        """Write OpenAI's error object."""
        return problem.body()
