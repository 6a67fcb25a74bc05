"""What the rows of a request say, in the words of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import asyncpg

from cost_ledger import vocabulary
from pricing.cost import FREE
from pricing.usage import Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb


def receipt(
    row: asyncpg.Record, attempts: Sequence[asyncpg.Record], corrections: Sequence[asyncpg.Record]
) -> ledgerpb.RequestRecord:
    """Write one request with its attempts; `corrections` are all of it, those of an attempt in their order."""
    by_attempt: dict[int, list[asyncpg.Record]] = {}
    for correction in corrections:
        by_attempt.setdefault(correction["attempt_number"], []).append(correction)
    record = without_attempts(row)
    record.attempts.extend(_attempt(each, by_attempt.get(each["attempt_number"], [])) for each in attempts)
    if by_attempt and record.HasField("settled"):
        _set_cost(record, _corrected_total(attempts, by_attempt))
    return record


def without_attempts(row: asyncpg.Record) -> ledgerpb.RequestRecord:
    """Write one request as it was recorded."""
    record = ledgerpb.RequestRecord(
        request=_request(row),
        state=vocabulary.REQUEST_STATE.number(row["state"]),
        cost_usd=money(row["cost_usd"]),
        saved_cost_usd=money(row["saved_cost_usd"]),
    )
    if row["state"] == "settled":
        record.settled.CopyFrom(_settled(row))
    return record


def listed(row: asyncpg.Record, corrected: Mapping[object, Decimal | None]) -> ledgerpb.RequestRecord:
    """Write one request for a list; `corrected` has the total of each request that was corrected."""
    record = without_attempts(row)
    if row["request_id"] in corrected:
        _set_cost(record, corrected[row["request_id"]])
    return record


def money(value: Decimal | None) -> str | None:
    """Write USD with nine places; None, unpriced, stays None."""
    return None if value is None else f"{value:.9f}"


def _corrected_total(
    attempts: Sequence[asyncpg.Record], corrections: Mapping[int, Sequence[asyncpg.Record]]
) -> Decimal | None:
    """Sum what counts now; None when that of any attempt is unpriced, as in the sum that was recorded."""
    total = FREE
    for attempt in attempts:
        newest = corrections.get(attempt["attempt_number"], [attempt])[-1]
        if newest["cost_usd"] is None:
            return None
        total += newest["cost_usd"]
    return total


def _set_cost(record: ledgerpb.RequestRecord, cost: Decimal | None) -> None:
    if cost is None:
        record.ClearField("cost_usd")
    else:
        record.cost_usd = f"{cost:.9f}"


def _request(row: asyncpg.Record) -> ledgerpb.Request:
    request = ledgerpb.Request(
        request_id=str(row["request_id"]),
        tenant=row["tenant"],
        user=row["user_id"],
        key_id=row["key_id"],
        tier=row["tier"],
        endpoint=row["endpoint"],
        requested_model=row["requested_model"],
        is_streaming=row["is_streaming"],
        template=row["template"],
        client_request_id=row["client_request_id"] or "",
    )
    request.admitted_at.FromDatetime(row["admitted_at"])
    return request


def _settled(row: asyncpg.Record) -> ledgerpb.Settled:
    settled = ledgerpb.Settled(
        outcome=vocabulary.OUTCOME.number(row["outcome"]),
        finish_reason=vocabulary.FINISH_REASON.number(row["finish_reason"]),
        error_code=row["error_code"],
        cache_status=vocabulary.CACHE_STATUS.number(row["cache_status"]),
        cache_bypass_reason=row["cache_bypass_reason"],
    )
    settled.settled_at.FromDatetime(row["settled_at"])
    settled.duration.FromTimedelta(row["duration"])
    if row["time_to_first_token"] is not None:
        settled.time_to_first_token.FromTimedelta(row["time_to_first_token"])
    if row["saved_target_model"]:
        usage = Usage(*(row[f"saved_{count}"] for count in Usage.__slots__))
        saved = ledgerpb.SavedAnswer(
            provider=row["saved_provider"], target_model=row["saved_target_model"], usage=usage.to_proto()
        )
        settled.saved.CopyFrom(saved)
    return settled


def _attempt(row: asyncpg.Record, corrections: Sequence[asyncpg.Record]) -> ledgerpb.AttemptRecord:
    attempt = routerpb.Attempt(
        attempt_number=row["attempt_number"],
        target=row["target"],
        provider=row["provider"],
        target_model=row["target_model"],
        response_model=row["response_model"],
        outcome=vocabulary.OUTCOME.number(row["outcome"]),
        error_code=row["error_code"],
        usage_source=vocabulary.USAGE_SOURCE.number(row["usage_source"]),
        http_status=row["http_status"],
        provider_request_id=row["provider_request_id"],
        finish_reason=vocabulary.FINISH_REASON.number(row["finish_reason"]),
    )
    if row["has_usage"]:
        attempt.usage.CopyFrom(Usage(*(row[count] for count in Usage.__slots__)).to_proto())
    attempt.started_at.FromDatetime(row["started_at"])
    attempt.duration.FromTimedelta(row["duration"])
    if row["time_to_first_chunk"] is not None:
        attempt.time_to_first_chunk.FromTimedelta(row["time_to_first_chunk"])
    return ledgerpb.AttemptRecord(
        attempt=attempt,
        event_id=str(row["event_id"]),
        cost_usd=money(row["cost_usd"]),
        price_version=row["price_version"],
        corrections=[_correction(correction) for correction in corrections],
    )


def _correction(row: asyncpg.Record) -> ledgerpb.Correction:
    correction = ledgerpb.Correction(
        cost_usd=money(row["cost_usd"]), price_version=row["price_version"], reason=row["reason"]
    )
    correction.corrected_at.FromDatetime(row["corrected_at"])
    return correction
