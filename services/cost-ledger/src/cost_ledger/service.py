"""The RPCs of the cost-ledger: prices, spend, receipts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from datetime import date
from typing import Any, NoReturn, TypeVar

import asyncpg
import grpc
import structlog

from cost_ledger.connections import RELEASE_SECONDS
from cost_ledger.metrics import LedgerMetrics
from cost_ledger.price import PriceList
from cost_ledger.reader import Reader
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc

log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]
ResultT = TypeVar("ResultT")

_LONGEST_DAYS = 366
_DEFAULT_TIMEOUT_SECONDS = 10.0
# Kept back from the caller's deadline so that the reason reaches it before its own clock runs out.
_DEADLINE_MARGIN_SECONDS = RELEASE_SECONDS + 0.1


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Answers from Postgres; UNAVAILABLE while it is away."""

    def __init__(self, reader: Reader, prices: PriceList, metrics: LedgerMetrics) -> None:
        self._reader = reader
        self._prices = prices
        self._metrics = metrics

    async def GetPriceBook(  # noqa: N802
        self, request: ledgerpb.GetPriceBookRequest, context: _Context
    ) -> ledgerpb.GetPriceBookResponse:
        """Return all prices, past and future."""
        prices = await self._ask(context, self._prices.prices())
        return ledgerpb.GetPriceBookResponse(prices=[price.to_proto() for price in prices])

    async def GetSpend(  # noqa: N802
        self, request: ledgerpb.GetSpendRequest, context: _Context
    ) -> ledgerpb.GetSpendResponse:
        """Return a tenant's figures between two days."""
        await self._check_tenant(context, request.tenant)
        try:
            first, last = _day(request.from_day), _day(request.to_day)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "from_day and to_day must be days: YYYY-MM-DD")
        if not 0 <= (last - first).days < _LONGEST_DAYS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"to_day must not be before from_day, and the range at most {_LONGEST_DAYS} days",
            )
        return await self._ask(context, self._reader.spend(request.tenant, first, last))

    async def GetRequest(  # noqa: N802
        self, request: ledgerpb.GetRequestRequest, context: _Context
    ) -> ledgerpb.GetRequestResponse:
        """Return the receipt of one request."""
        await self._check_tenant(context, request.tenant)
        try:
            request_id = uuid.UUID(request.request_id)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request_id must be a UUID")
        record = await self._ask(context, self._reader.request(request.tenant, request_id))
        if record is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this tenant has no such request")
        return ledgerpb.GetRequestResponse(record=record)

    async def _check_tenant(self, context: _Context, tenant: str) -> None:
        if not tenant or "\0" in tenant:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "tenant must be a name")

    async def _ask(self, context: _Context, answer: Awaitable[ResultT]) -> ResultT:
        """Wait for an answer of Postgres as long as the caller does; end the call when there is none."""
        try:
            async with asyncio.timeout(_timeout(context)):
                return await answer
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self._metrics.database_errors.inc()
            log.warning("question_not_answered", cause=type(error).__name__)
            await _unavailable(context)


async def _unavailable(context: _Context) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the database does not answer; nothing is lost, try again")


def _day(text: str) -> date:
    """Read YYYY-MM-DD and nothing else that ISO 8601 knows; ValueError."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError("not YYYY-MM-DD")
    return day


def _timeout(context: _Context) -> float:
    """Return how many seconds a question may take: a little less than the caller will wait."""
    remaining = context.time_remaining()
    if remaining is None:
        return _DEFAULT_TIMEOUT_SECONDS
    return max(min(remaining - _DEADLINE_MARGIN_SECONDS, _DEFAULT_TIMEOUT_SECONDS), 0.05)
