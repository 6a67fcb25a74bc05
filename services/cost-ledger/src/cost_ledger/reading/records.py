"""Rows of a request as messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from cost_ledger import vocabulary
from cost_ledger.rows import AttemptRow, RequestEnd, RequestFacts, RequestRow, SavedAnswer
from pricing.cost import total_of
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb


class Correction(NamedTuple):
    """What a receipt shows of a row of `corrections`: the fields are columns."""

    attempt_number: int
    cost_usd: Decimal | None
    price_version: str
    reason: str
    corrected_at: datetime


def receipt(
    row: RequestRow, attempts: Sequence[AttemptRow], corrections: Sequence[Correction]
) -> ledgerpb.RequestRecord:
    """Return one request with its attempts; `corrections` are all of the request's, in order for each attempt."""
    by_attempt: dict[int, list[Correction]] = {}
    for correction in corrections:
        by_attempt.setdefault(correction.attempt_number, []).append(correction)
    record = without_attempts(row)
    record.attempts.extend(_attempt(each, by_attempt.get(each.facts.attempt_number, [])) for each in attempts)
    if by_attempt and row.end is not None:
        _set_cost(record, _corrected_total(attempts, by_attempt))
    return record


def without_attempts(row: RequestRow) -> ledgerpb.RequestRecord:
    """Return one request as it was recorded."""
    record = ledgerpb.RequestRecord(
        request=_request(row.facts),
        state=vocabulary.REQUEST_STATE.number(row.state),
        saved_cost_usd=money(row.saved_cost.usd),
    )
    if row.end is not None:
        record.settled.CopyFrom(_settled(row.end, row.saved))
        _set_cost(record, row.end.cost_usd)
    return record


def listed(row: RequestRow, corrected: Mapping[UUID, Decimal | None]) -> ledgerpb.RequestRecord:
    """Return one request for a list; `corrected` has the total of each request that was corrected."""
    record = without_attempts(row)
    if row.facts.request_id in corrected:
        _set_cost(record, corrected[row.facts.request_id])
    return record


def money(value: Decimal | None) -> str | None:
    """Write USD with nine places; None, unpriced, stays None."""
    return None if value is None else f"{value:.9f}"


def _corrected_total(attempts: Sequence[AttemptRow], corrections: Mapping[int, Sequence[Correction]]) -> Decimal | None:
    """Add up what counts now; None when that of any attempt is unpriced, as in the sum that was recorded."""
    newest = {number: of_attempt[-1].cost_usd for number, of_attempt in corrections.items()}
    return total_of(newest.get(each.facts.attempt_number, each.cost.usd) for each in attempts)


def _set_cost(record: ledgerpb.RequestRecord, cost: Decimal | None) -> None:
    if cost is None:
        record.ClearField("cost_usd")
    else:
        record.cost_usd = f"{cost:.9f}"


def _request(facts: RequestFacts) -> ledgerpb.Request:
    request = ledgerpb.Request(
        request_id=str(facts.request_id),
        tenant=facts.tenant,
        user=facts.user_id,
        key_id=facts.key_id,
        tier=facts.tier,
        endpoint=facts.endpoint,
        requested_model=facts.requested_model,
        is_streaming=facts.is_streaming,
        template=facts.template,
        client_request_id=facts.client_request_id or "",
    )
    request.admitted_at.FromDatetime(facts.admitted_at)
    return request


def _settled(end: RequestEnd, saved: SavedAnswer | None) -> ledgerpb.Settled:
    settled = ledgerpb.Settled(
        outcome=vocabulary.OUTCOME.number(end.outcome),
        finish_reason=vocabulary.FINISH_REASON.number(end.finish_reason),
        error_code=end.error_code,
        cache_status=vocabulary.CACHE_STATUS.number(end.cache_status),
        cache_bypass_reason=end.cache_bypass_reason,
        economy_model=end.economy_model,
        budget=end.budget,
    )
    settled.settled_at.FromDatetime(end.settled_at)
    settled.duration.FromTimedelta(end.duration)
    if end.time_to_first_token is not None:
        settled.time_to_first_token.FromTimedelta(end.time_to_first_token)
    if saved is not None:
        settled.saved.CopyFrom(
            ledgerpb.SavedAnswer(provider=saved.provider, target_model=saved.target_model, usage=saved.usage.to_proto())
        )
    return settled


def _attempt(row: AttemptRow, corrections: Sequence[Correction]) -> ledgerpb.AttemptRecord:
    facts = row.facts
    attempt = routerpb.Attempt(
        attempt_number=facts.attempt_number,
        target=facts.target,
        provider=facts.provider,
        target_model=facts.target_model,
        response_model=facts.response_model,
        outcome=vocabulary.OUTCOME.number(facts.outcome),
        error_code=facts.error_code,
        usage=None if row.usage is None else row.usage.to_proto(),
        usage_source=vocabulary.USAGE_SOURCE.number(facts.usage_source),
        http_status=facts.http_status,
        provider_request_id=facts.provider_request_id,
        finish_reason=vocabulary.FINISH_REASON.number(facts.finish_reason),
        dropped=facts.dropped.split("\n") if facts.dropped else (),
    )
    attempt.started_at.FromDatetime(facts.started_at)
    attempt.duration.FromTimedelta(facts.duration)
    if facts.time_to_first_chunk is not None:
        attempt.time_to_first_chunk.FromTimedelta(facts.time_to_first_chunk)
    return ledgerpb.AttemptRecord(
        attempt=attempt,
        event_id=str(facts.event_id),
        cost_usd=money(row.cost.usd),
        price_version=row.cost.price_version,
        corrections=[_correction(correction) for correction in corrections],
    )


def _correction(row: Correction) -> ledgerpb.Correction:
    correction = ledgerpb.Correction(cost_usd=money(row.cost_usd), price_version=row.price_version, reason=row.reason)
    correction.corrected_at.FromDatetime(row.corrected_at)
    return correction
