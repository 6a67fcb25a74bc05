"""An answer that broke off is carried on by the next target: if allowed, told, both billed; or not at all."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from fault_provider.answers import expected_text
from kit.router.process import Router, Seen
from spillway.router.v1 import router_pb2 as routerpb

WHOLE = expected_text("ok")
ASKED = [{"role": "user", "content": "hello"}]
ALLOW, NEVER = routerpb.CONTINUATION_ALLOW, routerpb.CONTINUATION_NEVER


@pytest.mark.parametrize("first", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "characters"),
    [("cut", 9), ("stall", 9), ("malformed", 9), ("error-frame", 9), ("missing-end", 24), ("unknown-finish", 24)],
)
async def test_the_next_target_carries_on_where_the_first_broke_off(
    router: Router, first: str, fault: str, characters: int
) -> None:
    """Every word once, in order; the seam told between them; both attempts recorded with what they used."""
    stream = await router.complete(f"carry-{fault}-{first}")

    assert WHOLE == "".join(stream.texts)
    (seam,) = stream.seams
    assert (2, characters) == (seam.attempt_number, seam.after_characters)
    assert seam.reason == stream.attempts[0].error_code
    broken, whole = stream.attempts
    assert (routerpb.OUTCOME_INTERRUPTED, routerpb.OUTCOME_OK) == (broken.outcome, whole.outcome)
    assert (routerpb.USAGE_SOURCE_ESTIMATED, routerpb.USAGE_SOURCE_REPORTED) == (
        broken.usage_source,
        whole.usage_source,
    )
    assert stream.finished is not None
    assert [routerpb.FINISH_REASON_STOP] == list(stream.finished.finish_reasons)
    usage = stream.finished.usage
    assert broken.usage.input_tokens + whole.usage.input_tokens == usage.input_tokens
    assert broken.usage.output_tokens + whole.usage.output_tokens == usage.output_tokens
    assert routerpb.USAGE_SOURCE_ESTIMATED == stream.finished.usage_source


async def test_the_repeated_words_are_left_out(router: Router) -> None:
    """The second target repeats the last words only, as it was asked to."""
    stream = await router.complete("carry-anchor")

    assert "".join(f"w{number} " for number in range(30)) == "".join(stream.texts)
    assert [1, 2] == stream.answering
    assert 20 * 3 + 10 == stream.seams[0].after_characters


async def test_the_second_target_is_asked_and_not_made_to_go_on(router: Router, seen: Seen) -> None:
    """No prefill: the delivered text is a finished turn and the last turn is the user's."""
    body = {"messages": ASKED, "max_tokens": 500, "temperature": 0}
    await router.complete("carry-cut-anthropic", body)

    asked: Any = seen.attempts("c-cut-anthropic-2")[-1]["body"]
    assert ["user", "assistant", "user"] == [message["role"] for message in asked["messages"]]
    assert "w0 w1 w2 " == asked["messages"][1]["content"]
    assert (0, 500 - 3 + 32) == (asked["temperature"], asked["max_tokens"])


async def test_an_answer_to_something_else_is_not_joined(router: Router) -> None:
    """The second target starts afresh: the end is the honest error, and both attempts are billed."""
    stream = await router.complete("carry-elsewhere")

    assert "w0 w1 w2 " == "".join(stream.texts)
    assert grpc.StatusCode.ABORTED == stream.status
    assert stream.error is not None
    assert ("stream_interrupted", 9) == (stream.error.code, stream.error.delivered_characters)
    assert [] == stream.seams
    assert ["stream_broken", "splice_not_found"] == [attempt.error_code for attempt in stream.attempts]
    assert routerpb.USAGE_SOURCE_ESTIMATED == stream.attempts[1].usage_source
    assert stream.attempts[1].usage.output_tokens > 0


async def test_two_seams_and_no_more(router: Router) -> None:
    """One that does not carry on is passed over, the next one breaks off as well, the last one ends it."""
    stream = await router.complete("carry-third")

    assert WHOLE == "".join(stream.texts)
    assert [(3, 9), (4, 15)] == [(seam.attempt_number, seam.after_characters) for seam in stream.seams]
    assert [1, 3, 4] == stream.answering
    assert stream.finished is not None


async def test_one_that_only_repeats_leaves_nothing_behind(router: Router) -> None:
    """It found the seam and fell silent; the next one repeats the same words, and they are left out again."""
    stream = await router.complete("carry-repeated")

    assert WHOLE == "".join(stream.texts)
    assert [(3, 9)] == [(seam.attempt_number, seam.after_characters) for seam in stream.seams]
    assert ["stream_broken", "timeout", ""] == [attempt.error_code for attempt in stream.attempts]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("n", {"n": 2}),
        ("logprobs", {"logprobs": True}),
        ("schema", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}),
        ("json", {"response_format": {"type": "json_object"}}),
        ("prefill", {"messages": [*ASKED, {"role": "assistant", "content": "w0"}]}),
    ],
)
async def test_what_cannot_be_joined_is_not_tried(
    router: Router, seen: Seen, name: str, fields: dict[str, object]
) -> None:
    """Several choices, probabilities, a format, a prefill of the caller's own."""
    stream = await router.complete(f"carry-not-{name}", {"messages": ASKED, **fields})

    assert grpc.StatusCode.ABORTED == stream.status
    assert [] == seen.attempts("never")


async def test_an_open_tool_call_is_not_carried_on(router: Router, seen: Seen) -> None:
    """Half a call cannot be joined."""
    stream = await router.complete("carry-tool")

    assert grpc.StatusCode.ABORTED == stream.status
    assert stream.choices
    assert [] == seen.attempts("never")


@pytest.mark.parametrize(
    ("route", "wish", "is_carried_on"),
    [
        ("plain-cut", routerpb.CONTINUATION_UNSPECIFIED, False),
        ("plain-cut", NEVER, False),
        ("plain-cut", ALLOW, True),
        ("carry-not-wish", NEVER, False),
    ],
)
async def test_the_wish_of_the_request_goes_before_the_routes(
    router: Router, route: str, wish: routerpb.Continuation.ValueType, is_carried_on: bool
) -> None:
    """Nobody gets a second answerer who does not want one."""
    stream = await router.complete(route, continuation=wish)

    assert is_carried_on == (stream.finished is not None)
    assert is_carried_on == bool(stream.seams)


@pytest.mark.parametrize(("route", "budget"), [("carry-nobody", 0), ("carry-not-budget", 1)])
async def test_with_nobody_left_the_end_is_honest(router: Router, route: str, budget: int) -> None:
    """No further target, or no further attempt: what was delivered is told."""
    stream = await router.complete(route, budget=budget)

    assert stream.error is not None
    assert ("stream_interrupted", 9) == (stream.error.code, stream.error.delivered_characters)
    assert 1 == len(stream.attempts)
