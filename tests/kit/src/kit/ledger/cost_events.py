"""Cost events as the edge writes them, with what a test is about as arguments and the rest filled in."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cost_ledger.recording.event import AdmittedEvent, SettledEvent, read_event
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

MORNING = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def new_id(moment: datetime = MORNING) -> str:
    """Return a fresh UUIDv7 of `moment`."""
    milliseconds = int(moment.timestamp() * 1000)
    bits = random.getrandbits(74)
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits & (1 << 62) - 1))


def request(
    request_id: str = "", *, tenant: str = "acme", user: str = "ada", model: str = "fast", at: datetime = MORNING
) -> ledgerpb.Request:
    """Return who asked for what."""
    message = ledgerpb.Request(
        request_id=request_id or new_id(at),
        tenant=tenant,
        user=user,
        key_id="key-1",
        tier="gold",
        endpoint="/v1/chat/completions",
        requested_model=model,
        is_streaming=True,
    )
    message.admitted_at.FromDatetime(at)
    return message


def attempt(
    number: int = 1,
    provider: str = "openai",
    model: str = "gpt-test",
    usage: routerpb.Usage | None = None,
    *,
    at: datetime = MORNING,
) -> routerpb.Attempt:
    """Return a successful attempt, or without `usage` one that failed before billable work."""
    message = routerpb.Attempt(
        attempt_number=number,
        target=f"{provider}-main",
        provider=provider,
        target_model=model,
        response_model=f"{model}-2026",
        outcome=routerpb.OUTCOME_PROVIDER_ERROR if usage is None else routerpb.OUTCOME_OK,
        error_code="provider_unavailable" if usage is None else "",
        usage=usage,
        usage_source=routerpb.USAGE_SOURCE_UNSPECIFIED if usage is None else routerpb.USAGE_SOURCE_REPORTED,
        http_status=503 if usage is None else 200,
        provider_request_id="req-abc",
        finish_reason=routerpb.FINISH_REASON_UNSPECIFIED if usage is None else routerpb.FINISH_REASON_STOP,
    )
    message.started_at.FromDatetime(at)
    message.duration.FromTimedelta(timedelta(milliseconds=1234))
    if usage is not None:
        message.time_to_first_chunk.FromTimedelta(timedelta(milliseconds=321))
    return message


def used(input_tokens: int = 100, output_tokens: int = 20) -> routerpb.Usage:
    """Return the usage of a plain answer."""
    return routerpb.Usage(input_tokens=input_tokens, output_tokens=output_tokens)


def admitted(request: ledgerpb.Request) -> ledgerpb.CostEvent:
    """Return the event that opens `request`."""
    event = ledgerpb.CostEvent(event_id=_event_id(request, "admitted"), admitted=ledgerpb.Admitted(request=request))
    event.occurred_at.CopyFrom(request.admitted_at)
    return event


def settled(
    request: ledgerpb.Request,
    attempts: Sequence[routerpb.Attempt] | None = None,
    *,
    cache_status: ledgerpb.CacheStatus.ValueType = ledgerpb.CACHE_STATUS_MISS,
    saved: ledgerpb.SavedAnswer | None = None,
) -> ledgerpb.CostEvent:
    """Return the event that ends `request`, by default after one successful attempt."""
    ending = ledgerpb.Settled(
        request=request,
        outcome=routerpb.OUTCOME_OK,
        finish_reason=routerpb.FINISH_REASON_STOP,
        cache_status=cache_status,
        attempts=[attempt(usage=used())] if attempts is None else attempts,
        saved=saved,
    )
    ending.settled_at.FromDatetime(request.admitted_at.ToDatetime(tzinfo=UTC) + timedelta(seconds=2))
    ending.duration.FromTimedelta(timedelta(seconds=2))
    ending.time_to_first_token.FromTimedelta(timedelta(milliseconds=345))
    event = ledgerpb.CostEvent(event_id=_event_id(request, "settled"), settled=ending)
    event.occurred_at.CopyFrom(ending.settled_at)
    return event


def hit(request: ledgerpb.Request, usage: routerpb.Usage) -> ledgerpb.CostEvent:
    """Return the end of a request that the response cache answered with an answer of gpt-test."""
    saved = ledgerpb.SavedAnswer(provider="openai", target_model="gpt-test", usage=usage)
    return settled(request, [], cache_status=ledgerpb.CACHE_STATUS_HIT, saved=saved)


def read_admitted(event: ledgerpb.CostEvent) -> AdmittedEvent:
    """Read it as the ledger does."""
    read = read_event(event.SerializeToString())
    assert isinstance(read, AdmittedEvent)
    return read


def read_settled(event: ledgerpb.CostEvent) -> SettledEvent:
    """Read it as the ledger does."""
    read = read_event(event.SerializeToString())
    assert isinstance(read, SettledEvent)
    return read


def _event_id(request: ledgerpb.Request, kind: str) -> str:
    try:
        return str(uuid.uuid5(uuid.UUID(request.request_id), kind))
    except ValueError:
        return str(uuid.uuid4())
