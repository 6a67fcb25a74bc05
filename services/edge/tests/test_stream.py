"""A stream ends honestly, whatever the router does: one terminal event, and nothing that reads as success after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import orjson
import pytest

from edge.sse import frame
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import (
    STOP,
    Visit,
    attempted,
    choices,
    dies,
    fails,
    finished,
    is_silent,
    started,
    texts,
    waits_for,
)

Counted = Callable[..., float]
FRESH = [("cache-control", "no-store")]
NASTY = 'a\n\nevent: done\r\ndata: {}\r\rid: 7\n: "\u2028\x00é😀'


def call_chunk(arguments: str, **more: object) -> list[dict[str, Any]]:
    """Write a fragment of a tool call."""
    return [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **more}]}}]


def chunks_of(content: bytes) -> list[Any]:
    """Return the chunks of an OpenAI stream without its end."""
    lines = content.decode().split("\n\n")
    return [orjson.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


@pytest.mark.parametrize("text", [NASTY, "\n", "\r", "\n\n"])
def test_text_cannot_break_a_frame(text: str) -> None:
    """Line ends travel escaped: a frame is three lines and an empty one."""
    lines = frame("delta", "id:1", {"text": text}).split(b"\n")

    assert [b"event: delta", b"id: id:1"] == lines[:2]
    assert {"text": text} == orjson.loads(lines[2].removeprefix(b"data: "))
    assert [b"", b""] == lines[3:]
    assert b"\r" not in lines[2]


async def test_a_chat_is_a_start_its_text_and_one_end(edge: Edge) -> None:
    """Each event has an id of its own, in order; the end is a receipt."""
    edge.router.script = [started(), texts("Pa", NASTY), texts("."), attempted(), STOP]
    visit = await edge.chat().done()
    names = [name for name, _ in visit.events]
    request_id = visit.headers["x-request-id"]

    assert (200, "text/event-stream; charset=utf-8") == (visit.status, visit.headers["content-type"])
    assert ["start", "delta", "delta", "delta", "done"] == names
    assert [f"{request_id}:{number}" for number in range(1, 6)] == [event["id"] for event in visit.frames]
    assert "Pa" + NASTY + "." == "".join(data["text"] for name, data in visit.events if name == "delta")
    start = {"request_id": request_id, "model": "default", "cache": "miss", "economy": None}
    assert start == visit.events[0][1]
    done = visit.events[-1][1]
    assert ("stop", "m-1", "openai") == (done["finish_reason"], done["model"], done["provider"])
    assert {"status": "miss", "bypass_reason": None, "stored": True, "saved_cost_usd": None} == done["cache"]
    assert visit.is_complete


async def test_a_tool_call_comes_whole_and_before_the_end(edge: Edge) -> None:
    """However it was cut."""
    edge.router.script = [
        started(),
        choices(call_chunk("", id="c1", function={"name": "look", "arguments": '{"a"'})),
        choices(call_chunk(": 1}")),
        attempted(),
        finished(routerpb.FINISH_REASON_TOOL_CALL),
    ]
    visit = await edge.chat().done()

    assert ["start", "tool_call", "done"] == [name for name, _ in visit.events]
    assert {"index": 0, "id": "c1", "name": "look", "arguments": '{"a": 1}'} == visit.events[1][1]


@pytest.mark.parametrize("asked", [True, False])
async def test_a_completion_begins_with_the_role_and_ends_with_done(edge: Edge, asked: bool) -> None:
    """Content in between, the finish reason once, the usage only when it was asked for."""
    visit = await edge.complete(stream_options={"include_usage": asked}).done()
    chunks = chunks_of(visit.content)
    reported = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]

    assert 200 == visit.status
    assert "assistant" == reported[0]["delta"]["role"]
    assert "Paris." == "".join(choice["delta"].get("content") or "" for choice in reported)
    assert [None] * (len(reported) - 1) + ["stop"] == [choice["finish_reason"] for choice in reported]
    assert visit.content.endswith(b"data: [DONE]\n\n")
    assert 1 == visit.content.count(b"[DONE]")
    assert {("usage" in chunk) for chunk in chunks} == {asked}
    if asked:
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        assert ([], usage) == (chunks[-1]["choices"], chunks[-1]["usage"])
        assert {None} == {chunk["usage"] for chunk in chunks[:-1]}


async def test_each_choice_has_its_role_and_its_end(edge: Edge) -> None:
    """With n=2, two of each."""
    delta = [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]
    ends = (routerpb.FINISH_REASON_STOP, routerpb.FINISH_REASON_LENGTH)
    edge.router.script = [started(), texts("a"), choices(delta), attempted(), finished(*ends)]
    reported = [chunk["choices"][0] for chunk in chunks_of((await edge.complete(n=2).done()).content)]

    assert [0, 1] == [choice["index"] for choice in reported if "role" in choice["delta"]]
    assert [(0, "stop"), (1, "length")] == [(c["index"], c["finish_reason"]) for c in reported if c["finish_reason"]]


async def test_the_router_gets_the_body_without_what_is_not_its_business(edge: Edge) -> None:
    """The route, who asks, the budget; the body as it came, without model and stream, without nulls."""
    await edge.complete(seed=0, temperature=None, a_field_of_next_year={"b": 1}).done()
    (request,) = edge.router.requests

    assert ("default", "acme", "ada", 3) == (request.route, request.tenant, request.user, request.attempt_budget)
    body = orjson.loads(request.body)
    assert {"messages", "seed", "a_field_of_next_year"} == body.keys()


@pytest.mark.parametrize("is_streaming", [True, False])
async def test_an_early_failure_of_a_completion_has_its_real_status(edge: Edge, is_streaming: bool) -> None:
    """Until the first content the status waits, so a client's own retries work as with OpenAI."""
    edge.router.script = [
        started(),
        attempted(outcome=routerpb.OUTCOME_PROVIDER_ERROR),
        fails("rate_limited", retry_after=6.5),
    ]
    visit = await edge.complete(stream=is_streaming).done()

    assert (429, "7", "application/json") == (
        visit.status,
        visit.headers["retry-after"],
        visit.headers["content-type"],
    )
    assert ("rate_limited", "reported: rate_limited") == (visit.json["error"]["code"], visit.json["error"]["message"])
    assert visit.headers["x-request-id"]


