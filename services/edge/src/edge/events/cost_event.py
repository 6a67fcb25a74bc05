"""The cost events of one request: what the ledger will know of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from edge.answer import Answer
from edge.facts import RequestFacts
from edge.problems import Problem
from pricing.usage import Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb


def admitted_event(facts: RequestFacts) -> ledgerpb.CostEvent:
    """Return the event that says: this request runs."""
    event = _event(facts, "admitted", facts.accepted_at_ns)
    event.admitted.request.CopyFrom(facts.to_proto())
    return event


def settled_event(
    facts: RequestFacts,
    *,
    outcome: routerpb.Outcome.ValueType,
    problem: Problem | None,
    cache_status: ledgerpb.CacheStatus.ValueType,
    bypass_reason: str,
    attempts: Sequence[routerpb.Attempt],
    answer: Answer,
    time_to_first_token: float | None,
) -> ledgerpb.CostEvent:
    """Return the event that says how the request ended, which is now."""
    now = time.time_ns()
    event = _event(facts, "settled", now)
    settled = event.settled
    settled.request.CopyFrom(facts.to_proto())
    settled.outcome = outcome
    settled.finish_reason = _finish_reason(outcome, answer)
    settled.error_code = problem.code if problem else ""
    settled.cache_status = cache_status
    settled.cache_bypass_reason = bypass_reason
    settled.economy_model = facts.economy_model
    settled.budget = facts.budget
    settled.attempts.extend(attempts)
    settled.settled_at.FromNanoseconds(now)
    settled.duration.FromNanoseconds(int((time.monotonic() - facts.accepted) * 1e9))
    if time_to_first_token is not None:
        settled.time_to_first_token.FromNanoseconds(int(time_to_first_token * 1e9))
    if cache_status == ledgerpb.CACHE_STATUS_HIT:
        settled.saved.provider = answer.provider
        settled.saved.target_model = answer.target_model
        settled.saved.usage.CopyFrom((answer.usage or Usage()).to_proto())
    return event


def open_attempt(started: routerpb.Started, outcome: routerpb.Outcome.ValueType, estimated: Usage) -> routerpb.Attempt:
    """Return the record of an attempt that the router could not report: its call ended before the attempt did.

    The provider may have read the prompt and made what came of the answer: `estimated`.
    """
    attempt = routerpb.Attempt(
        attempt_number=started.attempt_number,
        target=started.target,
        provider=started.provider,
        target_model=started.target_model,
        outcome=outcome,
        error_code="" if outcome == routerpb.OUTCOME_CLIENT_CANCELLED else "router_lost",
        usage=estimated.to_proto(),
        usage_source=routerpb.USAGE_SOURCE_ESTIMATED,
        started_at=started.started_at,
        finish_reason=routerpb.FINISH_REASON_CANCELLED
        if outcome == routerpb.OUTCOME_CLIENT_CANCELLED
        else routerpb.FINISH_REASON_ERROR,
    )
    attempt.duration.FromNanoseconds(max(time.time_ns() - started.started_at.ToNanoseconds(), 0))
    return attempt


def _event(facts: RequestFacts, name: str, now_ns: int) -> ledgerpb.CostEvent:
    event = ledgerpb.CostEvent(event_id=str(uuid.uuid5(uuid.UUID(facts.request_id), name)))
    event.occurred_at.FromNanoseconds(now_ns)
    return event


def _finish_reason(outcome: routerpb.Outcome.ValueType, answer: Answer) -> routerpb.FinishReason.ValueType:
    if outcome == routerpb.OUTCOME_OK:
        return answer.finish_reasons[0] if answer.finish_reasons else routerpb.FINISH_REASON_UNSPECIFIED
    if outcome == routerpb.OUTCOME_CLIENT_CANCELLED:
        return routerpb.FINISH_REASON_CANCELLED
    return routerpb.FINISH_REASON_ERROR
