"""The chat endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from edge.cache.cache import read_cache_control
from edge.contracts.chat.frames import ChatAnswers, ChatFrames, ChatRequest
from edge.contracts.completions.frames import CompletionAnswers, CompletionFrames, CompletionRequest
from edge.contracts.messages.frames import ERROR_HEADER, MESSAGES_PATH, MessagesAnswers, MessagesFrames, MessagesRequest
from edge.conversation import Conversation
from edge.events.cost_event import RequestFacts
from edge.exchange.exchange import Exchange, Parts
from edge.guard.guard import Guard
from edge.guard.keys import Identity
from edge.http.body import parse_json, read_body, read_json, validate
from edge.http.openapi import CHAT, COMPLETIONS, MESSAGES
from edge.http.responses import Frames, StreamResponse, WholeAnswers, WholeResponse
from edge.problems import Problem
from edge.settings import Settings
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

_CACHE_STATUS_HEADER = {
    ledgerpb.CACHE_STATUS_HIT: "edge; hit",
    ledgerpb.CACHE_STATUS_MISS: "edge; fwd=miss",
    ledgerpb.CACHE_STATUS_BYPASS: "edge; fwd=bypass",
}


@dataclass(frozen=True, slots=True)
class ChatEndpoints:
    """The three contracts, over the same exchanges."""

    settings: Settings
    guard: Guard
    parts: Parts

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["chat"])
        for path in ("/chat", "/v1/chat"):
            router.add_api_route(path, self.chat, methods=["POST"], **CHAT, operation_id=f"chat{path.count('/')}")
        router.add_api_route("/v1/chat/completions", self.completions, methods=["POST"], **COMPLETIONS)
        router.add_api_route(MESSAGES_PATH, self.messages, methods=["POST"], **MESSAGES)
        return router

    async def chat(self, request: Request) -> Response:
        """Answer a question: as a stream of named events with a receipt at the end, or as one JSON object."""
        identity = self.guard.identify(request.headers.get("authorization"))
        body = validate(ChatRequest, await read_json(request, self.settings.max_body_bytes))
        conversation = body.to_conversation(request.url.path, self.settings.default_model)
        exchange, headers = await self._admit(request, identity, conversation)
        if body.stream:
            return self._stream(exchange, ChatFrames(exchange), headers)
        return self._whole(exchange, ChatAnswers(exchange), headers)

    async def completions(self, request: Request) -> Response:
        """Answer a conversation in OpenAI's contract, as a stream or whole."""
        identity = self.guard.identify(request.headers.get("authorization"))
        raw = await read_json(request, self.settings.max_body_bytes)
        conversation = validate(CompletionRequest, raw).to_conversation(request.url.path, raw)
        exchange, headers = await self._admit(request, identity, conversation)
        if conversation.is_streaming:
            return self._stream(exchange, CompletionFrames(exchange), headers)
        return self._whole(exchange, CompletionAnswers(exchange), headers)

    async def messages(self, request: Request) -> Response:
        """Answer a conversation in the contract of Anthropic's Messages API, as a stream or whole."""
        identity = self.guard.identify(request.headers.get("authorization"), request.headers.get("x-api-key"))
        encoded = await read_body(request, self.settings.max_body_bytes)
        raw, beta = parse_json(encoded), request.headers.get("anthropic-beta", "")
        conversation = validate(MessagesRequest, raw).to_conversation(request.url.path, raw, encoded, beta)
        exchange, headers = await self._admit(request, identity, conversation)
        headers[ERROR_HEADER] = exchange.facts.request_id
        frames = MessagesFrames(exchange)
        if conversation.is_streaming:
            return self._stream(exchange, frames, headers, frames.error_body)
        return self._whole(exchange, MessagesAnswers(exchange), headers, frames.error_body)

    async def _admit(
        self, request: Request, identity: Identity, conversation: Conversation
    ) -> tuple[Exchange, dict[str, str]]:
        """Steps 2 and 3; return the exchange, which has to be run now, and the headers of its response."""
        await self.guard.admit(conversation)
        guarded = time.monotonic()
        state = request.state
        facts = RequestFacts(
            request_id=state.request_id,
            client_request_id=state.client_request_id,
            tenant=identity.tenant,
            user=identity.user,
            key_id=identity.key_id,
            tier=identity.tier,
            endpoint=conversation.endpoint,
            requested_model=conversation.requested_model,
            is_streaming=conversation.is_streaming,
            accepted=state.accepted,
        )
        policy = read_cache_control(",".join(request.headers.getlist("cache-control")))
        exchange = Exchange(self.parts, facts, identity, conversation, policy)
        await exchange.admit()
        timing = f"guard;dur={(guarded - state.accepted) * 1e3:.2f}, cache;dur={(time.monotonic() - guarded) * 1e3:.2f}"
        return exchange, {
            "x-request-id": facts.request_id,
            "cache-status": _CACHE_STATUS_HEADER[exchange.cache_status],
            "server-timing": timing,
        }

    def _stream(
        self,
        exchange: Exchange,
        frames: Frames,
        headers: dict[str, str],
        error_body: Callable[[Problem], Any] = Problem.body,
    ) -> Response:
        return StreamResponse(
            exchange,
            frames,
            headers,
            keepalive_seconds=self.settings.keepalive_seconds,
            status_hold_seconds=self.settings.status_hold_seconds,
            client_gone_grace_seconds=self.settings.client_gone_grace_seconds,
            ends=self.parts.metrics.stream_ends,
            error_body=error_body,
        )

    def _whole(
        self,
        exchange: Exchange,
        answers: WholeAnswers,
        headers: dict[str, str],
        error_body: Callable[[Problem], Any] = Problem.body,
    ) -> Response:
        grace = self.settings.client_gone_grace_seconds
        return WholeResponse(exchange, answers, headers, client_gone_grace_seconds=grace, error_body=error_body)
