"""Embeddings, row by row of the decision table: what the caller gets and what the provider sees."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fault_provider.embeddings import expected_vector
from kit.router.embeddings import EmbedRouter, running_embed_router
from kit.router.process import Seen
from spillway.router.v1 import router_pb2 as routerpb

HELLO = struct.pack("<8f", *expected_vector("hello"))


@pytest.fixture(scope="module", name="router")
async def _router(fault_provider_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbedRouter]:
    async with running_embed_router(tmp_path_factory.mktemp("embed-router"), fault_provider_url) as router:
        yield router


async def test_every_input_gets_its_vector_in_order(router: EmbedRouter, seen: Seen) -> None:
    """Little-endian float32, reported usage without output, one attempt."""
    inputs = [f"text {number}" for number in range(50)]
    reply = await router.embed("ok", inputs, user="ada", later_field={"a": 1})

    assert reply.response is not None
    assert [struct.pack("<5f", *expected_vector(text, 5)) for text in inputs] == list(reply.response.vectors)
    assert [("1", "ok")] == reply.outcomes
    usage = reply.response.usage
    assert (12, 0, True) == (usage.input_tokens, usage.output_tokens, usage.HasField("output_tokens"))
    assert routerpb.USAGE_SOURCE_REPORTED == reply.response.usage_source
    attempt = reply.attempts[0]
    assert (200, routerpb.FINISH_REASON_UNSPECIFIED) == (attempt.http_status, attempt.finish_reason)
    assert attempt.provider_request_id.startswith("req_fault")
    assert usage == attempt.usage
    (asked,) = seen.attempts("em-ok")
    assert {
        "model": "ok?dimensions=5&test=em-ok",
        "input": inputs,
        "encoding_format": "base64",
        "user": "ada",
        "later_field": {"a": 1},
    } == asked["body"]


async def test_engine_that_ignores_base64_is_understood(router: EmbedRouter, seen: Seen) -> None:
    """Numbers come instead; no credential is sent to an engine of our own."""
    reply = await router.embed("engine", [[1, 2], [3]], dimensions=4)

    assert reply.response is not None
    assert [struct.pack("<4f", *expected_vector(tokens, 4)) for tokens in ([1, 2], [3])] == list(reply.response.vectors)
    assert [False] == [attempt["has_authorization"] for attempt in seen.attempts("em-engine")]


@pytest.mark.parametrize(("embedded", "tokens"), [("a" * 400, 100), ([7] * 33, 33), (["abcde", [1, 2]], 4)])
async def test_what_the_provider_does_not_count_is_estimated(
    router: EmbedRouter, embedded: object, tokens: int
) -> None:
    """Texts by their length, tokens by their number; the output is 0, not unknown."""
    reply = await router.embed("no-usage", embedded)

    (attempt,) = reply.attempts
    assert (tokens, 0) == (attempt.usage.input_tokens, attempt.usage.output_tokens)
    assert attempt.usage.HasField("output_tokens")
    assert routerpb.USAGE_SOURCE_ESTIMATED == attempt.usage_source


@pytest.mark.parametrize(
    ("fault", "code", "tries", "billed"),
    [
        ("500", "provider_unavailable", 2, None),
        ("503", "provider_unavailable", 2, None),
        ("529", "provider_unavailable", 2, None),
        ("reset", "target_unreachable", 2, None),
        ("429", "rate_limited", 1, None),
        ("429-long", "rate_limited", 1, None),
        ("429-short", "rate_limited", 2, None),
        ("401", "credential_refused", 1, None),
        ("quota", "credential_refused", 1, None),
        ("context", "context_length_exceeded", 1, None),
        ("silence", "timeout", 1, "estimated"),
        ("silent-headers", "timeout", 1, "estimated"),
        ("stall", "timeout", 1, "estimated"),
        ("too-long", "timeout", 1, "estimated"),
        ("cut", "stream_broken", 1, "estimated"),
        ("malformed", "stream_broken", 1, "estimated"),
        ("error-frame", "provider_unavailable", 2, None),
        ("empty", "stream_broken", 1, "reported"),
        ("wrong-count", "stream_broken", 1, "reported"),
        ("wrong-index", "stream_broken", 1, "reported"),
        ("wrong-dimensions", "stream_broken", 1, "reported"),
        ("not-finite", "stream_broken", 1, "reported"),
    ],
)
async def test_fault_of_the_first_target_falls_back(
    router: EmbedRouter, seen: Seen, fault: str, code: str, tries: int, billed: str | None
) -> None:
    """The next target of the same model answers; what the first may bill is recorded, estimated or as reported."""
    reply = await router.embed(f"first-{fault}", ["hello", "you"])

    assert reply.response is not None
    assert HELLO == reply.response.vectors[0]
    assert [("1", code)] * tries + [("2", "ok")] == reply.outcomes
    assert [*range(1, tries + 2)] == [attempt.attempt_number for attempt in reply.attempts]
    for attempt in reply.attempts[:-1]:
        source = routerpb.UsageSource.Name(attempt.usage_source).removeprefix("USAGE_SOURCE_").lower()
        assert (billed or "unspecified", billed is not None) == (source, attempt.HasField("usage"))
        assert routerpb.FINISH_REASON_ERROR == attempt.finish_reason
    asked = seen.attempts(f"em-{fault}")
    assert tries + 1 == len(asked)
    if tries == 2:
        first, second, _ = [float(str(attempt["received_at"])) for attempt in asked]
        assert second - first >= (1.0 if fault == "429-short" else 0.1)
    if fault in {"silence", "silent-headers", "stall", "too-long"}:
        assert 0.9 <= float(str(asked[1]["received_at"])) - float(str(asked[0]["received_at"])) < 5.0


async def test_retry_can_save_the_request(router: EmbedRouter) -> None:
    """A target that fails once answers at the second attempt."""
    reply = await router.embed("stumbles")

    assert [("1", "provider_unavailable"), ("1", "ok")] == reply.outcomes


async def test_vectors_of_another_model_are_no_substitute(router: EmbedRouter, seen: Seen) -> None:
    """A target with another model is never asked, and the error says why."""
    reply = await router.embed("other-model")

    assert (grpc.StatusCode.UNAVAILABLE, "all_targets_failed") == (reply.status, reply.error.code)
    assert "cannot be mixed with others: other-model-2" in reply.error.message
    assert [("1", "provider_unavailable")] * 2 == reply.outcomes
    assert [] == seen.attempts("em-other")


async def test_targets_of_equal_rank_share_the_load_of_one_model(router: EmbedRouter, seen: Seen) -> None:
    """Whichever target comes first, the model is always that of the first one in the file."""
    targets = [target for _ in range(30) for target, _ in (await router.embed("equal-rank")).outcomes]

    assert {"1", "3"} == set(targets)
    assert [] == seen.attempts("em-rank-b")


async def test_target_without_embeddings_is_skipped(router: EmbedRouter, seen: Seen) -> None:
    """Anthropic has none: the first target that has them answers; a route without any is the caller's error."""
    reply = await router.embed("claude-first")
    nobody = await router.embed("claude-only")

    assert [("2", "ok")] == reply.outcomes
    assert (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", "model") == (
        nobody.status,
        nobody.error.code,
        nobody.error.param,
    )
    assert ([], None) == (nobody.attempts, nobody.started)
    assert [] == seen.attempts("em-claude")


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_request"), (404, "target_model_not_found"), (422, "invalid_request")]
)
async def test_callers_error_goes_back_at_once(router: EmbedRouter, seen: Seen, status: int, code: str) -> None:
    """No retry and no fallback; the error carries the attempt, which costs nothing."""
    reply = await router.embed(f"status-{status}")

    assert (grpc.StatusCode.INVALID_ARGUMENT, code) == (reply.status, reply.error.code)
    assert [("1", code)] == reply.outcomes
    assert not reply.attempts[0].HasField("usage")
    assert 1 == len(seen.attempts(f"em-{status}"))