async def test_an_early_failure_of_a_chat_is_its_one_end(edge: Edge) -> None:
    """`start` was out at once, so the error comes as an event."""
    edge.router.script = [fails("all_targets_failed")]
    visit = await edge.chat().done()

    assert (200, ["start", "error"]) == (visit.status, [name for name, _ in visit.events])
    assert "all_targets_failed" == visit.events[1][1]["error"]["code"]


BROKEN = {
    "the router reports an interruption": [fails("stream_interrupted", grpc.StatusCode.ABORTED)],
    "the router dies": [dies],
    "the deadline comes": [fails("deadline_exceeded", grpc.StatusCode.DEADLINE_EXCEEDED)],
    "the router's error is not known": [fails("a_code_of_next_year")],
    "the stream ends without an end": [attempted()],
    "the router dies after the end": [attempted(), STOP, dies],
    "a chunk makes no sense": [
        choices([{"index": 0, "delta": {"refusal": 5}, "finish_reason": None}]),
        attempted(),
        STOP,
    ],
    "the end has no finish reason": [attempted(), finished()],
    "the end is no end of an answer": [attempted(), finished(routerpb.FINISH_REASON_ERROR)],
}


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("contract", ["chat", "completions", "whole"])
async def test_an_answer_that_breaks_off_says_so(edge: Edge, contract: str, steps: list[Any]) -> None:
    """One error at the end, no success after it; nothing is stored, the attempt is on record."""
    edge.router.script = [started(), texts("Pa"), *steps]
    visit = await (edge.chat() if contract == "chat" else edge.complete(stream=contract == "completions")).done()
    if contract == "chat":
        assert ["start", "delta", "error"] == [name for name, _ in visit.events]
        error = visit.events[-1][1]["error"]
    elif contract == "completions":
        assert b"[DONE]" not in visit.content
        *chunks, last = chunks_of(visit.content)
        assert {None} == {chunk["choices"][0]["finish_reason"] for chunk in chunks}
        error = last["error"]
    else:
        assert visit.status >= 500
        error = visit.json["error"]

    assert error["code"] in {"stream_interrupted", "internal_error"}
    assert [] == await edge.stored()
    (settled,) = await edge.settled()
    assert (error["code"], 1) == (settled.error_code, len(settled.attempts))
    assert settled.outcome != routerpb.OUTCOME_OK


