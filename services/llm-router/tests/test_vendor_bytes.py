"""What vendors really send, byte by byte: how the answer ends, what is counted, and what the log says of it."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from kit.router.process import Router, Seen, Stream
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]
DONE = "data: [DONE]\n\n"
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
CUT: Json = {"end": "cut"}
HANG: Json = {"end": "hang"}
RESET: Json = {"end": "reset"}


def chunk(content: object = None, reason: object = None, **more: object) -> str:
    """Write a chunk of OpenAI's wire as an event."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more})


def event(data: object, name: str = "") -> str:
    """Write an event."""
    return (f"event: {name}\n" if name else "") + f"data: {orjson.dumps(data).decode()}\n\n"


def usage() -> str:
    """Write the chunk with the usage that ends an answer."""
    return event({"id": "c", "choices": [], "usage": USAGE})


def said(kind: str, **more: object) -> str:
    """Write an event of Anthropic's wire."""
    return event({"type": kind, **more}, kind)


def message(*texts: str, reason: str | None = "end_turn") -> list[str]:
    """Write a message of Anthropic's wire up to its stop reason."""
    deltas = [said("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts]
    return [
        said("message_start", message={"model": "m", "usage": {"input_tokens": 10, "output_tokens": 1}}),
        said("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *deltas,
        said("content_block_stop", index=0),
        said("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 2}),
    ]


async def reported(router: Router, route: str, *steps: object, **fields: object) -> Stream:
    """Let the provider of `route` do these steps."""
    prompt = orjson.dumps(steps).decode()
    provider_needs = {"max_tokens": 99} if route.endswith("anthropic") else {}
    body = {"messages": [{"role": "user", "content": prompt}], **provider_needs, **fields}
    return await router.complete(route, body, timeout_seconds=60.0)


def ended(stream: Stream) -> tuple[str, str, str]:
    """Return the text, how it ended, and the error code of the attempt."""
    (attempt,) = stream.attempts
    reason = (
        "" if stream.finished is None else routerpb.FinishReason.Name(stream.finished.finish_reasons[0])[14:].lower()
    )
    return "".join(stream.texts), reason or (stream.error.code if stream.error else ""), attempt.error_code


@pytest.mark.parametrize(
    "steps",
    [
        # a finish reason with every chunk, and a pause in which no end may be seen
        [chunk("one ", "stop"), 3.0, chunk("two ", "stop"), 3.0, chunk("three", "stop"), DONE],
        [chunk("one ", "stop"), chunk("two three", "stop"), usage()],
        # content behind the finish reason
        [chunk("one "), chunk(None, "stop"), chunk("two "), chunk("three"), usage(), DONE],
        [chunk("one "), chunk(None, "tool_calls"), 2.5, chunk("two three"), chunk(None, "stop"), usage(), DONE],
        [chunk("one two three", "length"), chunk("", "stop"), DONE],
        # the end marker missing, or its blank line, or the finish reason's
        [chunk("one two three"), chunk(None, "stop")],
        [chunk("one two three"), chunk(None, "stop"), "data: [DONE]"],
        [chunk("one two three"), chunk(None, "stop").rstrip()],
        [chunk("one two "), chunk("three", "stop").rstrip() + "\n"],
        # usage and silence, or a lost connection
        [chunk("one two three"), chunk(None, "stop"), usage(), CUT],
        [chunk("one two three"), chunk(None, "stop"), usage(), HANG],
        # one object instead of a stream
        [orjson.dumps({"choices": [{"message": {"content": "one two three"}, "finish_reason": "stop"}]}).decode()],
        ["  \n", orjson.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "one two three"},
         "finish_reason": "stop"}], "usage": USAGE}).decode()],
    ],
)  # fmt: skip
async def test_all_that_comes_until_the_stream_ends_is_the_answer(router: Router, steps: list[object]) -> None:
    """Whatever stands between."""
    text, reason, _ = ended(await reported(router, "bytes-good-openai", *steps))

    assert "one two three" == text
    assert reason == ("length" if any("length" in str(step) for step in steps) else "stop")


