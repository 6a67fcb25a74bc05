"""Parses and checks cost events; what they become are the records of the tables."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from cost_ledger import vocabulary
from cost_ledger.errors import PoisonedEvent
from cost_ledger.rows import AttemptFacts, RequestFacts, SavedAnswer
from pricing.usage import TEXT_FIELDS, Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

# No model takes so much: a larger count is garbage, and it would overflow the sums that others are in.
MAX_TOKENS = 10**12
# Likewise what is billed by use, which costs cents and not millionths of a dollar.
MAX_COUNTS = {"web_search_requests": 10**6 + 1, "code_execution_seconds": 10**7}
_MAX_TEXT = 500


class Attempt(NamedTuple):
    """One call to one target; `usage` is None when the provider did no billable work."""

    facts: AttemptFacts
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class AdmittedEvent:
    """A request passed the guard."""

    occurred_at: datetime
    request: RequestFacts


@dataclass(frozen=True, slots=True)
class SettledEvent:
    """A request has ended, successfully or not; `attempts` are in the order of their numbers."""

    occurred_at: datetime
    request: RequestFacts
    outcome: str
    finish_reason: str
    error_code: str
    cache_status: str
    cache_bypass_reason: str
    attempts: tuple[Attempt, ...]
    settled_at: datetime
    duration: timedelta
    time_to_first_token: timedelta | None
    saved: SavedAnswer | None
    economy_model: str
    budget: str


LedgerEvent = AdmittedEvent | SettledEvent


def read_event(data: bytes) -> LedgerEvent:
    """Parse and check one serialized CostEvent; PoisonedEvent has the reason why it cannot be recorded."""
    try:
        message = ledgerpb.CostEvent.FromString(data)
    except DecodeError as error:
        raise PoisonedEvent("unreadable", "not a CostEvent") from error
    try:
        return _event_of(message)
    except (ValueError, OverflowError) as error:
        raise PoisonedEvent("invalid", str(error)) from error


def _event_of(message: ledgerpb.CostEvent) -> LedgerEvent:
    _uuid(message.event_id, "event_id")
    occurred_at = _moment(message, "occurred_at")
    match message.WhichOneof("event"):
        case "admitted":
            return AdmittedEvent(occurred_at, _request(message.admitted.request))
        case "settled":
            return _settled(occurred_at, message.settled)
        case _:
            raise ValueError("neither admitted nor settled")


def _settled(occurred_at: datetime, message: ledgerpb.Settled) -> SettledEvent:
    request = _request(message.request)
    attempts = tuple(sorted((_attempt(request, each) for each in message.attempts), key=_number))
    if len({_number(attempt) for attempt in attempts}) != len(attempts):
        raise ValueError("two attempts with the same number")
    saved = None
    if message.HasField("saved"):
        saved = SavedAnswer(message.saved.provider, message.saved.target_model, _usage(message.saved.usage))
    return SettledEvent(
        occurred_at=occurred_at,
        request=request,
        outcome=vocabulary.OUTCOME.word(message.outcome),
        finish_reason=vocabulary.FINISH_REASON.word(message.finish_reason),
        error_code=message.error_code,
        cache_status=vocabulary.CACHE_STATUS.word(message.cache_status),
        cache_bypass_reason=message.cache_bypass_reason,
        attempts=attempts,
        settled_at=_moment(message, "settled_at"),
        duration=_span(message.duration),
        time_to_first_token=_span(message.time_to_first_token) if message.HasField("time_to_first_token") else None,
        saved=saved,
        economy_model=message.economy_model,
        budget=message.budget,
    )


def _request(message: ledgerpb.Request) -> RequestFacts:
    if not message.tenant:
        raise ValueError("no tenant")
    return RequestFacts(
        request_id=_uuid(message.request_id, "request_id"),
        tenant=message.tenant,
        user_id=message.user,
        key_id=message.key_id,
        tier=message.tier,
        endpoint=message.endpoint,
        requested_model=message.requested_model,
        is_streaming=message.is_streaming,
        admitted_at=_moment(message, "admitted_at"),
        template=message.template,
        client_request_id=vocabulary.client_request_id(message.client_request_id),
    )


def _attempt(request: RequestFacts, message: routerpb.Attempt) -> Attempt:
    if message.attempt_number < 1 or message.attempt_number > 10_000:
        raise ValueError(f"attempt number {message.attempt_number} is not within 1 and 10,000")
    first_chunk = message.time_to_first_chunk
    facts = AttemptFacts(
        attempt_number=message.attempt_number,
        event_id=uuid.uuid5(request.request_id, str(message.attempt_number)),
        target=message.target,
        provider=message.provider,
        target_model=message.target_model,
        response_model=message.response_model,
        outcome=vocabulary.OUTCOME.word(message.outcome),
        error_code=message.error_code,
        usage_source=vocabulary.USAGE_SOURCE.word(message.usage_source),
        started_at=_moment(message, "started_at"),
        duration=_span(message.duration),
        time_to_first_chunk=_span(first_chunk) if message.HasField("time_to_first_chunk") else None,
        http_status=message.http_status,
        provider_request_id=message.provider_request_id,
        finish_reason=vocabulary.FINISH_REASON.word(message.finish_reason),
        dropped="\n".join(message.dropped),
    )
    return Attempt(facts, _usage(message.usage) if message.HasField("usage") else None)


def _usage(message: routerpb.Usage) -> Usage:
    for field, value in message.ListFields():
        if field.name in TEXT_FIELDS:
            if len(value) > _MAX_TEXT or not value.isprintable():
                raise ValueError(f"{field.name} is no short text")
        elif not 0 <= value < MAX_COUNTS.get(field.name, MAX_TOKENS):
            raise ValueError(f"{field.name} {value} is not within 0 and {MAX_COUNTS.get(field.name, MAX_TOKENS)}")
    return Usage.from_proto(message)


def _number(attempt: Attempt) -> int:
    return attempt.facts.attempt_number


def _uuid(text: str, field: str) -> uuid.UUID:
    if not text:
        raise ValueError(f"no {field}")
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError(f"{field} is not a UUID") from None


def _moment(
    message: ledgerpb.CostEvent | ledgerpb.Settled | ledgerpb.Request | routerpb.Attempt, field: str
) -> datetime:
    if not message.HasField(field):  # type: ignore[arg-type]
        raise ValueError(f"no {field}")
    timestamp: Timestamp = getattr(message, field)
    return timestamp.ToDatetime(tzinfo=UTC)


def _span(message: Duration) -> timedelta:
    return message.ToTimedelta()
