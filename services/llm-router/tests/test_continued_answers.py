"""An answer that broke off is continued by the next target if that is allowed; both attempts are billed."""

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
async def test_next_target_continues_where_the_first_broke_off(
    router: Router, first: str, fault: str, characters: int
) -> None:
    """Every word arrives once and in order, the continuation is announced, both attempts are recorded."""
    stream = await router.complete(f"carry-{fault}-{first}")

    assert WHOLE == "".join(stream.texts)
    (continued,) = stream.continuations
    assert (2, characters) == (continued.attempt_number, continued.after_characters)
    assert continued.reason == stream.attempts[0].error_code
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


async def test_repeated_words_are_left_out(router: Router) -> None:
    """The second target repeats the last words only, as it was asked to."""
    stream = await router.complete("carry-anchor")

    assert "".join(f"w{number} " for number in range(30)) == "".join(stream.texts)
    assert [1, 2] == stream.answering
    assert 20 * 3 + 10 == stream.continuations[0].after_characters


async def test_second_target_gets_the_delivered_text_as_a_finished_turn(router: Router, seen: Seen) -> None:
    """No prefill: the delivered text is a finished turn and the last turn is the user's."""
    body = {"messages": ASKED, "max_tokens": 500, "temperature": 0}
    await router.complete("carry-cut-anthropic", body)

    asked: Any = seen.attempts("c-cut-anthropic-2")[-1]["body"]
    assert ["user", "assistant", "user"] == [message["role"] for message in asked["messages"]]
    assert "w0 w1 w2 " == asked["messages"][1]["content"]
    assert (0, 500 - 3 + 32) == (asked["temperature"], asked["max_tokens"])


async def test_answer_to_something_else_is_not_joined(router: Router) -> None:
    """The second target starts anew: the stream ends with the error, and both attempts are billed."""
    stream = await router.complete("carry-elsewhere")

    assert "w0 w1 w2 " == "".join(stream.texts)
    assert grpc.StatusCode.ABORTED == stream.status
    assert stream.error is not None
    assert ("stream_interrupted", 9) == (stream.error.code, stream.error.delivered_characters)
    assert [] == stream.continuations
    assert ["stream_broken", "splice_not_found"] == [attempt.error_code for attempt in stream.attempts]
    assert routerpb.USAGE_SOURCE_ESTIMATED == stream.attempts[1].usage_source
    assert stream.attempts[1].usage.output_tokens > 0


async def test_no_more_than_two_continuations(router: Router) -> None:
    """One that does not continue is dropped, the next one breaks off as well, the last one ends the answer."""
    stream = await router.complete("carry-third")

    assert WHOLE == "".join(stream.texts)
    assert [(3, 9), (4, 15)] == [(each.attempt_number, each.after_characters) for each in stream.continuations]
    assert [1, 3, 4] == stream.answering
    assert stream.finished is not None


async def test_target_that_only_repeats_adds_nothing(router: Router) -> None:
    """It repeats the last words and falls silent; the next one repeats them as well, and they are left out again."""
    stream = await router.complete("carry-repeated")

    assert WHOLE == "".join(stream.texts)
    assert [(3, 9)] == [(each.attempt_number, each.after_characters) for each in stream.continuations]
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


async def test_open_tool_call_is_not_continued(router: Router, seen: Seen) -> None:
    """Half a call cannot be joined."""
    stream = await router.complete("carry-tool")

    assert grpc.StatusCode.ABORTED == stream.status
    assert stream.choices
    assert [] == seen.attempts("never")


@pytest.mark.parametrize(
    ("route", "requested", "is_continued"),
    [
        ("plain-cut", routerpb.CONTINUATION_UNSPECIFIED, False),
        ("plain-cut", NEVER, False),
        ("plain-cut", ALLOW, True),
        ("carry-not-wish", NEVER, False),
    ],
)
async def test_request_overrides_the_route(
    router: Router, route: str, requested: routerpb.Continuation.ValueType, is_continued: bool
) -> None:
    """The route decides only when the request does not."""
    stream = await router.complete(route, continuation=requested)

    assert is_continued == (stream.finished is not None)
    assert is_continued == bool(stream.continuations)


@pytest.mark.parametrize(("route", "budget"), [("carry-nobody", 0), ("carry-not-budget", 1)])
async def test_stream_ends_with_the_error_when_no_target_is_left(router: Router, route: str, budget: int) -> None:
    """Without another target or attempt the error says how much was delivered."""
    stream = await router.complete(route, budget=budget)

    assert stream.error is not None
    assert ("stream_interrupted", 9) == (stream.error.code, stream.error.delivered_characters)
    assert 1 == len(stream.attempts)