async def test_error_names_every_target_when_none_answers(router: EmbedRouter) -> None:
    """Each target and why; a rate limit with the time to wait; a prompt too long for all as the caller's error."""
    down = await router.embed("all-down")
    limited = await router.embed("all-limited")
    small = await router.embed("all-too-small")

    assert [("1", "provider_unavailable")] * 2 + [("2", "provider_unavailable")] * 2 == down.outcomes
    assert ("all_targets_failed", True) == (down.error.code, down.error.retryable)
    assert "mixed" not in down.error.message
    assert ("rate_limited", 7) == (limited.error.code, limited.error.retry_after.seconds)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "context_length_exceeded") == (small.status, small.error.code)
    assert ("input", 2) == (small.error.param, len(small.attempts))


@pytest.mark.parametrize(("budget", "targets"), [(1, ["1"]), (2, ["1", "2"]), (3, ["1", "1", "2"])])
async def test_budget_leaves_an_attempt_for_each_target(router: EmbedRouter, budget: int, targets: list[str]) -> None:
    """A retry is made only when every target still gets its attempt."""
    reply = await router.embed(f"down-{budget}", budget=budget)

    assert targets == [target for target, _ in reply.outcomes]


async def test_deadline_bounds_the_call_and_the_attempt_is_reported(router: EmbedRouter) -> None:
    """The reason and the attempt arrive before the caller's own clock runs out."""
    reply = await router.embed("slow", timeout_seconds=1.5)

    assert (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded") == (reply.status, reply.error.code)
    assert [("1", "timeout")] == reply.outcomes
    assert routerpb.USAGE_SOURCE_ESTIMATED == reply.attempts[0].usage_source


async def test_short_deadlines_open_no_breaker(router: EmbedRouter) -> None:
    """A caller's own deadline is not the target's fault: it stays the first to be tried."""
    hasty = [router.embed("slow-twice", timeout_seconds=1.0) for _ in range(6)]
    replies = [*await asyncio.gather(*hasty), await router.embed("slow-twice", timeout_seconds=1.0)]

    assert [[("1", "timeout")]] * 7 == [reply.outcomes for reply in replies]


async def test_cancelled_call_closes_the_providers_connection(router: EmbedRouter, seen: Seen) -> None:
    """Nothing continues after the caller has gone."""
    call = router.call("slow", "hello")
    opened = await _open_attempt(seen)
    call.cancel()

    async with asyncio.timeout(15):
        while (ended := [a for a in seen.attempts("em-slow") if a["index"] == opened])[0]["finish"] == "open":
            await asyncio.sleep(0.01)
    assert "client_closed" == ended[0]["finish"]


async def test_caller_that_loses_the_router_knows_the_first_attempt(
    fault_provider_url: str, tmp_path: Path, seen: Seen
) -> None:
    """The first attempt is announced before it begins; a call that never reached a router knows of none."""
    async with running_embed_router(tmp_path, fault_provider_url) as router:
        running = asyncio.create_task(router.embed("slow"))
        await _open_attempt(seen)
        os.kill(router.pid, signal.SIGKILL)
        lost, unreached = await running, await router.embed("slow")

    assert (grpc.StatusCode.UNAVAILABLE, "", []) == (lost.status, lost.error.code, lost.attempts)
    assert lost.started is not None
    assert (1, "slow-1", "openai", "slow-first?seconds=20&test=em-slow") == (
        lost.started.attempt_number,
        lost.started.target,
        lost.started.provider,
        lost.started.target_model,
    )
    assert lost.started.started_at.seconds > 0
    assert (grpc.StatusCode.UNAVAILABLE, None) == (unreached.status, unreached.started)


async def _open_attempt(seen: Seen) -> object:
    async with asyncio.timeout(15):
        while not (opened := [a for a in seen.attempts("em-slow") if a["finish"] == "open"]):
            await asyncio.sleep(0.01)
    return opened[-1]["index"]


async def test_more_than_a_message_carries_is_the_callers_error_and_is_billed(router: EmbedRouter) -> None:
    """33 MB of vectors: fewer inputs at a time; what the provider counted is recorded."""
    reply = await router.embed("large", ["x"] * 420)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", "input") == (
        reply.status,
        reply.error.code,
        reply.error.param,
    )
    assert "send fewer inputs" in reply.error.message
    assert [(12, routerpb.USAGE_SOURCE_REPORTED)] == [(a.usage.input_tokens, a.usage_source) for a in reply.attempts]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"input":null}', b'{"input":[]}', b'{"input":[null]}', b'{"input":[["a"]]}', b'{"input":5}'],
)
async def test_invalid_body_is_refused(router: EmbedRouter, body: bytes) -> None:
    """The error names the field, and nothing was spent."""
    reply = await router.embed("ok", body)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "input", []) == (reply.status, reply.error.param, reply.attempts)


