"""The RPC `Embed`: runs a request for vectors, tells how it ended."""

from __future__ import annotations

import time

import grpc
import structlog

from llm_router.chain.chain import Parts
from llm_router.chain.embed import Embedding, EmbedTask, candidates_for, read_body
from llm_router.errors import CompletionFailed, unknown_model
from llm_router.routes.fleet import Fleet
from pricing.estimate import estimate_input_tokens
from servicekit.errors import abort_with
from servicekit.tracing import bind_call_trace
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

# Initial metadata: the `Started` of the first attempt, sent before it begins. An edge that then loses this process
# knows that something may have been spent, and on what; see router.proto.
STARTED_KEY = "spillway-started-bin"

EmbedContext = grpc.aio.ServicerContext[routerpb.EmbedRequest, routerpb.EmbedResponse]


class EmbedService:
    """Answers requests for vectors."""

    def __init__(self, parts: Parts, attempt_budget: int) -> None:
        """A request may ask for fewer attempts than `attempt_budget`, never for more."""
        self._parts = parts
        self._metrics = parts.metrics
        self._attempt_budget = attempt_budget

    async def answer(
        self,
        request: routerpb.EmbedRequest,
        context: EmbedContext,
        fleet: Fleet,
        deadline: float,
    ) -> routerpb.EmbedResponse:
        """Answer by `deadline` (on the loop's clock) from the targets in `fleet`, which the caller has borrowed."""
        structlog.contextvars.bind_contextvars(request_id=request.request_id)
        bind_call_trace(context.invocation_metadata())
        started = time.monotonic()
        outcome = "client_cancelled"
        detail = routerpb.CompletionError()
        embedding: Embedding | None = None
        known_route = request.route if request.route in fleet.routes else "unknown"  # bounds the values of a label
        try:
            embedding = self._embedding(request, context, fleet, deadline)
            response = await embedding.run()
        except CompletionFailed as failure:
            outcome, detail = failure.outcome, failure.detail
            detail.attempts.extend(embedding.attempts if embedding else ())
            await abort_with(context, failure.status, detail.message, detail)
        except Exception:
            outcome = "internal_error"
            log.exception("request_crashed")
            detail = routerpb.CompletionError(code="internal_error", message="the llm-router failed", retryable=True)
            detail.attempts.extend(embedding.attempts if embedding else ())
            await abort_with(context, grpc.StatusCode.INTERNAL, detail.message, detail)
        else:
            outcome = "ok"
            return response
        finally:
            self._metrics.requests.labels(known_route, outcome).inc()
            if detail.code in {"all_targets_failed", "rate_limited", "deadline_exceeded"}:
                self._metrics.all_targets_failed.labels(known_route).inc()
            log.info(
                "request_finished",
                tenant=request.tenant,
                requested_model=request.route,
                outcome=outcome,
                reason=detail.code or None,
                duration_seconds=round(time.monotonic() - started, 6),
            )

    def _embedding(
        self,
        request: routerpb.EmbedRequest,
        context: EmbedContext,
        fleet: Fleet,
        deadline: float,
    ) -> Embedding:
        route = fleet.routes.get(request.route)
        if route is None:
            raise unknown_model(request.route, list(fleet.routes))
        body, inputs = read_body(request.body)
        task = EmbedTask(
            candidates=candidates_for(route, fleet.providers, self._parts),
            body=body,
            inputs=inputs,
            input_tokens=request.estimated_input_tokens or estimate_input_tokens(body["input"]),
            attempt_budget=min(request.attempt_budget or self._attempt_budget, self._attempt_budget),
            deadline=deadline,
        )

        async def announce(first: routerpb.Started) -> None:
            await context.send_initial_metadata(((STARTED_KEY, first.SerializeToString()),))

        return Embedding(task, self._parts, announce)
