"""Answers, bounds and breakers of the chain; the rows of the decision table are in test_decision_table.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, expected_text
from kit.router.process import Router, Seen
from spillway.router.v1 import router_pb2 as routerpb

WHOLE = expected_text("ok")
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "anthropic"])


@pytest.mark.parametrize("route", ["ok", "ok-anthropic"])
async def test_good_answer_arrives_whole_with_its_usage(router: Router, route: str) -> None:
    """Content, one attempt, usage as inclusive totals, one end."""
    stream = await router.complete(route)

    assert WHOLE == "".join(stream.texts)
    assert [routerpb.OUTCOME_OK] == [attempt.outcome for attempt in stream.attempts]
    assert stream.finished is not None
    assert [routerpb.FINISH_REASON_STOP] == list(stream.finished.finish_reasons)
    usage = stream.finished.usage
    if route == "ok-anthropic":
        counts = (usage.provider_cache_read_input_tokens, usage.provider_cache_write_input_tokens)
        assert (20, 8, 5, 3) == (usage.input_tokens, usage.output_tokens, *counts)
    else:
        assert (12, 8) == (usage.input_tokens, usage.output_tokens)
    assert routerpb.USAGE_SOURCE_REPORTED == stream.attempts[0].usage_source


async def test_refused_connection_leads_to_the_next_target(router: Router) -> None:
    """Nothing listens at the first address: two attempts, then the second target."""
    stream = await router.complete("refused")

    assert WHOLE == "".join(stream.texts)
    assert [("vllm", "target_unreachable")] * 2 + [("openai", "ok")] == stream.outcomes


async def test_retry_can_save_the_request(router: Router, seen: Seen) -> None:
    """A target that fails once answers at the second attempt."""
    stream = await router.complete("flaky")

    assert WHOLE == "".join(stream.texts)
    assert [("openai", "provider_unavailable"), ("openai", "ok")] == stream.outcomes
    assert 2 == len(seen.attempts("flaky"))


@PROVIDERS
async def test_content_filter_is_the_answer(router: Router, provider: str) -> None:
    """A refusal is passed on, never routed around."""
    stream = await router.complete(f"content-filter-{provider}")

    assert stream.finished is not None
    assert [routerpb.FINISH_REASON_CONTENT_FILTER] == list(stream.finished.finish_reasons)
    assert "w0 w1 w2 " == "".join(stream.texts)


@PROVIDERS
async def test_tool_call_arrives_in_openais_shape(router: Router, provider: str) -> None:
    """Fragments with index, id and name first, arguments after."""
    stream = await router.complete(
        f"tool-call-{provider}",
        {
            "messages": [{"role": "user", "content": "weather?"}],
            "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
        },
    )

    calls = [choices[0]["delta"]["tool_calls"][0] for choices in stream.choices]
    assert "get_weather" == calls[0]["function"]["name"]
    assert calls[0]["id"]
    assert TOOL_ARGUMENTS == "".join(call["function"]["arguments"] for call in calls)
    assert stream.finished is not None
    assert [routerpb.FINISH_REASON_TOOL_CALL] == list(stream.finished.finish_reasons)


@PROVIDERS
async def test_answer_that_only_lacks_its_end_marker_is_whole(router: Router, provider: str) -> None:
    """The content and the finish reason came: a reader misses nothing."""
    stream = await router.complete(f"missing-done-{provider}")

    assert stream.finished is not None
    assert WHOLE == "".join(stream.texts)


@PROVIDERS
async def test_usage_that_was_not_reported_is_estimated_and_marked(router: Router, provider: str) -> None:
    """Spend is never 0 because a provider reports none."""
    stream = await router.complete(f"no-usage-{provider}")

    assert stream.finished is not None
    (attempt,) = stream.attempts
    assert routerpb.USAGE_SOURCE_ESTIMATED == attempt.usage_source
    assert attempt.usage.input_tokens > 0
    assert attempt.usage.output_tokens > 0


@PROVIDERS
async def test_empty_answer_is_an_answer(router: Router, provider: str) -> None:
    """No content with a finish reason is a whole answer."""
    stream = await router.complete(f"empty-{provider}")

    assert [] == stream.texts
    assert stream.finished is not None


async def test_error_names_every_target_when_none_answers(router: Router) -> None:
    """All targets down: one error, every attempt reported."""
    stream = await router.complete("all-down")

    assert grpc.StatusCode.UNAVAILABLE == stream.status
    assert stream.error is not None
    assert ("all_targets_failed", True) == (stream.error.code, stream.error.retryable)
    assert "all-down-1: provider_unavailable" in stream.error.message
    assert ["openai"] * 2 + ["anthropic"] * 2 == [attempt.provider for attempt in stream.attempts]
    assert [] == stream.texts


async def test_shortest_retry_after_is_passed_on_when_all_targets_limit(router: Router) -> None:
    """All targets rate-limited: the caller gets the shortest Retry-After."""
    stream = await router.complete("all-limited")

    assert stream.error is not None
    assert ("rate_limited", 5) == (stream.error.code, stream.error.retry_after.seconds)


async def test_prompt_too_long_for_every_target_is_the_callers_error(router: Router) -> None:
    """No target has a larger context: the error comes back as it is."""
    stream = await router.complete("all-too-small")

    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
    assert stream.error is not None
    assert "context_length_exceeded" == stream.error.code


async def test_attempt_budget_bounds_the_whole_chain(router: Router) -> None:
    """A budget of two makes one attempt at each target and no retry."""
    stream = await router.complete("all-down", budget=2)

    assert ["openai", "anthropic"] == [attempt.provider for attempt in stream.attempts]


async def test_deadline_bounds_the_whole_chain(router: Router) -> None:
    """Time runs out while a target is silent: the router reports it before the caller's own deadline."""
    stream = await router.complete("table-silence-openai", timeout_seconds=0.9)

    assert grpc.StatusCode.DEADLINE_EXCEEDED == stream.status
    assert stream.error is not None
    assert "deadline_exceeded" == stream.error.code
    assert [routerpb.OUTCOME_TIMEOUT] == [attempt.outcome for attempt in stream.attempts]


