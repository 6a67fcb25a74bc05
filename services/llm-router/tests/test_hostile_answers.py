"""What a router keeps of an answer is bounded, however long the answer is: what is beyond is delivered and not kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import orjson
import pytest

from kit.router.hostile import (
    DONE,
    HANG,
    HostileProvider,
    HostileRouter,
    Script,
    chunk,
    delta_of,
    endlessly,
    event,
    forever,
    head,
    plays,
    running_hostile_router,
    said,
)
from kit.router.process import Stream
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
MAX_GROWTH = 64 * MEGABYTE
ENDS = chunk(None, "stop") + DONE
BODY = {"max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
NATIVE = routerpb.MessagesForm(body=orjson.dumps(BODY))


def repeated(count: int, *pieces: bytes) -> Iterator[bytes]:
    """Repeat the pieces."""
    for _ in range(count):
        yield from pieces


def fields() -> Iterator[bytes]:
    """Send fifty fields of four megabytes, one after the other."""
    for number in range(50):
        yield chunk("text", **{f"field{number}": ["v" * 1000] * 4000})


def ids() -> Iterator[bytes]:
    """Send a call whose fragments have another long id each."""
    for number in range(8000):
        call = {"index": 0, "id": f"{number}" + "i" * 20_000, "function": {"arguments": "x"}}
        yield delta_of(tool_calls=[call | ({"function": {"name": "f", "arguments": '{"'}} if not number else {})])


def unknown_units() -> Iterator[bytes]:
    """Send usage with very long names."""
    for number in range(150):
        yield event({"choices": [], "usage": {"prompt_tokens": 7, f"{number}" + "n" * MEGABYTE + "_tokens": 1}})


def open_calls() -> Iterator[bytes]:
    """Begin calls and end none."""
    for index in range(10_000):
        block = {"type": "tool_use", "id": f"t{index}", "name": "f", "input": {"x": "y" * 100_000}}
        yield said("content_block_start", index=index, content_block=block)


def deep(depth: int) -> bytes:
    """Write a list in a list in a list."""
    return b"[" * depth + b"]" * depth


TEXT = chunk("a text " * 9000)
SCRIPTS: dict[str, Script] = {
    "good": plays(chunk("good"), ENDS),
    "fields": plays(chunk("text"), fields, ENDS),
    "ids": plays(ids, ENDS),
    "held-call": endlessly(delta_of(tool_calls=[{"index": 0, "function": {"arguments": "x" * 50_000}}])),
    "long-call": plays(
        delta_of(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": "'}}]),
        lambda: repeated(1500, delta_of(tool_calls=[{"index": 0, "function": {"arguments": "x" * 50_000}}])),
        delta_of(tool_calls=[{"index": 0, "function": {"arguments": '"}'}}]),
        chunk(None, "tool_calls"),
        DONE,
    ),
    "units": plays(chunk("text"), unknown_units, ENDS),
    "pending": endlessly(
        said("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s" * 65536}),
        first=said("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
    ),
    "open-calls": plays(open_calls),
    "floods": endlessly(chunk("x" * MEGABYTE)),
    "long-text": plays(lambda: repeated(1500, TEXT), ENDS),
    "long-text-cut": plays(lambda: repeated(40, TEXT)),
    "odd-fields": plays(
        chunk("text"),
        event(b'{"choices": [], "a": 1' + b"0" * 100 + b', "b": ' + deep(190) + b', "c": "\\u0000"}'),
        event(b'{"choices": [], "d": ["' + b"x" * 5000 + b'", ' + deep(190) + b"]}"),
        ENDS,
    ),
    "deep-fields": plays(chunk("text"), event(b'{"choices": [], "d": ' + deep(300) + b"}"), ENDS),
    "odd-call": plays(
        event(
            b'{"x": "\\u0000", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "y": 1'
            + b"0" * 100 + b', "function": {"name": "f"}}]}}]}'
        ),
        ENDS,
    ),
    "hangs-at-the-end": plays(chunk("text"), ENDS, HANG),
    "floods-at-the-end": plays(chunk("text"), ENDS, lambda: forever(b": x\n" * 16384)),
    "names": plays(
        chunk("text", model="m" * MEGABYTE, system_fingerprint="f" * MEGABYTE, service_tier="t" * MEGABYTE), ENDS,
        headers=head(x_request_id="r" * 60_000),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    routes = {name: [f"openai:{name}"] for name in SCRIPTS}
    routes |= {f"{name}!": [f"anthropic:{name}"] for name in SCRIPTS}
    routes |= {f"carried-{name}": [f"openai:{name}", "openai:good"] for name in ("long-text", "long-text-cut")}
    options = {name: {"continuation": "allow"} for name in routes if name.startswith("carried-")}
    async with (
        HostileProvider(dict(SCRIPTS)).serving() as provider,
        running_hostile_router(
            tmp_path_factory.mktemp("hostile"),
            provider,
            routes,
            options=options,
            settings={"LLM_ROUTER_FRAME_INTERVAL_MS": "0"},  # or at most 6 MB/s would be read
        ) as router,
    ):
        await router.complete("good")  # imports, pools and buffers
        yield router


async def bounded(router: HostileRouter, name: str, **options: Any) -> Stream:
    """Run a completion; return how it went, when the router needed little memory for it."""
    before = router.reset_peak()
    stream = await router.complete(name, timeout_seconds=60.0, **options)
    growth = router.peak() - before
    assert growth < MAX_GROWTH, f"{growth / MEGABYTE:.0f} MB"
    return stream


async def test_fields_that_only_the_provider_knows(router: HostileRouter) -> None:
    """The answer is whole; of its fields there are as many as one event can hold."""
    stream = await bounded(router, "fields")

    assert stream.finished is not None
    kept = orjson.loads(stream.finished.response_fields)
    assert 1 <= len(kept) < 50
    assert 4 * MEGABYTE < len(stream.finished.response_fields) <= 8.1 * MEGABYTE


async def test_ids_of_calls(router: HostileRouter) -> None:
    """All fragments are delivered as those of one call."""
    stream = await bounded(router, "ids")

    assert stream.finished is not None
    assert 8000 == sum(len(choice["delta"]["tool_calls"]) for choices in stream.choices for choice in choices)


async def test_arguments_of_a_call(router: HostileRouter) -> None:
    """75 MB of them are delivered; those of a call that has no name are not waited for."""
    stream = await bounded(router, "long-call")
    assert stream.finished is not None
    assert [routerpb.FINISH_REASON_TOOL_CALL] == list(stream.finished.finish_reasons)
    assert 1502 == len(stream.choices)

    stream = await bounded(router, "held-call")
    assert [("openai", "stream_broken")] == stream.outcomes


async def test_units_that_are_billed(router: HostileRouter) -> None:
    """The counts that are known stay; the others have a bounded name."""
    stream = await bounded(router, "units")

    (attempt,) = stream.attempts
    assert 7 == attempt.usage.input_tokens
    assert len(attempt.usage.unpriced_units) < 500
    assert "unknown_tokens" in attempt.usage.unpriced_units


async def test_events_of_anthropics_wire_that_wait_for_content(router: HostileRouter) -> None:
    """Neither events that are no content, nor calls that are never ended, gather for long."""
    stream = await bounded(router, "pending!", messages_form=NATIVE, body=BODY)
    assert [("anthropic", "stream_broken")] == stream.outcomes

    stream = await bounded(router, "open-calls!", body=BODY)
    assert [("anthropic", "stream_broken")] == stream.outcomes


async def test_a_reader_that_does_not_read(router: HostileRouter) -> None:
    """The provider is not read either."""
    before = router.reset_peak()
    request = routerpb.StreamCompletionRequest(request_id="slow", route="floods", body=orjson.dumps(BODY))
    call = router.stub.StreamCompletion(request, timeout=30.0)
    async for message in call:
        if message.HasField("delta"):
            break
    sent = -1
    asked = router.provider.asked["floods"][-1]
    while sent != asked.sent_bytes:  # until nothing moves any more
        sent = asked.sent_bytes
        await asyncio.sleep(1.0)
    growth = router.peak() - before
    call.cancel()

    assert growth < MAX_GROWTH, f"{growth / MEGABYTE:.0f} MB"


async def test_text_that_another_target_could_continue(router: HostileRouter) -> None:
    """A very long answer is delivered and not kept: no other target could take it as a prompt."""
    stream = await bounded(router, "carried-long-text")
    assert stream.finished is not None
    assert 1500 * 9000 * 7 == sum(map(len, stream.texts))

    stream = await bounded(router, "carried-long-text-cut")
    assert (grpc.StatusCode.ABORTED, "stream_interrupted") == (stream.status, stream.error and stream.error.code)
    assert [("openai", "stream_broken")] == stream.outcomes


async def test_what_no_json_of_ours_can_hold(router: HostileRouter) -> None:
    """A number of more than 64 bits is a float, and lists too deep to be written are a broken answer, no crash."""
    stream = await bounded(router, "odd-fields")
    assert stream.finished is not None
    kept = orjson.loads(stream.finished.response_fields)
    assert (1e100, "\ufffd") == (kept["a"], kept["c"])
    assert {"a", "b", "c", "d"} == kept.keys()

    for name in ("odd-call", "deep-fields"):
        stream = await bounded(router, name)
        assert stream.status in {grpc.StatusCode.OK, grpc.StatusCode.ABORTED}
        assert "internal_error" != (stream.error and stream.error.code)


@pytest.mark.parametrize("name", ["hangs-at-the-end", "floods-at-the-end"])
async def test_nothing_is_read_behind_the_end(router: HostileRouter, name: str) -> None:
    """The answer is whole, and the connection closed."""
    stream = await bounded(router, name)

    assert ("text", True) == ("".join(stream.texts), stream.finished is not None)
    asked = router.provider.asked[name][-1]
    async with asyncio.timeout(20):
        while not asked.is_closed:
            await asyncio.sleep(0.05)
    assert asked.sent_bytes < 24 * MEGABYTE


async def test_names_are_cut(router: HostileRouter) -> None:
    """They stand in records, metadata and the ledger."""
    stream = await bounded(router, "names")

    (attempt,) = stream.attempts
    assert stream.finished is not None
    assert ("m" * 256, "r" * 256) == (attempt.response_model, attempt.provider_request_id)
    assert ("m" * 256, "f" * 256) == (stream.finished.response_model, stream.finished.system_fingerprint)
