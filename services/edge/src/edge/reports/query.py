"""The query parameters of the reports; an unknown parameter is refused, not ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from edge.problems import Problem
from edge.reports.csv import prefers_csv
from edge.request_id import client_request_id
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

MAX_PAGE_SIZE = 1000
_DEFAULT_DAYS = 30
_MAX_DAYS = 366
DIMENSIONS: Mapping[str, ledgerpb.SpendDimension.ValueType] = {
    "user": ledgerpb.SPEND_DIMENSION_USER,
    "key": ledgerpb.SPEND_DIMENSION_KEY,
    "model": ledgerpb.SPEND_DIMENSION_REQUESTED_MODEL,
    "route": ledgerpb.SPEND_DIMENSION_REQUESTED_MODEL,
    "provider": ledgerpb.SPEND_DIMENSION_PROVIDER,
    "target_model": ledgerpb.SPEND_DIMENSION_TARGET_MODEL,
    "template": ledgerpb.SPEND_DIMENSION_TEMPLATE,
    "day": ledgerpb.SPEND_DIMENSION_DAY,
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class DayRange:
    """UTC days, both included."""

    first: date
    last: date


def _day(text: object) -> date:
    try:
        if isinstance(text, str) and _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise PydanticCustomError("day", "must be a UTC day: YYYY-MM-DD")


def _moment(text: object, days_later: int) -> datetime:
    """Read a time; a day is read as midnight, `days_later` days after it."""
    try:
        if isinstance(text, str) and _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=days_later)
        if isinstance(text, str) and _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError(
        "moment", "must be a UTC day (YYYY-MM-DD) or a time (YYYY-MM-DDThh:mm:ssZ; a + before an offset is %2B in URLs)"
    )


def _client_request_id(text: str) -> str:
    """Read an id as it is recorded; nothing is recorded under an empty one."""
    recorded = client_request_id(text)
    if not recorded:
        raise PydanticCustomError("client_request_id", "must not be empty")
    return recorded


Day = Annotated[date, BeforeValidator(_day)]
_From = Annotated[datetime, BeforeValidator(lambda text: _moment(text, 0))]
_To = Annotated[datetime, BeforeValidator(lambda text: _moment(text, 1))]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]
_ClientRequestId = Annotated[str, AfterValidator(_client_request_id)]
_Format = Annotated[
    Literal["json", "csv"] | None,
    Field(description="Or `Accept: text/csv`. Text that begins like a formula gets an apostrophe in front."),
]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: _Format = None

    def is_csv(self, request: Request) -> bool:
        """Return whether the client wants CSV, by parameter or by `Accept`."""
        return self.format == "csv" or (self.format is None and prefers_csv(request.headers.get("accept", "")))


class CostsQuery(_Query):
    """`GET /v1/costs`."""

    from_: Day | None = Field(default=None, alias="from", description="UTC day, YYYY-MM-DD, included; 30 days back.")
    to: Day | None = Field(default=None, description="UTC day, YYYY-MM-DD, included; today.")
    group_by: list[str] = Field(
        default=[], description=f"One or several of {', '.join(DIMENSIONS)}; repeated or separated by commas."
    )

    def days(self) -> DayRange:
        """Return the range of days; Problem (400) when it is not one."""
        return day_range(self.from_, self.to)

    def dimensions(self) -> list[str]:
        """Return the names to group by, in the given order; Problem (400) for an unknown or repeated one."""
        names = [name.strip() for text in self.group_by for name in text.split(",")]
        unknown = next((name for name in names if name not in DIMENSIONS), None)
        if unknown is not None:
            known = ", ".join(DIMENSIONS)
            raise Problem("invalid_request", f"group_by: {unknown[:100]!r} is none of {known}", param="group_by")
        if len({DIMENSIONS[name] for name in names}) < len(names):
            raise Problem("invalid_request", "group_by: no name twice; model and route are the same", param="group_by")
        return names


class RequestsQuery(_Query):
    """`GET /v1/requests`."""

    user: _Name | None = None
    key: _Name | None = Field(default=None, description="The id of an API key.")
    model: _Name | None = Field(default=None, description="The requested public model.")
    provider: _Name | None = Field(default=None, description="At least one attempt went to this provider.")
    target_model: _Name | None = Field(default=None, description="At least one attempt went to this target model.")
    outcome: Literal["ok", "rejected", "client_cancelled", "provider_error", "timeout", "interrupted"] | None = None
    cache: Literal["hit", "miss", "bypass"] | None = None
    state: Literal["admitted", "settled", "unsettled"] | None = None
    template: _Name | None = None
    client_request_id: _ClientRequestId | None = Field(default=None, description="The client's own `x-request-id`.")
    from_: _From | None = Field(default=None, alias="from", description="UTC day or RFC 3339 time, included.")
    to: _To | None = Field(default=None, description="UTC day, included, or RFC 3339 time, not included.")
    limit: int | None = Field(
        default=None, ge=1, le=MAX_PAGE_SIZE, description="50 by default; CSV without it has the whole range."
    )
    cursor: _Name | None = Field(default=None, description="`next_cursor` of the previous page, with the same filters.")

    def to_proto(self, visible: ledgerpb.Visible) -> ledgerpb.ListRequestsRequest:
        """Return the request to the ledger; Problem (400) when the range is empty."""
        if self.from_ and self.to and self.from_ >= self.to:
            raise Problem("invalid_request", f"from ({self.from_}) is not before to ({self.to})", param="from")
        request = ledgerpb.ListRequestsRequest(
            tenant=visible.tenant,
            visible=visible,
            page_size=self.limit or 0,
            page_token=self.cursor or "",
            user=self.user or "",
            key_id=self.key or "",
            requested_model=self.model or "",
            provider=self.provider or "",
            target_model=self.target_model or "",
            outcome=routerpb.Outcome.Value(f"OUTCOME_{(self.outcome or 'unspecified').upper()}"),
            cache_status=ledgerpb.CacheStatus.Value(f"CACHE_STATUS_{(self.cache or 'unspecified').upper()}"),
            state=ledgerpb.RequestState.Value(f"REQUEST_STATE_{(self.state or 'unspecified').upper()}"),
            template=self.template or "",
            client_request_id=self.client_request_id or "",
        )
        if self.from_:
            request.admitted_from.FromDatetime(self.from_)
        if self.to:
            request.admitted_to.FromDatetime(self.to)
        return request


def day_range(first: date | None = None, last: date | None = None) -> DayRange:
    """Return the range of days, by default the last 30; Problem (400) when it is empty or too long."""
    last = last or datetime.now(UTC).date()
    try:
        first = first or last - timedelta(days=_DEFAULT_DAYS - 1)
    except OverflowError as error:
        raise Problem("invalid_request", f"to: there are no {_DEFAULT_DAYS} days before {last}", param="to") from error
    if first > last:
        raise Problem("invalid_request", f"from ({first}) is after to ({last})", param="from")
    if (last - first).days >= _MAX_DAYS:
        raise Problem("invalid_request", f"at most {_MAX_DAYS} days at a time", param="from")
    return DayRange(first, last)
