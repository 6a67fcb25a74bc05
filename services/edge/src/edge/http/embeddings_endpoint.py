"""The embeddings endpoint."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from edge.contracts.embeddings.request import EmbeddingRequest, write_answer
from edge.events.cost_event import RequestFacts
from edge.exchange.embeddings import BYPASS_REASON, EmbeddingExchange
from edge.exchange.exchange import Parts
from edge.guard.guard import Guard
from edge.http.body import read_json, validate
from edge.http.openapi import EMBEDDINGS
from edge.http.responses import json_response
from edge.problems import Problem
from edge.settings import Settings


@dataclass(frozen=True, slots=True)
class EmbeddingEndpoints:
    """OpenAI's contract."""

    settings: Settings
    guard: Guard
    parts: Parts

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["embeddings"])
        router.add_api_route("/v1/embeddings", self.embeddings, methods=["POST"], **EMBEDDINGS)
        return router

    async def embeddings(self, request: Request) -> Response:
        """Turn texts, or their tokens, into vectors, in OpenAI's contract."""
        identity = self.guard.identify(request.headers.get("authorization"))
        raw = await read_json(request, self.settings.max_body_bytes)
        wish = validate(EmbeddingRequest, raw).to_wish(raw)
        await self.guard.admit_input(wish.requested_model, wish.longest_input_tokens)
        guarded = time.monotonic()
        state = request.state
        facts = RequestFacts(
            request_id=state.request_id,
            client_request_id=state.client_request_id,
            tenant=identity.tenant,
            user=identity.user,
            key_id=identity.key_id,
            tier=identity.tier,
            endpoint=request.url.path,
            requested_model=wish.requested_model,
            is_streaming=False,
            accepted=state.accepted,
        )
        exchange = EmbeddingExchange(self.parts, facts, identity, wish)
        await exchange.admit()
        admitted = time.monotonic()
        problem: Problem | None = None
        try:
            response = await exchange.run()
        except Problem as failure:
            problem = failure
        spans = {"guard": guarded - state.accepted, "admit": admitted - guarded, "router": time.monotonic() - admitted}
        headers = {
            "x-request-id": facts.request_id,
            "cache-status": f"edge; fwd=bypass; detail={BYPASS_REASON}",
            "server-timing": ", ".join(f"{name};dur={seconds * 1e3:.2f}" for name, seconds in spans.items()),
        }
        if problem is not None:
            return json_response(problem.body(), problem.kind.status, headers | problem.headers())
        content = await asyncio.to_thread(write_answer, response, wish.encoding_format)
        return Response(content, headers=headers, media_type="application/json")