async def test_model_that_does_not_exist_is_named(router: EmbedRouter) -> None:
    """Also when it was removed after the edge had looked it up."""
    reply = await router.embed("nowhere")

    assert (grpc.StatusCode.NOT_FOUND, "model_not_found") == (reply.status, reply.error.code)


async def test_retries_keep_a_distance_that_varies(router: EmbedRouter, seen: Seen) -> None:
    """Jitter: two requests that failed together are not retried together."""
    pauses = []
    for number in (4, 5, 6):
        await router.embed(f"down-{number}", budget=3)
        times = [float(str(attempt["received_at"])) for attempt in seen.attempts(f"em-down-{number}")]
        pauses.append(times[1] - times[0])

    assert len({round(pause, 3) for pause in pauses}) > 1
    assert min(pauses) >= 0.1


async def test_target_whose_breaker_is_open_is_passed_over(router: EmbedRouter, seen: Seen) -> None:
    """A refused credential opens it at once; the last target of a route is tried anyway."""
    first, second = await router.embed("refused-once"), await router.embed("refused-once")
    alone = [await router.embed("refused") for _ in range(2)]

    assert [("1", "credential_refused"), ("2", "ok")] == first.outcomes
    assert [("2", "ok")] == second.outcomes
    assert 3 == len(seen.attempts("em-refused-once"))
    assert [[("1", "credential_refused")]] * 2 == [reply.outcomes for reply in alone]