@pytest.mark.parametrize(
    "steps",
    [
        [*message("one two three"), said("message_stop")],
        [*message("one two three"), CUT],
        message("one two three"),
        [*message("one ", reason=None), *message("two three")[1:], said("message_stop")],
        [*message("one "), said("content_block_delta", delta={"type": "text_delta", "text": "two three"}),
         said("message_stop")],
        [*message("one two three")[:-1], said("message_delta", delta={"stop_reason": "end_turn"}).rstrip()],
        [orjson.dumps({"type": "message", "model": "m", "content": [{"type": "text", "text": "one two three"}],
         "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 2}}).decode()],
    ],
)  # fmt: skip
async def test_the_same_on_anthropics_wire(router: Router, steps: list[object]) -> None:
    """Its stop reason is no end either."""
    assert ("one two three", "stop", "") == ended(await reported(router, "bytes-good-anthropic", *steps))


@pytest.mark.parametrize(
    ("kind", "steps", "code"),
    [
        # after a finish reason with every chunk nothing tells the end but the end marker
        ("lost", [chunk("one ", "stop"), chunk("two ", "stop")], "stream_broken"),
        ("lost", [chunk("one ", "stop"), CUT], "stream_broken"),
        ("hung", [chunk("one ", "stop"), HANG], "timeout"),
        ("hung", [chunk("one "), chunk(None, "stop"), HANG], "timeout"),
        ("lost", [chunk("one "), chunk(None, "stop"), chunk("two ")], "stream_broken"),
        ("bad", [chunk("one "), chunk(None, "stop"), "data: {not json\n\n"], "stream_broken"),
        ("bad", [chunk("one "), chunk(None, "stop"), 'data: {"choices": [{"del'], "stream_broken"),
        ("bad", [chunk("one "), "data: [DO"], "stream_broken"),
        ("bad", ['{"choices": [{"message": {"content": "one "}, "finish_reason": "st'], "stream_broken"),
    ],
)
async def test_an_answer_that_may_be_cut_short_is_no_success(
    router: Router, kind: str, steps: list[object], code: str
) -> None:
    """It would be delivered and cached as whole."""
    stream = await reported(router, f"bytes-{kind}-openai", *steps)

    assert stream.finished is None
    assert code == ended(stream)[2]


async def test_usage_that_comes_seconds_later_is_counted(router: Router) -> None:
    """What the provider counted is billed, not what we would guess."""
    stream = await reported(router, "bytes-ends-openai", chunk("one"), chunk(None, "stop"), 4.0, usage(), DONE)

    (attempt,) = stream.attempts
    assert routerpb.USAGE_SOURCE_REPORTED == attempt.usage_source
    assert (10, 2) == (attempt.usage.input_tokens, attempt.usage.output_tokens)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_silence_is_the_end_where_a_server_is_known_to_end_so(router: Router, provider: str) -> None:
    """But not when content followed its finish reason."""
    whole = [*message("one", reason=None)[:-1], said("message_delta", delta={"stop_reason": "end_turn"})]
    steps = [chunk("one"), chunk(None, "stop")] if provider == "openai" else whole
    quick, lost = await asyncio.gather(
        reported(router, f"bytes-silent-{provider}", *steps, HANG),
        reported(router, f"bytes-silent-{provider}", *steps, CUT),
    )
    assert [("one", "stop", "")] * 2 == [ended(quick), ended(lost)]

    if provider == "openai":
        stream = await reported(router, "bytes-silent-openai", *steps, chunk("two"), CUT)
        assert ("onetwo", "stream_interrupted", "stream_broken") == ended(stream)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}},
        {"error": {"message": "no", "type": "BadRequestError", "code": "400"}},
        {"error": {"message": "no", "type": "invalid_request_error", "code": None}},
        {"error": {"message": "no", "code": 422}},
        {"object": "error", "message": "no", "type": "BadRequestError", "param": None, "code": 400},
        {"error": "no", "error_type": "validation"},
        {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_callers_mistake_inside_a_stream_is_the_callers_400(router: Router, provider: str, error: Json) -> None:
    """Not retryable, not billed, and, though it happens over and over, the target stays in use for everybody else."""
    route = f"bytes-mine-{provider}"
    data = event({**error, "type": "error"} if provider == "anthropic" and "error" in error else error, "error")
    steps = [data] if provider == "anthropic" else [event(error)]
    for _ in range(3):
        stream = await reported(router, route, *steps)
        assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
        assert stream.error is not None
        assert ("invalid_request", "no", False) == (stream.error.code, stream.error.message, stream.error.retryable)
        (attempt,) = stream.attempts
        assert not attempt.HasField("usage")
    good = message("one") if provider == "anthropic" else [chunk("one", "stop"), DONE]
    assert ("one", "stop", "") == ended(await reported(router, route, *good))


async def test_a_callers_mistake_after_content_is_not_worth_a_retry(router: Router) -> None:
    """The stream is interrupted; the same request would break off again."""
    steps = [chunk("one "), event({"error": {"message": "no", "code": 400}})]
    stream = await reported(router, "bytes-mine-openai", *steps)

    assert stream.error is not None
    assert ("stream_interrupted", False) == (stream.error.code, stream.error.retryable)


async def test_what_only_whole_answers_have_is_fetched_whole(router: Router, seen: Seen) -> None:
    """VLLM refuses `prompt_logprobs` in a stream; the answer then takes as long as it takes."""
    whole = {
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "one", "refusal": None, "tool_calls": []},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": "END",
                "token_ids": [5, 6],
            }
        ],
        "usage": USAGE,
        "prompt_logprobs": [None, {"5": {"logprob": -0.5}}],
    }
    stream = await reported(router, "bytes-hung-openai", 1.5, orjson.dumps(whole).decode(), prompt_logprobs=1)

    assert not seen.attempts("bytes-hung-openai")[-1]["stream"]
    ((choice,),) = stream.choices
    assert ({"role": "assistant", "content": "one"}, "END", [5, 6]) == (
        choice["delta"],
        choice["stop_reason"],
        choice["token_ids"],
    )
    assert stream.finished is not None
    assert 2 == stream.finished.usage.output_tokens


