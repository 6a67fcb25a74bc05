"""An answer that another target carries on, and attempts that race each other: told, recorded, never stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import STOP, Response, attempted, is_silent, started, waits_for


def texts_of(attempt_number: int, *chunks: str) -> Response:
    """Send the first text of an attempt."""
    return Response(delta=routerpb.Delta(texts=chunks, attempt_number=attempt_number))


def continued(attempt_number: int) -> Response:
    """Say that another attempt carries on."""
    return Response(
        continued=routerpb.Continued(
            attempt_number=attempt_number,
            target=f"t{attempt_number}",
            provider="openai",
            target_model="m-of-t2",
            after_characters=2,
            reason="stream_broken",
        )
    )


CONTINUATION = {
    "attempt_number": 2,
    "target": "t2",
    "provider": "openai",
    "target_model": "m-of-t2",
    "after_characters": 2,
    "reason": "stream_broken",
}
CONTINUED = [
    started(),
    texts_of(1, "Pa"),
    attempted(1, routerpb.OUTCOME_INTERRUPTED),
    started(2),
    continued(2),
    texts_of(2, "ris."),
    attempted(2),
    STOP,
]


async def test_chat_names_the_target_that_continues(edge: Edge) -> None:
    """An event of its own between the words of the two, and a line in the receipt."""
    edge.router.script = CONTINUED
    visit = await edge.chat(continuation="allow").done()

    assert ["start", "delta", "continued", "delta", "done"] == [name for name, _ in visit.events]
    assert CONTINUATION == visit.events[2][1]
    done = visit.events[-1][1]
    assert [CONTINUATION] == done["continuations"]
    assert ["interrupted", "ok"] == [attempt["outcome"] for attempt in done["attempts"]]
    assert routerpb.CONTINUATION_ALLOW == edge.router.requests[-1].continuation


async def test_completions_name_the_target_that_continues_in_a_comment(edge: Edge) -> None:
    """OpenAI's contract has no word for it; the wish is ours and never reaches a provider."""
    edge.router.script = CONTINUED
    visit = await edge.complete(continuation="allow").done()

    frames = visit.content.split(b"\n\n")
    comment = frames.index(b": continued by t2 after 2 characters: stream_broken")
    assert b'"content":"Pa"' in frames[comment - 1]
    assert b'"content":"ris."' in frames[comment + 1]
    assert b'"model":"m"' in frames[comment - 1]
    assert b'"model":"m-of-t2"' in frames[comment + 1]
    assert visit.content.endswith(b"data: [DONE]\n\n")
    assert b"continuation" not in edge.router.requests[-1].body


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions"])
async def test_a_whole_answer_says_in_a_header_that_it_was_continued(edge: Edge, path: str) -> None:
    """Who gets everything in one piece still learns that two wrote it."""
    edge.router.script = CONTINUED
    body: dict[str, Any] = {"query": "Who?"}
    if path != "/chat":
        body = {"model": "default", "messages": [{"role": "user", "content": "Who?"}]}
    visit = await edge.visit(path, {**body, "stream": False}).done()

    assert "2" == visit.headers["x-continued-after-characters"]
    assert b"Paris." in visit.content


async def test_a_continued_answer_is_never_stored(edge: Edge) -> None:
    """What two targets wrote together is nobody's answer."""
    edge.router.script = CONTINUED
    visit = await edge.chat(continuation="allow").done()

    assert visit.events[-1][1]["cache"]["stored"] is False
    assert [] == await edge.stored()


@pytest.mark.parametrize(("wish", "reported"), [(None, 0), ("allow", 1), ("never", 2)])
async def test_the_wish_travels_to_the_router(edge: Edge, wish: str | None, reported: int) -> None:
    """Unset leaves it to the route."""
    fields: dict[str, Any] = {} if wish is None else {"continuation": wish}
    await edge.chat(**fields).done()

    assert reported == edge.router.requests[-1].continuation


async def test_a_wish_that_is_none_is_refused(edge: Edge) -> None:
    """By name."""
    visit = await edge.chat(continuation="maybe").done()

    assert (400, "continuation") == (visit.status, visit.json["error"]["param"])


async def test_of_two_that_race_the_one_that_speaks_is_the_answerer(edge: Edge) -> None:
    """A later start does not make an answerer; both attempts are in the receipt."""
    edge.router.script = [
        started(1),
        started(2),
        texts_of(1, "Paris."),
        attempted(2, routerpb.OUTCOME_CLIENT_CANCELLED),
        attempted(1),
        STOP,
    ]
    await edge.chat().done()

    (settled,) = await edge.settled()
    assert [2, 1] == [attempt.attempt_number for attempt in settled.attempts]


async def test_every_attempt_that_was_open_is_settled_when_the_client_leaves(edge: Edge) -> None:
    """Two race each other and the client goes: both are recorded, the words belong to the one that spoke them."""
    edge.router.script = [started(1), started(2), texts_of(1, "x" * 400), is_silent]
    visit = edge.chat()
    await visit.until(lambda seen: b"xxxx" in seen.content)
    visit.gone()
    await visit.done()

    (settled,) = await edge.settled()
    assert [(1, 100), (2, 0)] == [(attempt.attempt_number, attempt.usage.output_tokens) for attempt in settled.attempts]
    assert {routerpb.OUTCOME_CLIENT_CANCELLED} == {attempt.outcome for attempt in settled.attempts}


async def test_only_the_words_after_the_continuation_count_for_the_second(edge: Edge) -> None:
    """The first attempt has been reported with its own words already."""
    edge.router.script = [
        started(1),
        texts_of(1, "x" * 400),
        attempted(1, routerpb.OUTCOME_INTERRUPTED),
        started(2),
        continued(2),
        texts_of(2, "y" * 40),
        is_silent,
    ]
    visit = edge.chat()
    await visit.until(lambda seen: b"yyyy" in seen.content)
    visit.gone()
    await visit.done()

    (settled,) = await edge.settled()
    assert [(1, 0), (2, 10)] == [(attempt.attempt_number, attempt.usage.output_tokens) for attempt in settled.attempts]


async def test_an_attempt_that_begins_as_the_client_goes_is_settled_too(edge: Edge) -> None:
    """Between two attempts nobody knows whether the next has begun: its announcement is awaited."""
    begins = asyncio.Event()
    edge.settings["client_gone_grace_seconds"] = 0.01
    failed = attempted(1, routerpb.OUTCOME_PROVIDER_ERROR)
    edge.router.script = [started(1), failed, waits_for(begins), started(2), is_silent]
    visit = edge.chat()
    await visit.until(lambda seen: bool(edge.router.requests))
    await asyncio.sleep(0.1)  # the report of the first attempt is on its way
    visit.gone()
    await asyncio.sleep(0.3)
    assert not visit.task.done()
    begins.set()
    await visit.done()

    (settled,) = await edge.settled()
    assert [(1, "PROVIDER_ERROR"), (2, "CLIENT_CANCELLED")] == [
        (attempt.attempt_number, routerpb.Outcome.Name(attempt.outcome)[8:]) for attempt in settled.attempts
    ]
    await asyncio.wait_for(edge.router.cancelled.wait(), 20)
