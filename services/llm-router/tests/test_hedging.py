"""A second target beside a silent first one: the first real content wins, the loser is cancelled and recorded."""

from __future__ import annotations

import asyncio

import pytest

from fault_provider.answers import expected_text
from kit.router.process import Router, Seen
from spillway.router.v1 import router_pb2 as routerpb

WHOLE = expected_text("ok")


def by_number(attempts: list[routerpb.Attempt]) -> list[tuple[int, str, str]]:
    """Return number, outcome and error code of each attempt, in order."""
    outcomes = [(a.attempt_number, routerpb.Outcome.Name(a.outcome)[8:].lower(), a.error_code) for a in attempts]
    return sorted(outcomes)


async def ended(seen: Seen, test: str) -> str:
    """Wait until the provider's newest attempt of `test` is over; return how."""
    async with asyncio.timeout(20):
        while (finish := str(seen.attempts(test)[-1]["finish"])) == "open":
            await asyncio.sleep(0.02)
    return finish


async def test_silent_first_target_loses_to_the_second(router: Router, seen: Seen) -> None:
    """Long before its timer; its connection is closed, and it is billed for the prompt."""
    stream = await router.complete("hedge-silence")

    assert WHOLE == "".join(stream.texts)
    assert [2] == stream.answering
    assert [(1, "client_cancelled", "hedge_lost"), (2, "ok", "")] == by_number(stream.attempts)
    loser = next(attempt for attempt in stream.attempts if attempt.attempt_number == 1)
    assert (routerpb.USAGE_SOURCE_ESTIMATED, 0) == (loser.usage_source, loser.usage.output_tokens)
    assert loser.usage.input_tokens > 0
    assert routerpb.FINISH_REASON_CANCELLED == loser.finish_reason
    assert loser.duration.ToMilliseconds() < 4000
    assert stream.finished is not None
    assert (20 - 8, 8) == (stream.finished.usage.input_tokens, stream.finished.usage.output_tokens)
    assert "client_closed" == await ended(seen, "hs-1")


async def test_first_target_may_still_win(router: Router, seen: Seen) -> None:
    """It is late, but the second is later."""
    stream = await router.complete("hedge-late")

    assert WHOLE == "".join(stream.texts)
    assert [1] == stream.answering
    assert [(1, "ok", ""), (2, "client_cancelled", "hedge_lost")] == by_number(stream.attempts)
    assert "client_closed" == await ended(seen, "hl-2")


async def test_quick_first_target_is_not_hedged(router: Router, seen: Seen) -> None:
    """A second attempt that is not needed costs nothing."""
    stream = await router.complete("hedge-quick")

    assert [(1, "ok", "")] == by_number(stream.attempts)
    assert [] == seen.attempts("hq-2")


@pytest.mark.parametrize("second", ["error", "pings", "role", "refusal"])
async def test_only_content_wins(router: Router, seen: Seen, second: str) -> None:
    """An error frame, a ping, a role, a refusal: with each of them the first target still answers."""
    stream = await router.complete(f"hedge-{second}")

    assert WHOLE == "".join(stream.texts)
    assert [1] == stream.answering
    assert 1 == len(seen.attempts(f"h{second}-2"))
    assert {1, 2} == {attempt.attempt_number for attempt in stream.attempts}
    assert stream.finished is not None


async def test_when_the_first_fails_the_hedge_goes_on(router: Router, seen: Seen) -> None:
    """The second is already running: no retry, no third target."""
    stream = await router.complete("hedge-timeout")

    assert WHOLE == "".join(stream.texts)
    assert [(1, "timeout", "timeout"), (2, "ok", "")] == by_number(stream.attempts)
    assert stream.started[1].started_at.ToMilliseconds() - stream.started[0].started_at.ToMilliseconds() < 1000
    assert [] == seen.attempts("never")


async def test_when_both_fail_the_next_target_is_asked(router: Router) -> None:
    """The route has more targets than the two."""
    stream = await router.complete("hedge-both")

    assert WHOLE == "".join(stream.texts)
    assert [(1, "timeout", "timeout"), (2, "timeout", "timeout"), (3, "ok", "")] == by_number(stream.attempts)
    assert [3] == stream.answering


async def test_callers_error_ends_the_race(router: Router, seen: Seen) -> None:
    """The silent target would reject it too."""
    stream = await router.complete("hedge-400")

    assert stream.error is not None
    assert "invalid_request" == stream.error.code
    assert [(1, "client_cancelled", "hedge_lost"), (2, "rejected", "invalid_request")] == by_number(stream.attempts)
    assert "client_closed" == await ended(seen, "h4-1")


async def test_budget_bounds_the_race(router: Router, seen: Seen) -> None:
    """A budget of one allows no hedge."""
    before = len(seen.attempts("hl-2"))
    stream = await router.complete("hedge-late", budget=1)

    assert [(1, "ok", "")] == by_number(stream.attempts)
    assert before == len(seen.attempts("hl-2"))


async def test_hedging_stays_within_its_share_of_the_requests(router: Router, seen: Seen) -> None:
    """A tenth of twenty, and two that were saved up: not twenty."""
    streams = await asyncio.gather(*(router.complete("hedge-capped") for _ in range(20)))

    assert {WHOLE} == {"".join(stream.texts) for stream in streams}
    assert 1 <= len(seen.attempts("hcap-2")) <= 4


async def test_cancelled_call_ends_both_attempts(router: Router, seen: Seen) -> None:
    """Neither connection stays open."""
    request = routerpb.StreamCompletionRequest(
        request_id="gone", route="hedge-late", body=b'{"messages":[{"role":"user","content":"x"}]}'
    )
    call = router.stub.StreamCompletion(request, timeout=30)
    started = 0
    async for message in call:
        started += message.HasField("started")
        if started == 2:
            break
    async with asyncio.timeout(20):
        while not seen.attempts("hl-2"):  # it is announced before it is made
            await asyncio.sleep(0.02)
    call.cancel()

    assert "client_closed" == await ended(seen, "hl-1")
    assert "client_closed" == await ended(seen, "hl-2")
