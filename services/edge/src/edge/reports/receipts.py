"""The ledger's records of requests, as JSON objects for clients."""

from __future__ import annotations

from typing import Any

from edge.receipt_json import attempt_object, economy_object, finish_reason_name, outcome_name
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

Json = dict[str, Any]


def receipt_object(record: ledgerpb.RequestRecord) -> Json:
    """Write one request with its attempts."""
    return {**request_object(record), "attempts": [_attempt(attempt) for attempt in record.attempts]}


def request_object(record: ledgerpb.RequestRecord) -> Json:
    """Write one request for a list; every object has the same keys."""
    request, settled = record.request, record.settled
    is_settled = record.HasField("settled")
    return {
        "request_id": request.request_id,
        "state": ledgerpb.RequestState.Name(record.state).removeprefix("REQUEST_STATE_").lower(),
        "tenant": request.tenant,
        "user": request.user,
        "key_id": request.key_id,
        "endpoint": request.endpoint,
        "requested_model": request.requested_model,
        "template": request.template or None,
        "is_streaming": request.is_streaming,
        "admitted_at": request.admitted_at.ToJsonString(),
        "settled_at": settled.settled_at.ToJsonString() if is_settled else None,
        "outcome": outcome_name(settled.outcome) if is_settled else None,
        "finish_reason": finish_reason_name(settled.finish_reason) if settled.finish_reason else None,
        "error_code": settled.error_code or None,
        "cache_status": ledgerpb.CacheStatus.Name(settled.cache_status)[13:].lower() if is_settled else None,
        "cache_bypass_reason": settled.cache_bypass_reason or None,
        "duration_seconds": settled.duration.ToMicroseconds() / 1e6 if is_settled else None,
        "time_to_first_token_seconds": settled.time_to_first_token.ToMicroseconds() / 1e6
        if settled.HasField("time_to_first_token")
        else None,
        "cost_usd": record.cost_usd if record.HasField("cost_usd") else None,
        "saved_cost_usd": record.saved_cost_usd if record.HasField("saved_cost_usd") else None,
        "client_request_id": request.client_request_id or None,
        "economy": economy_object(settled.economy_model, settled.budget),
    }


REQUEST_KEYS = tuple(request_object(ledgerpb.RequestRecord()))
"""The keys of every object that `request_object` writes, in order."""


def _attempt(record: ledgerpb.AttemptRecord) -> Json:
    cost = record.cost_usd if record.HasField("cost_usd") else None
    return {
        "event_id": record.event_id,
        **attempt_object(record.attempt, cost, record.price_version),
        "corrections": [_correction(correction) for correction in record.corrections],
    }


def _correction(correction: ledgerpb.Correction) -> Json:
    return {
        "cost_usd": correction.cost_usd if correction.HasField("cost_usd") else None,
        "price_version": correction.price_version or None,
        "corrected_at": correction.corrected_at.ToJsonString(),
        "reason": correction.reason,
    }
