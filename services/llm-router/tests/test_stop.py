"""A call that is stopped tells what it has spent: the edge records each attempt, whenever its client leaves."""

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
        """Wait until what was told so far is enough."""
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
    told = [(a.attempt_number, routerpb.Outcome.Name(a.outcome)[8:].lower(), a.error_code) for a in stream.attempts]
    return sorted(told)


def is_stopped(stream: Stream) -> bool:
    """Tell whether this is how a stopped call ends."""
    assert stream.finished is None
    return grpc.StatusCode.ABORTED == stream.status and stream.error is not None and "stopped" == stream.error.code


async def test_an_answer_that_is_stopped_tells_what_came_of_it(router: Router, seen: Seen) -> None:
    """By the router's own count, and the provider's connection is closed."""
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


async def test_before_the_first_word_the_prompt_is_on_record(router: Router, seen: Seen) -> None:
    """Nobody else is asked then."""
    before = len(seen.attempts("silence-anthropic-next"))
    stream = await Call(router, "table-silence-anthropic").stop()

    assert is_stopped(stream)
    assert [(1, "client_cancelled", "")] == outcomes(stream)
    assert (0, True) == (stream.attempts[0].usage.output_tokens, stream.attempts[0].usage.input_tokens > 0)
    assert before == len(seen.attempts("silence-anthropic-next"))


async def test_of_two_that_race_both_are_told(router: Router) -> None:
    """Neither has won."""
    call = Call(router, "hedge-late")
    await call.until(lambda stream: 2 == len(stream.started))
    stream = await call.stop()

    assert is_stopped(stream)
    assert [(1, "client_cancelled", ""), (2, "client_cancelled", "")] == outcomes(stream)


async def test_between_two_attempts_nothing_more_begins(router: Router) -> None:
    """The pause before a retry ends with the call."""
    call = Call(router, "table-429-short-openai")
    await call.until(lambda stream: bool(stream.attempts))
    stream = await call.stop()

    assert is_stopped(stream)
    assert [(1, "rate_limited")] == [(number, code) for number, _, code in outcomes(stream)]
    assert 1 == len(stream.started)


async def test_a_call_that_is_over_or_never_was_can_be_stopped(router: Router) -> None:
    """Who asks to stop cannot know."""
    call = Call(router, "ok")
    await call.until(lambda stream: stream.finished is not None)
    stream = await call.stop()
    assert grpc.StatusCode.OK == stream.status

    await router.stub.Stop(routerpb.StopRequest(request_id="never"), timeout=10.0)


@pytest.mark.parametrize(("route", "mark"), [("stop-context", "st"), ("stop-reset", "sr"), ("carry-stop", "sc")])
async def test_whenever_it_is_stopped_what_began_is_told(router: Router, seen: Seen, route: str, mark: str) -> None:
    """Attempts fail and begin in the same milliseconds: each that was announced is reported, and none is secret."""
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
