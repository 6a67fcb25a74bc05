"""A stopped call reports what it has spent, so that the edge records each attempt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest

from kit.router.process import Router, Seen, Stream
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc


class Call:
    """A completion that is running, and can be stopped."""

    def __init__(self, router: Router, route: str) -> None:
        self.stream = Stream()
        self._request_id = str(uuid4())
        self._running = asyncio.create_task(
            router.complete(route, request_id=self._request_id, stream=self.stream, timeout_seconds=30.0)
        )

    async def until(self, is_true: Callable[[Stream], bool]) -> None:
        """Wait until the events so far satisfy `is_true`."""
        async with asyncio.timeout(20):
            while not is_true(self.stream):
                await asyncio.sleep(0.002)

    async def stop(self) -> Stream:
        """Ask the router that runs it to stop; return all that it said."""
        await self.until(lambda stream: bool(stream.started) or self._running.done())
        async with create_channel(self.stream.started[0].router_address) as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            await stub.Stop(routerpb.StopRequest(request_id=self._request_id), timeout=10.0)
        return await self._running


def outcomes(stream: Stream) -> list[tuple[int, str, str]]:
    """Return number, outcome and error code of each attempt, in order."""
    outcomes = [(a.attempt_number, routerpb.Outcome.Name(a.outcome)[8:].lower(), a.error_code) for a in stream.attempts]
    return sorted(outcomes)


def is_stopped(stream: Stream) -> bool:
    """Tell whether this is how a stopped call ends."""
    assert stream.finished is None
    return grpc.StatusCode.ABORTED == stream.status and stream.error is not None and "stopped" == stream.error.code


async def test_stopped_answer_reports_its_usage(router: Router, seen: Seen) -> None:
    """The usage is estimated by the router, and the provider's connection is closed."""
    call = Call(router, "slow")
    await call.until(lambda stream: len(stream.texts) >= 3)
    stream = await call.stop()

    assert is_stopped(stream)
    (attempt,) = stream.attempts
    assert [(1, "client_cancelled", "")] == outcomes(stream)
    assert (routerpb.USAGE_SOURCE_ESTIMATED, routerpb.FINISH_REASON_CANCELLED) == (
        attempt.usage_source,
        attempt.finish_reason,
    )
    assert 0 < attempt.usage.output_tokens <= len(stream.texts) < 20
    assert 0 < attempt.usage.input_tokens
    async with asyncio.timeout(10):
        while "open" == seen.attempts("slow")[-1]["finish"]:
            await asyncio.sleep(0.02)
    assert "client_closed" == seen.attempts("slow")[-1]["finish"]


async def test_prompt_is_recorded_before_the_first_content(router: Router, seen: Seen) -> None:
    """No other target is tried after the stop."""
    before = len(seen.attempts("silence-anthropic-next"))
    stream = await Call(router, "table-silence-anthropic").stop()

    assert is_stopped(stream)
    assert [(1, "client_cancelled", "")] == outcomes(stream)
    assert (0, True) == (stream.attempts[0].usage.output_tokens, stream.attempts[0].usage.input_tokens > 0)
    assert before == len(seen.attempts("silence-anthropic-next"))


async def test_both_attempts_of_a_race_are_reported(router: Router) -> None:
    """Neither had won."""
    call = Call(router, "hedge-late")
    await call.until(lambda stream: 2 == len(stream.started))
    stream = await call.stop()

    assert is_stopped(stream)
    assert [(1, "client_cancelled", ""), (2, "client_cancelled", "")] == outcomes(stream)


async def test_no_attempt_begins_after_the_stop(router: Router) -> None:
    """The pause before a retry ends with the call."""
    call = Call(router, "table-429-short-openai")
    await call.until(lambda stream: bool(stream.attempts))
    stream = await call.stop()

    assert is_stopped(stream)
    assert [(1, "rate_limited")] == [(number, code) for number, _, code in outcomes(stream)]
    assert 1 == len(stream.started)


async def test_unknown_call_can_be_stopped(router: Router) -> None:
    """The edge cannot know whether the call has ended."""
    call = Call(router, "ok")
    await call.until(lambda stream: stream.finished is not None)
    stream = await call.stop()
    assert grpc.StatusCode.OK == stream.status

    await router.stub.Stop(routerpb.StopRequest(request_id="never"), timeout=10.0)


@pytest.mark.parametrize(("route", "mark"), [("stop-context", "st"), ("stop-reset", "sr"), ("carry-stop", "sc")])
async def test_every_attempt_that_began_is_reported_whenever_the_call_is_stopped(
    router: Router, seen: Seen, route: str, mark: str
) -> None:
    """Attempts fail and begin in the same milliseconds: each that was announced is reported."""
    chance, recorded = random.Random(11), 0
    for _ in range(12):
        call = Call(router, route)
        await call.until(lambda stream: bool(stream.started))
        await asyncio.sleep(chance.uniform(0.0, 0.04))
        stream = await call.stop()
        numbers = [attempt.attempt_number for attempt in stream.attempts]
        assert sorted(numbers) == sorted(started.attempt_number for started in stream.started)
        assert len(numbers) == len(set(numbers))
        recorded += len(numbers)

    assert len(seen.attempts(f"{mark}-1")) + len(seen.attempts(f"{mark}-2")) <= recorded
