"""The output stage: every answer passes it, and one that it stops ends honestly and is accounted by its router."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.cache.entry import MAX_ANSWER_BYTES
from edge.events.spool import Spool
from edge.exchange.output_stage import SizeLimit
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, Context, Response, attempted, choices, fails, started, texts, waits_for

STOPPED = fails("stopped", grpc.StatusCode.ABORTED)


@pytest.fixture(name="narrow")
async def _narrow(tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool) -> AsyncIterator[Edge]:
    """Yield an edge whose stage passes ten bytes of an answer on."""
    stage = partial(running_edge, open_output_stage=lambda _: SizeLimit(10))
    async with stage(tmp_path, redis_url, spool, CollectorRegistry()) as edge:
        yield edge


def reported(output_tokens: int) -> Response:
    """Report the attempt that was open when the router was asked to stop."""
    report = attempted(1, routerpb.OUTCOME_CLIENT_CANCELLED)
    report.attempt_finished.attempt.usage.CopyFrom(routerpb.Usage(input_tokens=7, output_tokens=output_tokens))
    return report


@pytest.mark.parametrize("contract", ["chat", "completions", "whole"])
async def test_an_answer_that_is_too_long_is_stopped(narrow: Edge, contract: str) -> None:
    """What fitted was delivered; then one error, no success; the router reports what was spent; nothing is stored."""
    router = narrow.router
    router.script = [
        started(1, router.address), texts("12345678"), texts("9abc"), waits_for(router.stopped), texts("more"),
        reported(77), STOPPED,
    ]  # fmt: skip
    visit = await (narrow.chat() if contract == "chat" else narrow.complete(stream=contract == "completions")).done()

    assert b"answer_too_long" in visit.content
    assert b"[DONE]" not in visit.content
    assert b"9abc" not in visit.content
    if contract == "chat":
        assert ["start", "delta", "error"] == [name for name, _ in visit.events]
    elif contract == "whole":
        assert 502 == visit.status
    (settled,) = await narrow.settled()
    assert (routerpb.OUTCOME_INTERRUPTED, "answer_too_long") == (settled.outcome, settled.error_code)
    assert [77] == [attempt.usage.output_tokens for attempt in settled.attempts]
    assert [] == await narrow.stored()
    assert not router.cancelled.is_set()


async def test_an_answer_that_ends_before_the_stop_arrives_is_stopped_all_the_same(narrow: Edge) -> None:
    """Its end does not make the part that was held back good."""
    narrow.router.script = [started(), texts("12345678"), texts("9abc"), attempted(), STOP]
    visit = await narrow.chat().done()

    assert ["start", "delta", "error"] == [name for name, _ in visit.events]
    assert [] == await narrow.stored()


async def test_an_answer_from_the_cache_passes_the_stage_too(edge: Edge, narrow: Edge) -> None:
    """What was stored under another rule does not pass today's."""
    edge.router.script = [started(), texts("12345678", "9abc"), attempted(), STOP]
    await edge.chat().done()
    visit = await narrow.chat().done()

    assert "edge; hit" == visit.headers["cache-status"]
    assert ["start", "error"] == [name for name, _ in visit.events]
    assert "answer_too_long" == visit.events[-1][1]["error"]["code"]
    assert 0 == len(narrow.router.requests)


CALL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]


async def test_a_stream_is_delivered_however_long_it_is_and_not_kept(edge: Edge) -> None:
    """What is too long for the cache leaves memory again; the tool calls, told at the end, do not."""
    pieces = [f"{number:06d}" * 20_000 for number in range(12)]
    late = choices([{"index": 0, "delta": {"tool_calls": CALL}, "finish_reason": None}])
    edge.router.script = [started(), *(texts(piece) for piece in pieces), late, attempted(), STOP]
    visit = await edge.chat().done()

    assert len("".join(pieces)) > MAX_ANSWER_BYTES
    assert "".join(pieces) == "".join(data["text"] for name, data in visit.events if name == "delta")
    assert [("call_1", "look")] == [(data["id"], data["name"]) for name, data in visit.events if name == "tool_call"]
    assert "done" == visit.events[-1][0]
    assert not visit.events[-1][1]["cache"]["stored"]
    assert [] == await edge.stored()


async def test_nonsense_behind_the_part_that_is_kept_is_no_good_answer(edge: Edge) -> None:
    """Each chunk is looked at by itself there."""
    long, odd = texts("x" * (MAX_ANSWER_BYTES + 1)), choices([{"index": 0, "delta": {"content": 5}}])
    edge.router.script = [started(), long, odd, attempted(), STOP]
    visit = await edge.complete().done()

    assert b"stream_interrupted" in visit.content
    assert b"[DONE]" not in visit.content


async def cancelled(context: Context) -> None:
    """End a call as gRPC does when the other side cancels it."""
    await context.abort(grpc.StatusCode.CANCELLED, "gone")


@pytest.mark.parametrize("end", [STOPPED, cancelled], ids=["stopped", "cancelled"])
@pytest.mark.parametrize("is_streaming", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_call_that_another_has_stopped_is_no_answer(
    edge: Edge, path: str, is_streaming: bool, end: Callable[[Context], Awaitable[None]]
) -> None:
    """The router ends a call early which this edge did not ask for: an error that says that the answer broke off."""
    edge.router.script = [started(), texts("Pa"), attempted(1, routerpb.OUTCOME_CLIENT_CANCELLED), end]
    question = [{"role": "user", "content": "q"}]
    body = {"query": "q"} if path == "/chat" else {"model": "default", "messages": question, "max_tokens": 9}
    visit = await edge.visit(path, {**body, "stream": is_streaming}).done()

    assert (200 if is_streaming else 502) == visit.status
    assert b"stream_interrupted" in visit.content
    assert b'"retryable":true' in visit.content or path == "/v1/messages"
    assert not [end for end in (b"[DONE]", b"message_stop", b"event: done") if end in visit.content]
    (settled,) = await edge.settled()
    assert (routerpb.OUTCOME_INTERRUPTED, "stream_interrupted") == (settled.outcome, settled.error_code)
    assert [] == await edge.stored()