async def test_a_router_that_is_gone_is_told_and_nothing_was_attempted(edge: Edge) -> None:
    """503 with a time to come again."""
    edge.router.script = [dies]
    visit = await edge.complete().done()

    assert (503, "1", "router_unavailable") == (
        visit.status,
        visit.headers["retry-after"],
        visit.json["error"]["code"],
    )
    (settled,) = await edge.settled()
    assert 0 == len(settled.attempts)


async def test_an_attempt_that_the_router_took_with_it_is_estimated(edge: Edge) -> None:
    """The provider may bill what the router could not report."""
    edge.router.script = [started(), texts("x" * 40), dies]
    await edge.chat().done()
    (settled,) = await edge.settled()
    (attempt,) = settled.attempts

    assert ("router_lost", routerpb.USAGE_SOURCE_ESTIMATED) == (attempt.error_code, attempt.usage_source)
    assert (10, 1) == (attempt.usage.output_tokens, attempt.usage.input_tokens)


@pytest.mark.parametrize("contract", ["chat", "completions"])
async def test_a_client_that_leaves_ends_the_call(edge: Edge, contract: str) -> None:
    """The router stops, and what was spent until then is on record by estimate."""
    edge.router.script = [started(), texts("x" * 40), is_silent]
    visit = edge.chat() if contract == "chat" else edge.complete()
    await visit.until(lambda visit: b"xxx" in visit.content)
    visit.gone()
    await visit.done()
    await asyncio.wait_for(edge.router.cancelled.wait(), 20)

    (settled,) = await edge.settled()
    (attempt,) = settled.attempts
    assert routerpb.OUTCOME_CLIENT_CANCELLED == settled.outcome == attempt.outcome
    assert ("", routerpb.FINISH_REASON_CANCELLED) == (settled.error_code, settled.finish_reason)
    assert (routerpb.USAGE_SOURCE_ESTIMATED, 10) == (attempt.usage_source, attempt.usage.output_tokens)
    assert [] == await edge.stored()
    assert not visit.is_complete


@pytest.mark.parametrize("is_streaming", [True, False])
async def test_a_client_that_leaves_before_the_first_word_ends_the_call(edge: Edge, is_streaming: bool) -> None:
    """Also while the status waits."""
    edge.router.script = [started(), is_silent]
    visit = edge.complete(stream=is_streaming)
    async with asyncio.timeout(20):
        while not edge.router.requests:
            await asyncio.sleep(0.002)
    visit.gone()
    await visit.done()
    await asyncio.wait_for(edge.router.cancelled.wait(), 20)

    (settled,) = await edge.settled()
    assert (routerpb.OUTCOME_CLIENT_CANCELLED, 1) == (settled.outcome, len(settled.attempts))
    assert 0 == visit.status


async def test_a_silent_stream_is_kept_alive(edge: Edge) -> None:
    """Comments, for the proxies in between, that no client takes for content."""
    edge.settings["keepalive_seconds"] = 0.01
    speak = asyncio.Event()
    edge.router.script = [started(), texts("Pa"), waits_for(speak), texts("ris"), attempted(), STOP]
    visit = edge.chat()
    await visit.until(lambda visit: visit.content.count(b": keep-alive\n\n") >= 3)
    speak.set()
    await visit.done()

    assert ["start", "delta", "delta", "done"] == [name for name, _ in visit.events]
    assert "done" == visit.frames[-1]["event"]