ESCAPES = ["\\ud83d", "\\udc00x", "\\u0000", "a\\u0000b"]


@pytest.mark.parametrize("escape", ESCAPES)
async def test_a_bad_character_costs_no_answer(router: Router, escape: str) -> None:
    """A lone surrogate and a NUL are replaced, in text, names and facts."""
    raw = chunk("@ ", model="m@", system_fingerprint="f@").replace("@", escape)
    stream = await reported(router, "bytes-good-openai", raw, chunk("end", "stop"), DONE)

    (text, reason, _) = ended(stream)
    assert "stop" == reason
    assert text.endswith(" end")
    assert "\ufffd" in text
    assert stream.finished is not None
    assert "\ufffd" in stream.finished.response_model
    assert "\0" not in text + stream.finished.response_model + stream.finished.system_fingerprint


async def test_a_fingerprint_may_come_last(router: Router) -> None:
    """And is told with the end."""
    stream = await reported(
        router, "bytes-good-openai", chunk("one"), chunk(None, "stop", system_fingerprint="fp"), usage(), DONE
    )

    assert stream.finished is not None
    assert "fp" == stream.finished.system_fingerprint


NUMBERS = itertools.count()


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([chunk("a"), "data: {SECRET\n\n"], "an event of the stream is not JSON (JSONDecodeError)"),
        ([chunk("a"), chunk(["x", 5])], "the content of a chunk is not a text"),
        ([chunk("a"), chunk(None, "abort")], "the answer ended for a reason that is no end of an answer: 'abort'"),
        ([chunk("a"), chunk(None, "the SECRET")], "the answer ended for a reason that is no end of an answer"),
        ([chunk("a")], "the answer ended without a finish reason"),
        ([chunk("a"), CUT], "the connection broke (RemoteProtocolError)"),
        (
            [chunk("a"), event({"error": {"message": "SECRET", "type": "odd_error"}})],
            "the provider reported an error in its stream: 'odd_error'",
        ),
        ([event({"error": {"message": "SECRET", "code": 400}})], "the provider answered 400"),
    ],
)
async def test_the_log_says_in_a_sentence_why_an_attempt_failed(
    router: Router, router_log: Path, steps: list[object], sentence: str
) -> None:
    """Without a word of prompt or answer, nor of what the provider quotes of them."""
    number = next(NUMBERS)
    await reported(router, f"bytes-log-{number}", *steps)

    lines = [orjson.loads(line) for line in router_log.read_text().splitlines() if f'"bytes-log-{number}-1"' in line]
    (cause,) = [line["cause"] for line in lines if line["event"] == "attempt_failed"]
    assert sentence == cause
    assert "SECRET" not in str(lines)


async def test_a_vendor_counts_and_is_recorded_under_its_own_name(router: Router, router_log: Path) -> None:
    """Reasoning that stands beside the completion is billed, and a total that nothing explains is logged once."""
    counts = {"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}
    steps = [chunk("x", "stop"), event({"id": "c", "choices": [], "usage": {**counts, "total_tokens": 135}}), DONE]
    good = (await reported(router, "bytes-xai", *steps)).attempts[0]
    steps[1] = event({"id": "c", "choices": [], "usage": {**counts, "total_tokens": 999}})
    strange = (await reported(router, "bytes-xai", *steps)).attempts[0]

    assert ("xai", 32, 103, 94) == (
        good.provider,
        good.usage.input_tokens,
        good.usage.output_tokens,
        good.usage.reasoning_output_tokens,
    )
    assert 103 == strange.usage.output_tokens
    lines = [orjson.loads(line) for line in router_log.read_text().splitlines() if "usage_total_disagrees" in line]
    assert [("bytes-xai-1", "xai", 999, 135)] == [
        (line["target"], line["provider"], line["total_tokens"], line["sum_of_parts"]) for line in lines
    ]


async def test_what_anthropic_runs_itself_is_recorded(router: Router) -> None:
    """Writes of an hour, searches, and code for the vendor's shortest time, also of an answer that breaks off."""
    written = {"cache_creation_input_tokens": 70, "cache_creation": {"ephemeral_1h_input_tokens": 40}}
    start = {"model": "m", "usage": {"input_tokens": 10, "output_tokens": 1, "inference_geo": "us", **written}}
    code = {"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "t", "content": []}
    steps = [
        said("message_start", message=start),
        said("content_block_start", index=0, content_block=code),
        said("content_block_start", index=1, content_block=found),
        said("content_block_start", index=2, content_block={"type": "text", "text": "x"}),
    ]
    end = said("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
    whole = (await reported(router, "bytes-good-anthropic", *steps, end, said("message_stop"))).attempts[0]
    broken = (await reported(router, "bytes-lost-anthropic", *steps, CUT)).attempts[0]

    for usage in (whole.usage, broken.usage):
        assert (80, 70, 40) == (
            usage.input_tokens,
            usage.provider_cache_write_input_tokens,
            usage.provider_cache_write_1h_input_tokens,
        )
        assert (1, 300, "us") == (usage.web_search_requests, usage.code_execution_seconds, usage.service_tier)
