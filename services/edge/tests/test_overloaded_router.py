"""A router that has no place for a call is not the only one: the next one is asked, once."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import GOOD, Context, fails, two_vectors

FULL = fails("overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=1.0)


def full_for(times: int, seen: Callable[[], int]) -> Callable[[Context], object]:
    """Refuse the first calls."""

    async def step(context: Context) -> None:
        if seen() <= times:
            await FULL(context)

    return step


@pytest.mark.parametrize("is_streaming", [True, False], ids=["stream", "whole"])
async def test_the_next_router_answers(edge: Edge, is_streaming: bool) -> None:
    """The client notices nothing, and nothing was spent on the first call."""
    router = edge.router
    router.script = [full_for(1, lambda: len(router.requests)), *GOOD]  # type: ignore[list-item]
    visit = await edge.complete(stream=is_streaming).done()

    assert (200, True) == (visit.status, b"ris" in visit.content)
    first, second = router.requests
    assert first.request_id == second.request_id
    assert first.stop_secret != second.stop_secret
    assert {16} == {len(request.stop_secret) for request in router.requests}
    (settled,) = await edge.settled()
    assert (routerpb.OUTCOME_OK, 1) == (settled.outcome, len(settled.attempts))


async def test_vectors_come_from_the_next_router_too(edge: Edge) -> None:
    """The same for a request for vectors."""
    router = edge.router

    async def full_once(context: Context) -> routerpb.EmbedResponse:
        if len(router.embed_requests) == 1:
            await FULL(context)
        return await two_vectors(context)

    router.embed = full_once
    visit = await edge.visit("/v1/embeddings", {"model": "default", "input": ["a", "b"]}).done()

    assert (200, 2) == (visit.status, len(router.embed_requests))


@pytest.mark.parametrize("is_streaming", [True, False], ids=["stream", "whole"])
async def test_when_all_are_full_the_client_is_asked_to_wait(edge: Edge, is_streaming: bool) -> None:
    """Two calls were refused; nothing was spent, and nothing is stored."""
    edge.router.script = [FULL]
    visit = await edge.complete(stream=is_streaming).done()

    assert (503, "1") == (visit.status, visit.headers["retry-after"])
    assert "overloaded" == visit.json["error"]["code"]
    assert 2 == len(edge.router.requests)
    (settled,) = await edge.settled()
    assert (routerpb.OUTCOME_REJECTED, "overloaded", 0) == (
        settled.outcome,
        settled.error_code,
        len(settled.attempts),
    )
    assert [] == await edge.stored()
