"""Exports over HTTP: the real endpoints and server, with a scripted ledger behind them and a real client in front."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import pytest
import uvicorn

from edge.http.app import create_app
from edge.ledger.client import LedgerClient
from edge.reports import endpoints as reports
from edge.router.client import RouterClient
from edge.router.models import ModelList
from servicekit.rpc import create_channel
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.ledger.v1 import ledger_pb2_grpc

from .scripted_edge import Edge


class ScriptedLedger(ledger_pb2_grpc.LedgerServiceServicer):
    """Has `pages` pages of `rows` requests each; page `fails_at` fails."""

    def __init__(self) -> None:
        self.pages = 3
        self.rows = 2
        self.fails_at = 0
        self.asked: list[ledgerpb.ListRequestsRequest] = []

    async def ListRequests(  # noqa: N802 - gRPC's spelling
        self, request: ledgerpb.ListRequestsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ledgerpb.ListRequestsResponse:
        """Return the page that the token names."""
        self.asked.append(ledgerpb.ListRequestsRequest.FromString(request.SerializeToString()))
        page = int(request.page_token or "1")
        if page == self.fails_at:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        record = ledgerpb.RequestRecord(
            request=ledgerpb.Request(request_id=f"page-{page}", tenant=request.tenant, user="=1+1")
        )
        token = str(page + 1) if page < self.pages else ""
        return ledgerpb.ListRequestsResponse(records=[record] * self.rows, next_page_token=token)

    async def GetPriceBook(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's spelling
        """Never called here."""

    async def GetSpend(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's spelling
        """Never called here."""

    async def GetRequest(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's spelling
        """Never called here."""


@asynccontextmanager
async def serving(server: uvicorn.Server) -> AsyncIterator[int]:
    """Run an HTTP server; yield its port."""
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def ledger() -> ScriptedLedger:
    """Return the ledger's script."""
    return ScriptedLedger()


@pytest.fixture
async def client(edge: Edge, ledger: ScriptedLedger) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of the report endpoints."""
    rpc = grpc.aio.server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(ledger, rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    channel, nowhere = create_channel(f"127.0.0.1:{port}"), create_channel("127.0.0.1:1")
    models = ModelList(RouterClient(nowhere, attempt_budget=1, request_timeout_seconds=1.0))
    endpoints = reports.ReportEndpoints(edge.identify, models, LedgerClient(channel))
    app = create_app([endpoints.router()], [], edge.metrics)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, http="httptools"))
    async with (
        serving(server) as http_port,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{http_port}", headers={"authorization": f"Bearer {edge.key}"}, timeout=20
        ) as client,
    ):
        yield client
    await channel.close()
    await nowhere.close()
    await rpc.stop(0)


async def test_an_export_has_every_page(client: httpx2.AsyncClient, ledger: ScriptedLedger) -> None:
    """One header, all rows in order, fetched in large pages, each with the cursor of the previous one."""
    answer = await client.get("/v1/requests?format=csv&user=ada")

    lines = answer.text.splitlines()
    assert lines[0].startswith("request_id,state,")
    assert ["page-1", "page-1", "page-2", "page-2", "page-3", "page-3"] == [line.split(",")[0] for line in lines[1:]]
    assert "'=1+1" == lines[1].split(",")[3]
    assert [("", 1000, "ada"), ("2", 1000, "ada"), ("3", 1000, "ada")] == [
        (asked.page_token, asked.page_size, asked.user) for asked in ledger.asked
    ]


async def test_an_export_without_rows_has_its_header(client: httpx2.AsyncClient, ledger: ScriptedLedger) -> None:
    """Pages may be empty, including those in the middle."""
    ledger.rows = 0
    answer = await client.get("/v1/requests?format=csv")

    assert (200, 1) == (answer.status_code, len(answer.text.splitlines()))
    assert 3 == len(ledger.asked)


@pytest.mark.parametrize(("limit", "pages"), [("_MAX_EXPORT_ROWS", 2), ("_MAX_EXPORT_PAGES", 4)])
async def test_an_export_at_its_limit_says_so_and_can_be_continued(
    client: httpx2.AsyncClient, ledger: ScriptedLedger, monkeypatch: pytest.MonkeyPatch, limit: str, pages: int
) -> None:
    """The last row names the cursor of the rest; no row is there twice."""
    ledger.pages = 6
    monkeypatch.setattr(reports, limit, 4)
    lines = (await client.get("/v1/requests?format=csv")).text.splitlines()
    note = lines.pop()
    cursor = note.split(",")[0].rpartition("=")[2]
    monkeypatch.undo()
    rest = (await client.get("/v1/requests", params={"format": "csv", "cursor": cursor})).text.splitlines()

    assert note.startswith("# cut here")
    assert lines[0].count(",") == note.count(",")
    assert 1 + 2 * pages == len(lines)
    assert [f"page-{1 + place // 2}" for place in range(12)] == [line.split(",")[0] for line in lines[1:] + rest[1:]]


async def test_an_export_without_a_first_page_is_an_error(client: httpx2.AsyncClient, ledger: ScriptedLedger) -> None:
    """The first page is fetched before the status line."""
    ledger.fails_at = 1
    answer = await client.get("/v1/requests?format=csv")

    assert (503, "ledger_unavailable") == (answer.status_code, answer.json()["error"]["code"])


async def test_an_export_that_fails_midway_fails_at_the_client(
    client: httpx2.AsyncClient, ledger: ScriptedLedger
) -> None:
    """A truncated file is never mistaken for a complete one; the rows before the failure are there."""
    ledger.fails_at = 3
    received = bytearray()

    async def download() -> None:
        async with client.stream("GET", "/v1/requests?format=csv") as answer:
            async for piece in answer.aiter_bytes():
                received.extend(piece)

    with pytest.raises(httpx2.RemoteProtocolError):
        await download()
    assert 1 + 4 == received.count(b"\r\n")


async def test_an_export_ends_with_its_client(client: httpx2.AsyncClient, ledger: ScriptedLedger) -> None:
    """No pages are fetched once the client is gone."""
    ledger.pages = 10**9
    async with client.stream("GET", "/v1/requests?format=csv") as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(20):
        asked = -1
        while asked != len(ledger.asked):
            asked = len(ledger.asked)
            await asyncio.sleep(0.2)

    assert len(ledger.asked) < 500
