"""One request for vectors from admission to settlement: admits, calls, settles. Knows no contract and no HTTP.

It is short and its answer is one piece, so it goes on to its end although its client may have left; and it is not
kept in the response cache, whose entries are small texts.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import structlog

from edge.contracts.embeddings.request import EmbeddingWish
from edge.contracts.receipt_json import money
from edge.events.cost_event import RequestFacts, admitted_event, open_attempt, settled_event
from edge.exchange.exchange import Parts
from edge.guard.keys import Identity
from edge.problems import Problem
from edge.router.client import EmbedCall, attempts_of, problem_of
from pricing.cost import FREE, total_of
from pricing.usage import Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

BYPASS_REASON = "not_cacheable"


class EmbeddingExchange:
    """Made for one request; `admit`, then `run`, each once."""

    def __init__(self, parts: Parts, facts: RequestFacts, identity: Identity, wish: EmbeddingWish) -> None:
        self._parts = parts
        self._facts = facts
        self._identity = identity
        self._wish = wish
        self._call: EmbedCall | None = None
        self._attempts: list[routerpb.Attempt] = []

    @property
    def started(self) -> routerpb.Started | None:
        """The first attempt, once the router has told that it begins."""
        return self._call.started if self._call else None

    async def admit(self) -> None:
        """Step 3: record that the request runs. Problem when it may not."""
        await self._parts.emitter.admit(admitted_event(self._facts), None)
        self._parts.metrics.cache_bypasses.labels(BYPASS_REASON).inc()

    async def run(self) -> routerpb.EmbedResponse:
        """Steps 4 to 7: call and settle. Problem, settled as well, when there is no answer."""
        try:
            response = await self._answer()
        except Problem as problem:
            await self._settle(problem)
            raise
        except asyncio.CancelledError:
            await self._settle(Problem("stream_interrupted", "the gateway stopped before the answer was complete"))
            raise
        except Exception as error:
            log.exception("exchange_crashed")
            crash = Problem("internal_error", "the gateway failed while it answered; it is our fault, not yours")
            await self._settle(crash)
            raise crash from error
        await self._settle(None)
        return response

    async def _answer(self) -> routerpb.EmbedResponse:
        facts, wish = self._facts, self._wish
        self._call = call = self._parts.router.embed(facts.request_id, self._identity, wish.requested_model, wish.body)
        try:
            response = await call.answer()
        except grpc.aio.AioRpcError as error:
            self._attempts = attempts_of(error)
            raise problem_of(error) from error
        finally:
            call.cancel()
        self._attempts = list(response.attempts)
        return response

    async def _settle(self, problem: Problem | None) -> None:
        """Record how it ended, count and log."""
        outcome = problem.kind.outcome if problem else routerpb.OUTCOME_OK
        if self.started is not None and not self._attempts:
            # The router was lost on the way, maybe at a later target; all targets of one request have one model.
            self._attempts = [open_attempt(self.started, outcome, Usage(self._wish.input_tokens, 0))]
        event = settled_event(
            self._facts,
            outcome=outcome,
            problem=problem,
            cache_status=ledgerpb.CACHE_STATUS_BYPASS,
            bypass_reason=BYPASS_REASON,
            attempts=self._attempts,
            answer=None,
            time_to_first_token=None,
        )
        await self._parts.emitter.settle(event, None)
        self._observe(problem, outcome)

    def _observe(self, problem: Problem | None, outcome: routerpb.Outcome.ValueType) -> None:
        facts, metrics = self._facts, self._parts.metrics
        outcome_name = routerpb.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()
        duration = time.monotonic() - facts.accepted
        metrics.requests.labels(facts.requested_model, outcome_name, "bypass").inc()
        metrics.duration.labels(outcome_name).observe(duration)
        last = self._attempts[-1] if self._attempts else routerpb.Attempt()
        cost = total_of(self._parts.quotes.attempt_costs(self._attempts) or [FREE])
        log.info(
            "request_finished",
            endpoint=facts.endpoint,
            tenant=facts.tenant,
            key_id=facts.key_id,
            requested_model=facts.requested_model,
            provider=last.provider or None,
            target_model=last.target_model or None,
            outcome=outcome_name,
            reason=problem.code if problem else None,
            cache_status="bypass",
            cache_bypass_reason=BYPASS_REASON,
            attempts=len(self._attempts),
            input_tokens=last.usage.input_tokens if last.HasField("usage") else None,
            output_tokens=last.usage.output_tokens if last.HasField("usage") else None,
            cost_usd=money(cost),
            duration_seconds=round(duration, 6),
        )
