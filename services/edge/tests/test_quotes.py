"""The price book that quotes go by: an edge takes requests when it has one, and does not wait for it for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from edge.ledger import quotes as quotes_module
from edge.ledger.client import LedgerClient
from edge.ledger.quotes import Quotes
from edge.metrics import Metrics
from servicekit.rpc import create_channel
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


class PriceLedger:
    """A ledger that has an empty price book, once it `is_there`."""

    def __init__(self) -> None:
        self.is_there = False

    async def price_book(
        self,
        _request: ledgerpb.GetPriceBookRequest,
        context: grpc.aio.ServicerContext[ledgerpb.GetPriceBookRequest, ledgerpb.GetPriceBookResponse],
    ) -> ledgerpb.GetPriceBookResponse:
        """Return the book."""
        if not self.is_there:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        return ledgerpb.GetPriceBookResponse()


@asynccontextmanager
async def kept_fresh(metrics: Metrics, ledger: PriceLedger) -> AsyncIterator[Quotes]:
    """Run quotes in front of a ledger while the block runs."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        ledger.price_book,
        request_deserializer=ledgerpb.GetPriceBookRequest.FromString,
        response_serializer=ledgerpb.GetPriceBookResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler("spillway.ledger.v1.LedgerService", {"GetPriceBook": method})
    server.add_generic_rpc_handlers((service,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    channel = create_channel(address)
    quotes = Quotes(LedgerClient(channel), metrics)
    task = asyncio.create_task(quotes.keep_fresh())
    try:
        yield quotes
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await channel.close()
        await server.stop(0)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_an_edge_is_ready_with_its_first_price_book(metrics: Metrics, counted: Callable[..., float]) -> None:
    """The first answer after an installation is priced: before it, the edge is not sent any request."""
    ledger = PriceLedger()
    async with kept_fresh(metrics, ledger) as quotes:
        await until(lambda: counted("edge_price_book_failures_total") >= 1)
        assert not quotes.is_ready

        ledger.is_there = True
        await until(lambda: quotes.is_ready)
        ledger.is_there = False
        assert quotes.is_ready


async def test_no_ledger_does_not_mean_no_edge(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a minute the edge takes requests all the same; their costs are null in the receipt."""
    assert 30.0 == quotes_module._FIRST_BOOK_SECONDS
    monkeypatch.setattr(quotes_module, "_FIRST_BOOK_SECONDS", 0.2)
    began = time.monotonic()
    async with kept_fresh(metrics, PriceLedger()) as quotes:
        assert not quotes.is_ready
        await until(lambda: quotes.is_ready)

    assert time.monotonic() - began >= 0.2
