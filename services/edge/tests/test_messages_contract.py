"""Anthropic's contract over a scripted router: exactly one end, errors in its shape, no dishonest stream."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import QUESTION, Edge
from .scripted_router import (
    STOP,
    Script,
    Visit,
    attempted,
    choices,
    dies,
    fails,
    finished,
    messages_events,
    started,
    texts,
    waits_for,
)

Json = dict[str, Any]


def ask(edge: Edge, **fields: object) -> Visit:
    """Ask `/v1/messages`, by default for a stream."""
    return edge.visit(
        "/v1/messages", {"model": "default", "max_tokens": 5, "messages": QUESTION, "stream": True, **fields}
    )


async def test_a_message_is_settled_before_its_end(edge: Edge) -> None:
    """The events are Anthropic's; the record is the one that every contract has."""
    visit = await ask(edge).done()

    names = [name for name, _ in visit.events]
    assert ["message_start", "content_block_start"] == names[:2]
    assert ["content_block_stop", "message_delta", "message_stop"] == names[-3:]
    (settled,) = await edge.settled()
    assert ("/v1/messages", routerpb.OUTCOME_OK) == (settled.request.endpoint, settled.outcome)
    assert visit.headers["request-id"] == visit.headers["x-request-id"] == settled.request.request_id


async def test_a_silent_message_is_kept_alive_by_events(edge: Edge) -> None:
    """By pings, as Anthropic's own, before the first content and after it: a comment is no sign of life to a client."""
    edge.settings.update(keepalive_seconds=0.01, status_hold_seconds=0.01)
    speak, end = asyncio.Event(), asyncio.Event()
    edge.router.script = [started(), waits_for(speak), texts("Pa"), waits_for(end), texts("ris"), attempted(), STOP]
    visit = ask(edge)
    await visit.until(lambda visit: visit.content.count(b"event: ping") >= 2)
    assert 200 == visit.status
    speak.set()
    await visit.until(lambda visit: b'event: ping\ndata: {"type":"ping"}\n\n' in visit.content.partition(b"Pa")[2])
    end.set()
    await visit.done()

    names = [name for name, _ in visit.events if name != "ping"]
    assert ["message_start", "content_block_start"] == names[:2]
    assert "message_stop" == names[-1]
    assert b": keep-alive" not in visit.content


async def test_an_empty_answer_is_a_message_without_blocks(edge: Edge) -> None:
    """Start, reason, stop."""
    edge.router.script = [started(), attempted(), finished(routerpb.FINISH_REASON_LENGTH)]
    visit = await ask(edge).done()

    assert ["message_start", "message_delta", "message_stop"] == [name for name, _ in visit.events]
    assert "max_tokens" == visit.events[1][1]["delta"]["stop_reason"]


BROKEN: dict[str, Script] = {
    "the router dies": [started(), texts("Pa"), dies],
    "the answer breaks off": [started(), texts("Pa"), fails("stream_interrupted")],
    "a chunk of the wrong shape": [started(), texts("Pa"), choices({"index": 0}), attempted(), STOP],
    "a call goes on after its end": [
        started(),
        texts("Pa"),
        choices([{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}}]),
        messages_events({"type": "content_block_stop"}),
        choices([{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]),
        attempted(),
        STOP,
    ],
    "an event of the wrong shape": [started(), texts("Pa"), messages_events(5), attempted(), STOP],
    "no end": [started(), texts("Pa")],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_a_message_that_breaks_ends_with_an_error_and_is_not_kept(edge: Edge, script: Script) -> None:
    """`event: error` is the last event, and no reason, usage or stop comes with it."""
    edge.router.script = script
    visit = await ask(edge).done()

    names = [name for name, _ in visit.events]
    name, data = visit.events[-1]
    assert ("error", "error", "api_error") == (name, data["type"], data["error"]["type"])
    assert visit.headers["x-request-id"] == data["request_id"]
    assert not {"message_delta", "message_stop"} & set(names)
    assert visit.is_complete
    assert [] == await edge.stored()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("all_targets_failed", 502, "api_error"),
        ("deadline_exceeded", 504, "timeout_error"),
        ("router_unavailable", 503, "overloaded_error"),
        ("internal_error", 500, "api_error"),
        ("rate_limited", 429, "rate_limit_error"),
        ("unsupported_parameter", 400, "invalid_request_error"),
    ],
)
async def test_an_error_before_the_first_content_is_a_status(
    edge: Edge, code: str, status: int, kind: str, stream: bool
) -> None:
    """In Anthropic's shape, with the router's Retry-After."""
    edge.router.script = [started(), fails(code, retry_after=7 if code == "rate_limited" else 0)]
    visit = await ask(edge, stream=stream).done()

    assert (status, "error", kind) == (visit.status, visit.json["type"], visit.json["error"]["type"])
    assert {"error_code": code} == visit.json["error"]["details"]
    assert visit.headers["request-id"] == visit.headers["x-request-id"] == visit.json["request_id"]
    if code == "rate_limited":
        assert "7" == visit.headers["retry-after"]