async def test_the_status_waits_for_the_first_content_and_not_for_ever(edge: Edge) -> None:
    """After the hold a comment sends 200; what fails then fails inside the stream, without a [DONE]."""
    edge.settings["status_hold_seconds"] = 0.01
    speak = asyncio.Event()
    edge.router.script = [started(), waits_for(speak), fails("all_targets_failed")]
    visit = edge.complete()
    await visit.until(lambda visit: visit.status == 200)
    assert b": keep-alive\n\n" == visit.content
    speak.set()
    await visit.done()

    assert "all_targets_failed" == chunks_of(visit.content)[-1]["error"]["code"]
    assert b"[DONE]" not in visit.content
    assert visit.is_complete


async def test_an_answer_without_a_word_is_an_answer(edge: Edge) -> None:
    """A model may have nothing to say: role, end, [DONE]."""
    edge.router.script = [started(), attempted(), STOP]
    visit = await edge.complete().done()

    assert ["assistant", None] == [chunk["choices"][0]["delta"].get("role") for chunk in chunks_of(visit.content)]
    assert visit.content.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("contract", ["chat", "completions"])
async def test_how_a_stream_ended_is_counted(edge: Edge, counted: Counted, contract: str) -> None:
    """By its last frame, so that one without any shows: that is the stream which ended dishonestly."""

    def ask() -> Visit:
        return edge.chat(headers=FRESH) if contract == "chat" else edge.complete(headers=FRESH)

    await ask().done()
    edge.router.script = [started(), texts("Pa"), dies]
    await ask().done()
    edge.router.script = [started(), texts("Pa"), is_silent]
    leaving, cut = ask(), ask()
    for visit in (leaving, cut):
        await visit.until(lambda visit: b"Pa" in visit.content)
    leaving.gone()
    await leaving.done()

    async def breaks(_: bytes) -> None:
        raise OSError

    cut.before_content = breaks
    cut.task.cancel()
    with pytest.raises(OSError, match=r"^$"):
        await cut.task

    ends = ("ok", "error", "client_cancelled", "cut")
    assert [1, 1, 1, 1] == [counted("edge_stream_ends_total", outcome=end) for end in ends]


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_stream_that_the_gateway_has_no_time_for_ends_with_an_error(
    edge: Edge, counted: Counted, path: str
) -> None:
    """When it is told to stop and has waited long enough: settled first, and never as if the answer were whole."""
    edge.router.script = [started(), texts("Pa"), is_silent]
    question = {"model": "default", "messages": [{"role": "user", "content": "q"}], "max_tokens": 9, "stream": True}
    visit = edge.visit(path, {"query": "q"} if path == "/chat" else question)
    await visit.until(lambda visit: b"Pa" in visit.content)
    visit.task.cancel()
    await asyncio.wait((visit.task,))

    (settled,) = await edge.settled()
    assert routerpb.OUTCOME_INTERRUPTED == settled.outcome
    assert visit.is_complete
    assert b"the gateway stopped before the answer was complete" in visit.content.partition(b"Pa")[2]
    assert not any(sign in visit.content for sign in (b"[DONE]", b"event: done", b"message_stop"))
    assert 1 == counted("edge_stream_ends_total", outcome="error")


async def test_a_router_that_does_not_say_what_it_has_is_away(edge: Edge) -> None:
    """The time of that question is not the request's: the client hears that it may come again soon."""
    edge.router.is_stuck = True
    visit = await edge.chat().done()

    assert (503, "router_unavailable") == (visit.status, visit.json["error"]["code"])
    assert visit.headers["retry-after"]


async def test_refusals_before_anything_was_spent_are_counted_by_their_code(edge: Edge, counted: Counted) -> None:
    """Those of our own making too, of which no request is on record."""
    await edge.chat(model="nobody").done()
    await edge.chat(colour="red").done()
    edge.router.is_away = True
    await asyncio.sleep(0.6)  # within half a second the list is not asked for again
    await edge.chat(model="nobody").done()

    reasons = ("model_not_found", "unknown_field", "router_unavailable")
    assert [1, 1, 1] == [counted("edge_refusals_total", reason=reason) for reason in reasons]
