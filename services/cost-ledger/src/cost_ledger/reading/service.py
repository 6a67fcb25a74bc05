"""The RPCs of the cost-ledger: prices, spend, receipts, lists of requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Coroutine
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from cost_ledger import vocabulary
from cost_ledger.answering import MAX_OPEN_CALLS, CallContext, end_too_many, end_unavailable, timeout_of
from cost_ledger.connections import OUTAGES
from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.reading import spend
from cost_ledger.reading.reader import Reader
from cost_ledger.reading.requests import RequestFilters
from cost_ledger.reading.visible import Visible, visible_in
from servicekit.tracing import bind_call_trace
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc

log = structlog.get_logger()

ResultT = TypeVar("ResultT")

_MAX_DAYS = 366
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 50, 1000


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Answers from Postgres, or UNAVAILABLE while it is away."""

    def __init__(self, reader: Reader, prices: PriceList, metrics: Metrics) -> None:
        self._reader = reader
        self._prices = prices
        self._metrics = metrics
        self._open_queries = 0

    async def GetPriceBook(  # noqa: N802
        self, request: ledgerpb.GetPriceBookRequest, context: CallContext
    ) -> ledgerpb.GetPriceBookResponse:
        """Return all prices, past and future."""
        prices = await self._answer(context, self._prices.prices())
        return ledgerpb.GetPriceBookResponse(prices=[price.to_proto() for price in prices])

    async def GetSpend(  # noqa: N802
        self, request: ledgerpb.GetSpendRequest, context: CallContext
    ) -> ledgerpb.GetSpendResponse:
        """Return a tenant's figures between two days."""
        await self._check_tenant(context, request.tenant)
        try:
            first, last = _day(request.from_day), _day(request.to_day)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "from_day and to_day must be days: YYYY-MM-DD")
        if not 0 <= (last - first).days < _MAX_DAYS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"to_day must not be before from_day, and the range at most {_MAX_DAYS} days",
            )
        visible = await self._visible(context, request.visible)
        group_by = list(request.group_by)
        if any(dimension not in spend.COLUMNS for dimension in group_by) or len(set(group_by)) < len(group_by):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "group_by must name known dimensions, each once")
        return await self._read(context, self._reader.spend(request.tenant, first, last, group_by, visible))

    async def GetRequest(  # noqa: N802
        self, request: ledgerpb.GetRequestRequest, context: CallContext
    ) -> ledgerpb.GetRequestResponse:
        """Return the receipt of one request."""
        await self._check_tenant(context, request.tenant)
        try:
            request_id = uuid.UUID(request.request_id)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request_id must be a UUID")
        visible = await self._visible(context, request.visible)
        record = await self._read(context, self._reader.request(request.tenant, request_id, visible))
        if record is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this tenant has no such request")
        return ledgerpb.GetRequestResponse(record=record)

    async def ListRequests(  # noqa: N802
        self, request: ledgerpb.ListRequestsRequest, context: CallContext
    ) -> ledgerpb.ListRequestsResponse:
        """Return a page of a tenant's requests, newest first."""
        await self._check_tenant(context, request.tenant)
        if request.page_size > _MAX_PAGE_SIZE:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"page_size must be at most {_MAX_PAGE_SIZE}")
        try:
            filters = _filters(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            place = filters.place(request.page_token) if request.page_token else None
        except ValueError:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the cursor is not one of this list; go on with the filters it was made with, or begin without it",
            )
        page = await self._read(context, self._reader.requests(filters, place, request.page_size or _DEFAULT_PAGE_SIZE))
        return ledgerpb.ListRequestsResponse(records=page.records, next_page_token=page.next_cursor or "")

    async def _check_tenant(self, context: CallContext, tenant: str) -> None:
        if not tenant or "\0" in tenant:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "tenant must be a name")

    async def _visible(self, context: CallContext, message: ledgerpb.Visible) -> Visible:
        try:
            return visible_in(message)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _read(self, context: CallContext, answer: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run a query, unless so many are running that no connection would be free in time."""
        if self._open_queries >= MAX_OPEN_CALLS:
            answer.close()
            await end_too_many(context)
        self._open_queries += 1
        try:
            return await self._answer(context, answer)
        finally:
            self._open_queries -= 1

    async def _answer(self, context: CallContext, answer: Awaitable[ResultT]) -> ResultT:
        """Wait for Postgres as long as the caller waits; end the call when there is no answer."""
        bind_call_trace(context.invocation_metadata())
        try:
            async with asyncio.timeout(timeout_of(context)):
                return await answer
        except OUTAGES as error:
            self._metrics.database_errors.inc()
            log.warning("question_not_answered", cause=type(error).__name__)
            await end_unavailable(context)


def _day(text: str) -> date:
    """Parse YYYY-MM-DD and no other form of ISO 8601; ValueError."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError("not YYYY-MM-DD")
    return day


def _filters(request: ledgerpb.ListRequestsRequest) -> RequestFilters:
    """Return the filters of a list; ValueError with the reason when one is invalid."""
    names = ("user", "key_id", "requested_model", "provider", "target_model", "template")
    if any("\0" in getattr(request, name) for name in names):
        raise ValueError(f"{', '.join(names)} must be names")
    visible = visible_in(request.visible)
    return RequestFilters(
        tenant=request.tenant,
        visible=visible if visible.team or visible.user not in ("", request.user or visible.user) else None,
        client_request_id=vocabulary.client_request_id(request.client_request_id),
        state=vocabulary.REQUEST_STATE.word(request.state) or None,
        outcome=vocabulary.OUTCOME.word(request.outcome) or None,
        template=request.template or None,
        key_id=request.key_id or None,
        # By its index; a filter for somebody else finds nothing.
        user_id=request.user or visible.user or None,
        requested_model=request.requested_model or None,
        cache_status=vocabulary.CACHE_STATUS.word(request.cache_status) or None,
        provider=request.provider or None,
        target_model=request.target_model or None,
        admitted_from=_moment(request.admitted_from) if request.HasField("admitted_from") else None,
        admitted_to=_moment(request.admitted_to) if request.HasField("admitted_to") else None,
    )


def _moment(timestamp: Timestamp) -> datetime:
    """Return a time that an id can have; ValueError."""
    try:
        moment = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("admitted_from and admitted_to must be times") from error
    if not 1970 <= moment.year < 9999:
        raise ValueError("admitted_from and admitted_to must be times from 1970 to 9998")
    return moment
