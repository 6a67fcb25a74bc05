"""A client's trace context goes with its request, into the log lines of every service on the way."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson
import pytest

from kit.front_door.edge_client import Behind, EdgeClient

pytestmark = pytest.mark.local

# So that the router is asked again by a test that runs again.
UNCACHED = {"cache-control": "no-store, no-cache"}


async def lines_of(behind: Behind, service: str, request_id: str) -> list[dict[str, Any]]:
    """Return what a service has logged about a request, once it has finished."""
    async with asyncio.timeout(10):
        while True:
            lines = [orjson.loads(line) for line in behind.log(service).splitlines() if request_id in line]
            if "request_finished" in {line["event"] for line in lines}:
                return lines
            await asyncio.sleep(0.05)


async def test_a_clients_trace_is_in_the_log_lines_of_edge_and_router(edge: EdgeClient, behind: Behind) -> None:
    """By its trace id, whatever the sampling flag; for chat and for embeddings."""
    for path, body in (
        ("/chat", {"model": "other", "query": edge.fresh("who traces this?")}),
        ("/v1/embeddings", {"model": "vectors", "input": "who traces this?"}),
    ):
        trace_id = uuid.uuid4().hex
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00", "tracestate": "vendor=1", **UNCACHED}
        response = await edge.post(path, orjson.dumps(body), headers)
        assert 200 == response.status_code

        for service in ("edge", "llm-router"):
            for line in await lines_of(behind, service, response.headers["x-request-id"]):
                assert trace_id == line["trace_id"], line


@pytest.mark.parametrize("traceparent", ["what", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
async def test_a_malformed_traceparent_is_ignored(edge: EdgeClient, behind: Behind, traceparent: str) -> None:
    """The request is answered, and no line has a trace, that of an earlier request on the connection included."""
    good = {"traceparent": f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01"}
    await edge.chat(headers=good, model="other")

    response = await edge.post(
        "/chat",
        orjson.dumps({"model": "other", "query": edge.fresh("who traces this?")}),
        {"traceparent": traceparent, **UNCACHED},
    )

    assert 200 == response.status_code
    for service in ("edge", "llm-router"):
        for line in await lines_of(behind, service, response.headers["x-request-id"]):
            assert "trace_id" not in line