async def test_stream_timer_bounds_an_attempt(router: Router, seen: Seen) -> None:
    """A stream that never ends is cut by the target's own bound and reported as interrupted."""
    stream = await router.complete("endless")

    assert grpc.StatusCode.ABORTED == stream.status
    (attempt,) = stream.attempts
    assert (routerpb.OUTCOME_INTERRUPTED, "timeout") == (attempt.outcome, attempt.error_code)
    assert 1000 <= attempt.duration.ToMilliseconds() < 6000
    assert 0 < len(stream.texts) < 2000


async def test_breaker_of_a_target_that_is_down_opens(router: Router, seen: Seen) -> None:
    """Its breaker opens after five failures: from then on the requests go straight to the next target."""
    streams = [await router.complete("down-then-ok") for _ in range(12)]

    assert {WHOLE} == {"".join(stream.texts) for stream in streams}
    assert 1 == len(streams[-1].attempts)
    assert len(seen.attempts("dto-1")) <= 8  # five, and a probe now and then


async def test_short_deadline_opens_no_breaker(router: Router) -> None:
    """The request ran out of its own time, which is not the target's fault."""
    hurried = [await router.complete("hurried", timeout_seconds=0.9) for _ in range(6)]
    patient = await router.complete("hurried")

    assert {grpc.StatusCode.DEADLINE_EXCEEDED} == {stream.status for stream in hurried}
    assert ["hurried-1"] == [attempt.target for attempt in patient.attempts]


async def test_last_target_is_tried_although_its_breaker_is_open(router: Router, seen: Seen) -> None:
    """A route with one target is always tried, but only once a request."""
    streams = [await router.complete("down-alone") for _ in range(10)]

    assert all(stream.attempts for stream in streams)
    assert {"all_targets_failed"} == {stream.error.code for stream in streams if stream.error is not None}
    assert len(seen.attempts("da-1")) >= 10


async def test_unknown_route_lists_the_known_ones(router: Router) -> None:
    """The status is NOT_FOUND."""
    stream = await router.complete("nowhere")

    assert grpc.StatusCode.NOT_FOUND == stream.status
    assert stream.error is not None
    assert "model 'nowhere' does not exist; there are: all-down" in stream.error.message


async def test_long_model_name_is_cut_in_the_error(router: Router) -> None:
    """An error that is too long for gRPC would take other calls of the connection with it."""
    stream = await router.complete("x" * 1_000_000)

    assert grpc.StatusCode.NOT_FOUND == stream.status
    assert stream.error is not None
    assert f"model '{'x' * 200}' does not exist" in stream.error.message


@pytest.mark.parametrize("body", [[], {}, {"messages": "hi"}, "text"])
async def test_body_that_is_no_chat_body_is_refused(router: Router, body: object) -> None:
    """The router does not trust its caller to have checked."""
    stream = await router.complete("ok", body)

    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status


async def test_field_without_counterpart_is_named(router: Router) -> None:
    """A field that Anthropic does not have is refused by name when no other target is left."""
    stream = await router.complete("ok-anthropic", {"messages": [{"role": "user", "content": "x"}], "n": 2})

    assert stream.error is not None
    assert ("unsupported_parameter", "n") == (stream.error.code, stream.error.param)


async def test_rapid_chunks_travel_together_and_the_first_one_at_once(router: Router) -> None:
    """Many chunks travel in few messages, each still by itself; the first is not delayed."""
    request = routerpb.StreamCompletionRequest(
        request_id="rapid", route="rapid", body=b'{"messages":[{"role":"user","content":"x"}]}'
    )
    deltas = [
        list(message.delta.texts)
        async for message in router.stub.StreamCompletion(request, timeout=30)
        if message.HasField("delta")
    ]

    assert [f"w{number} " for number in range(64)] == [text for texts in deltas for text in texts]
    assert len(deltas) < 32
    assert len(deltas[0]) < 5


async def test_cancelled_call_closes_the_provider_connection(router: Router, seen: Seen) -> None:
    """Cancelling the call stops the provider, not only the reading."""
    request = routerpb.StreamCompletionRequest(
        request_id="gone", route="slow", body=b'{"messages":[{"role":"user","content":"x"}]}'
    )
    call = router.stub.StreamCompletion(request, timeout=30)
    async for message in call:
        if message.HasField("delta"):
            break
    call.cancel()

    async with asyncio.timeout(10):
        while seen.attempts("slow")[-1]["finish"] == "open":
            await asyncio.sleep(0.02)
    assert "client_closed" == seen.attempts("slow")[-1]["finish"]


async def test_log_has_failures_and_no_content(router: Router, router_log: Path) -> None:
    """Attempts that failed are named; neither prompt nor answer nor credential is anywhere."""
    secret = "a-very-secret-prompt"
    await router.complete("table-500-openai", {"messages": [{"role": "user", "content": secret}]})

    log = router_log.read_text()
    assert '"attempt_failed"' in log
    assert '"request_finished"' in log
    for word in (secret, "w0 ", "sk-test-credential", "Traceback"):
        assert word not in log
