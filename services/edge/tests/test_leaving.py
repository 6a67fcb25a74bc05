"""The client has gone: the router is asked to stop and tells the rest, so that no attempt is missed."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from edge.router import stop
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import STOP, Response, attempted, fails, is_silent, started, texts, waits_for

UNANSWERED = "edge_stops_unanswered_total"
STOPPED = fails("stopped", grpc.StatusCode.ABORTED)


def cut_short(number: int, output_tokens: int) -> Response:
    """Report an attempt that was open when the router was asked to stop, with the router's own count."""
    report = attempted(number, routerpb.OUTCOME_CLIENT_CANCELLED)
    usage = routerpb.Usage(input_tokens=7, output_tokens=output_tokens)
    report.attempt_finished.attempt.usage.CopyFrom(usage)
    report.attempt_finished.attempt.usage_source = routerpb.USAGE_SOURCE_ESTIMATED
    return report


def reported(settled: ledgerpb.Settled) -> list[tuple[int, str, int]]:
    """Return number, outcome and output tokens of each attempt."""
    return [(a.attempt_number, routerpb.Outcome.Name(a.outcome)[8:], a.usage.output_tokens) for a in settled.attempts]


async def left(edge: Edge) -> ledgerpb.Settled:
    """Ask, leave when the first words are there, and return what is on record."""
    visit = edge.chat()
    await visit.until(lambda seen: b"xxxx" in seen.content)
    visit.gone()
    await visit.done()
    (settled,) = await edge.settled()
    assert not visit.is_complete
    return settled


async def test_the_router_tells_what_it_has_spent(edge: Edge, counted: Callable[..., float]) -> None:
    """Its own record counts, and no estimate of the edge's."""
    router = edge.router
    router.script = [started(1, router.address), texts("x" * 40), waits_for(router.stopped), cut_short(1, 77), STOPPED]
    settled = await left(edge)

    assert [settled.request.request_id] == [request.request_id for request in router.stop_requests]
    assert [router.requests[-1].stop_secret] == [request.stop_secret for request in router.stop_requests]
    assert (routerpb.OUTCOME_CLIENT_CANCELLED, "") == (settled.outcome, settled.error_code)
    assert [(1, "CLIENT_CANCELLED", 77)] == reported(settled)
    assert not router.cancelled.is_set()
    assert 0 == counted(UNANSWERED)


async def test_an_attempt_that_began_in_the_same_moment_is_on_record(edge: Edge) -> None:
    """The edge gives up while it knows of one attempt; that one has failed already, and the next has begun."""
    router = edge.router
    router.script = [
        started(1, router.address),
        texts("x" * 40),
        waits_for(router.stopped),
        attempted(1, routerpb.OUTCOME_INTERRUPTED),
        started(2, router.address),
        cut_short(2, 5),
        STOPPED,
    ]
    settled = await left(edge)

    assert [(1, "INTERRUPTED", 0), (2, "CLIENT_CANCELLED", 5)] == reported(settled)


async def test_an_answer_that_ends_meanwhile_is_whole(edge: Edge) -> None:
    """It was under way already, and is stored."""
    router = edge.router
    router.script = [started(1, router.address), texts("x" * 40), waits_for(router.stopped), attempted(1), STOP]
    settled = await left(edge)

    assert (routerpb.OUTCOME_OK, [(1, "OK", 2)]) == (settled.outcome, reported(settled))
    assert 1 == len(await edge.stored())


async def test_an_answer_that_breaks_off_meanwhile_has_broken_off(edge: Edge) -> None:
    """The reason is the router's and not the client's leaving."""
    router = edge.router
    broken = attempted(1, routerpb.OUTCOME_INTERRUPTED)
    cut = fails("stream_interrupted", grpc.StatusCode.ABORTED)
    router.script = [started(1, router.address), texts("x" * 40), waits_for(router.stopped), broken, cut]
    settled = await left(edge)

    assert (routerpb.OUTCOME_INTERRUPTED, "stream_interrupted") == (settled.outcome, settled.error_code)


@pytest.mark.parametrize("address", ["", "127.0.0.1:1"])
async def test_a_router_that_cannot_be_asked_is_cancelled(
    edge: Edge, counted: Callable[..., float], address: str
) -> None:
    """What was open is estimated then, and the case is counted."""
    edge.router.script = [started(1, address), texts("x" * 40), is_silent]
    settled = await left(edge)

    assert [(1, "CLIENT_CANCELLED", 10)] == reported(settled)
    assert 1 == counted(UNANSWERED)


async def test_a_router_that_does_not_follow_is_cancelled(
    edge: Edge, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the request and goes on."""
    monkeypatch.setattr(stop, "_LAST_REPORT_SECONDS", 0.1)
    edge.router.script = [started(1, edge.router.address), texts("x" * 40), is_silent]
    settled = await left(edge)

    assert 1 == len(edge.router.stop_requests)
    assert [(1, "CLIENT_CANCELLED", 10)] == reported(settled)
    assert 1 == counted(UNANSWERED)