async def test_a_whole_message_that_cannot_be_put_together_is_an_error(edge: Edge) -> None:
    """It is recorded as interrupted, and the next request does not get it from the cache."""
    edge.router.script = BROKEN["a call goes on after its end"]
    visits = [await ask(edge, stream=False).done() for _ in range(2)]

    assert [(502, "error", "edge; fwd=miss")] * 2 == [
        (visit.status, visit.json["type"], visit.headers["cache-status"]) for visit in visits
    ]
    assert [routerpb.OUTCOME_INTERRUPTED] * 2 == [settled.outcome for settled in await edge.settled()]
    assert [] == await edge.stored()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("field", "reason", "expected"),
    [
        ({"stop_reason": "END"}, routerpb.FINISH_REASON_STOP, ("stop_sequence", "END")),
        ({"matched_stop": "END"}, routerpb.FINISH_REASON_STOP, ("stop_sequence", "END")),
        ({"stop_reason": 7}, routerpb.FINISH_REASON_STOP, ("end_turn", None)),
        ({"stop_reason": "END"}, routerpb.FINISH_REASON_TOOL_CALL, ("tool_use", None)),
        ({"stop_reason": "END"}, routerpb.FINISH_REASON_LENGTH, ("max_tokens", None)),
    ],
)
async def test_a_hit_stop_sequence_is_named(
    edge: Edge,
    field: Json,
    reason: routerpb.FinishReason.ValueType,
    expected: tuple[str, str | None],
    stream: bool,
) -> None:
    """Engines of OpenAI's wire tell it beside the last delta."""
    last = choices([{"index": 0, "delta": {}, "finish_reason": None, **field}])
    edge.router.script = [started(), texts("Pa"), last, attempted(), finished(reason)]
    visit = await ask(edge, stream=stream).done()

    reported = visit.events[-2][1]["delta"] if stream else visit.json
    assert expected == (reported["stop_reason"], reported["stop_sequence"])


async def test_a_continuation_is_announced_in_a_comment(edge: Edge) -> None:
    """The block continues; the comment names the target that wrote the rest."""
    continuation = routerpb.StreamCompletionResponse(
        continued=routerpb.Continued(attempt_number=2, target="t2", after_characters=2, reason="stream_broken")
    )
    edge.router.script = [
        started(),
        texts("Pa"),
        attempted(1, routerpb.OUTCOME_INTERRUPTED),
        started(2),
        continuation,
        texts("ris"),
        attempted(2),
        STOP,
    ]
    visit = await ask(edge, continuation="allow").done()

    assert {"": "continued by t2 after 2 characters: stream_broken"} in visit.frames
    assert 1 == [name for name, _ in visit.events].count("content_block_start")
    assert routerpb.CONTINUATION_ALLOW == edge.router.requests[0].continuation
    assert "continuation" not in orjson.loads(edge.router.requests[0].messages_form.body)


BLOCKS: dict[str, tuple[Json, str]] = {
    "a block without a type": ({"content": [{}]}, "messages.0.content.0.type"),
    "a text without text": ({"content": [{"type": "text"}]}, "messages.0.content.0.text"),
    "a result of no call": ({"content": [{"type": "tool_result"}]}, "messages.0.content.0.tool_use_id"),
    "a result that is a number": (
        {"content": [{"type": "tool_result", "tool_use_id": "t", "content": 5}]},
        "messages.0.content.0.content",
    ),
    "a result with a number in it": (
        {"content": [{"type": "tool_result", "tool_use_id": "t", "content": [5]}]},
        "messages.0.content.0.content",
    ),
    "a call by the user": ({"content": [{"type": "tool_use"}]}, "messages.0.content.0"),
    "a result by the assistant": ({"role": "assistant", "content": [{"type": "tool_result"}]}, "messages.0.content.0"),
    "a call without an input": (
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]},
        "messages.0.content.0.input",
    ),
    "a type that is a list": ({"content": [{"type": ["text"]}]}, "messages.0.content.0.type"),
}


@pytest.mark.parametrize(("turn", "where"), BLOCKS.values(), ids=BLOCKS.keys())
async def test_a_malformed_block_is_named(edge: Edge, turn: Json, where: str) -> None:
    """By its place in the client's body; the router is not called."""
    visit = await ask(edge, messages=[{"role": "user", **turn}]).done()

    assert (400, "invalid_request_error") == (visit.status, visit.json["error"]["type"])
    assert visit.json["error"]["message"].startswith(f"{where}: ")
    assert [] == edge.router.requests


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"type": [], "name": "f"}]}, "tools.0"),
        ({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "function"}}, "tool_choice.type"),
        ({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": []}}, "tool_choice.type"),
        ({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"system": [{"type": "text"}]}, "system.0.text"),
        ({"thinking": 5}, "thinking"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"top_k": 0.5}, "top_k"),
    ],
)
async def test_a_malformed_field_is_named(edge: Edge, fields: Json, where: str) -> None:
    """By its name in Anthropic's contract."""
    visit = await ask(edge, **fields).done()

    assert 400 == visit.status
    assert visit.json["error"]["message"].startswith(f"{where}: ")


@pytest.mark.parametrize("kind", [{"type": []}, {"type": 5}, {}])
async def test_thinking_of_an_unknown_kind_is_left_to_the_target(edge: Edge, kind: Json) -> None:
    """Anthropic gets it; another vendor answers without."""
    await ask(edge, thinking=kind).done()

    form = edge.router.requests[0].messages_form
    assert ([], ["thinking"]) == (list(form.untranslatable), list(form.dropped))
