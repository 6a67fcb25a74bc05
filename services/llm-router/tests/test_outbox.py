"""The outbox joins waiting content, keeps the order and stays bounded."""

from __future__ import annotations

import asyncio

import pytest

from llm_router.chain.outbox import Outbox
from llm_router.providers.provider import MessagesEvent
from spillway.router.v1 import router_pb2 as routerpb

STARTED = routerpb.StreamCompletionResponse(started=routerpb.Started(attempt_number=1))
FINISHED = routerpb.StreamCompletionResponse(finished=routerpb.Finished(response_model="m"))


def kinds(messages: list[routerpb.StreamCompletionResponse]) -> list[object]:
    """Show messages as plain values: texts as a list of str, choices and native events of bytes, others by name."""
    return [
        list(message.delta.texts) or list(message.delta.choices) or list(message.delta.messages_events)
        if message.HasField("delta")
        else message.WhichOneof("event")
        for message in messages
    ]


async def test_what_waits_is_taken_together_and_in_order() -> None:
    """Chunks that wait travel in one message, and no event overtakes content."""
    outbox = Outbox()
    outbox.put_event(STARTED)
    for text in ("a", "b", "c"):
        await outbox.put_content([text])
    outbox.put_event(FINISHED)
    outbox.close()

    assert ["started", ["a", "b", "c"], "finished"] == kinds(await outbox.take())
    assert [] == await outbox.take()


@pytest.mark.parametrize("kind", ["text", "choices", "event", "end"])
async def test_taker_is_woken_by_every_kind_of_item(kind: str) -> None:
    """Content, an event, the end: nothing stays in the outbox while a reader waits."""
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    match kind:
        case "text":
            await outbox.put_content(["a"])
        case "choices":
            await outbox.put_content([b"[]"])
        case "event":
            outbox.put_event(FINISHED)
        case _:
            outbox.close()

    assert (kind != "end") == bool(await asyncio.wait_for(taking, 5))


async def test_kinds_of_content_keep_their_order() -> None:
    """Text, other choices and native events are never reordered by the joining."""
    outbox = Outbox()
    await outbox.put_content(["a", "b", b"[1]", b"[2]", MessagesEvent(b"{}"), b"[3]", "c"])
    messages = await outbox.take()

    assert [["a", "b"], [b"[1]", b"[2]"], [b"{}"], [b"[3]"], ["c"]] == kinds(messages)
    assert [0, 0, 1, 0, 0] == [len(message.delta.messages_events) for message in messages]


async def test_reader_that_stops_stops_the_writer() -> None:
    """Content of a client that does not read does not pile up without bound."""
    outbox = Outbox()
    put = 0

    async def write() -> None:
        nonlocal put
        while True:
            await outbox.put_content(["x"])
            put += 1

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.01)
    stuck_at = put
    await asyncio.sleep(0.01)

    assert stuck_at == put
    assert put < 1000
    await outbox.take()
    await asyncio.sleep(0.01)
    assert put > stuck_at
    writing.cancel()
    await asyncio.wait((writing,))


async def test_cancelled_taker_leaves_nothing_behind() -> None:
    """Cancellation while waiting loses no content."""
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait((taking,))
    await outbox.put_content(["kept"])

    assert kinds(await outbox.take()) == [["kept"]]


async def test_answering_attempt_is_named_once_on_its_first_content() -> None:
    """Also when that content comes long after the announcement."""
    outbox = Outbox()
    outbox.answer_from(1)
    await outbox.put_content(["a", "b"])
    first = await outbox.take()
    await outbox.put_content(["c"])
    outbox.answer_from(2)
    second = await outbox.take()
    await outbox.put_content([b"[]", "d"])
    third = await outbox.take()

    named = [(message.delta.attempt_number, kinds([message])[0]) for message in [*first, *second, *third]]
    assert [(1, ["a", "b"]), (0, ["c"]), (2, [b"[]"]), (0, ["d"])] == named
