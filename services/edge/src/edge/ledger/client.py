"""What the edge asks the cost-ledger: prices to quote with, spend, receipts, lists of requests."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from edge.problems import Problem
from pricing.price_book import Price, PriceBook
from servicekit.rpc import is_serving
from servicekit.tracing import trace_metadata
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc

_TIMEOUT_SECONDS = 5.0
_HEALTH_TIMEOUT_SECONDS = 1.0


class LedgerClient:
    """Calls the cost-ledger over one channel; every call raises Problem when it fails."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stub = ledger_pb2_grpc.LedgerServiceStub(channel)

    async def price_book(self) -> PriceBook:
        """Return all prices."""
        try:
            response = await self._stub.GetPriceBook(ledgerpb.GetPriceBookRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _problem_of(error) from error
        return PriceBook(Price.from_proto(price) for price in response.prices)

    async def spend(
        self,
        visible: ledgerpb.Visible,
        from_day: str,
        to_day: str,
        group_by: Sequence[ledgerpb.SpendDimension.ValueType] = (),
    ) -> ledgerpb.GetSpendResponse:
        """Return the figures of what is visible between two UTC days (YYYY-MM-DD), both included."""
        request = ledgerpb.GetSpendRequest(
            tenant=visible.tenant, visible=visible, from_day=from_day, to_day=to_day, group_by=group_by
        )
        try:
            return await self._stub.GetSpend(request, timeout=_TIMEOUT_SECONDS, metadata=trace_metadata())
        except grpc.aio.AioRpcError as error:
            raise _problem_of(error) from error

    async def receipt(self, visible: ledgerpb.Visible, request_id: str) -> ledgerpb.RequestRecord:
        """Return the receipt of one request; Problem (404) when none that is visible has this id."""
        request = ledgerpb.GetRequestRequest(tenant=visible.tenant, visible=visible, request_id=request_id)
        try:
            response = await self._stub.GetRequest(request, timeout=_TIMEOUT_SECONDS, metadata=trace_metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise Problem("request_not_found", f"you have no request {request_id!r}", param="request_id") from error
            raise _problem_of(error) from error
        return response.record

    async def requests(self, asked: ledgerpb.ListRequestsRequest) -> ledgerpb.ListRequestsResponse:
        """Return a page of requests; Problem (400) for a cursor that is of another list."""
        try:
            return await self._stub.ListRequests(asked, timeout=_TIMEOUT_SECONDS, metadata=trace_metadata())
        except grpc.aio.AioRpcError as error:
            problem = _problem_of(error)
            if problem.code == "invalid_request" and asked.page_token:
                problem.param = "cursor"
            raise problem from error

    async def is_serving(self) -> bool:
        """Tell whether the ledger answers its health check."""
        return await is_serving(self._channel, "spillway.ledger.v1.LedgerService", _HEALTH_TIMEOUT_SECONDS)


def _problem_of(error: grpc.aio.AioRpcError) -> Problem:
    if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
        return Problem("invalid_request", error.details() or "the cost-ledger refused the request")
    return Problem("ledger_unavailable", "the cost-ledger does not answer; nothing is lost, try again in a moment")
