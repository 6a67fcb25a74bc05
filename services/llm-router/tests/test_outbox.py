"""The outbox joins chunks, delays none for long, keeps the order and stays bounded."""

from __future__ import annotations

import asyncio

from llm_router.outbox import Outbox
from spillway.router.v1 import router_pb2 as routerpb

STARTED = routerpb.StreamCompletionResponse(started=routerpb.Started(attempt_number=1))
FINISHED = routerpb.StreamCompletionResponse(finished=routerpb.Finished(response_model="m"))
FOREVER = 3600.0


def kinds(messages: list[routerpb.StreamCompletionResponse]) -> list[object]:
    """Show messages as plain values: texts as a list of str, choices as a list of bytes, others by name."""
    return [
        list(message.delta.texts) or list(message.delta.choices)
        if message.HasField("delta")
        else message.WhichOneof("event")
        for message in messages
    ]


async def test_first_content_leaves_at_once_even_right_after_an_event() -> None:
    """Nobody waits for the interval before the first word."""
    outbox = Outbox(FOREVER)
    outbox.put_event(STARTED)
    assert kinds(await outbox.take()) == ["started"]

    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    await outbox.put_content(["first"])

    assert kinds(await asyncio.wait_for(taking, 5)) == [["first"]]


async def test_what_follows_is_joined_and_leaves_after_the_interval() -> None:
    """Chunks within one interval travel in one message."""
    outbox = Outbox(0.05)
    await outbox.put_content(["a"])
    await outbox.take()
    taking = asyncio.create_task(outbox.take())
    for text in ("b", "c", "d"):
        await asyncio.sleep(0)
        await outbox.put_content([text])

    assert kinds(await asyncio.wait_for(taking, 5)) == [["b", "c", "d"]]


async def test_an_event_takes_the_content_before_it_along() -> None:
    """The end of a stream is not held back, nor does it overtake content."""
    outbox = Outbox(FOREVER)
    await outbox.put_content(["a"])
    await outbox.take()
    taking = asyncio.create_task(outbox.take())
    await outbox.put_content(["b"])
    outbox.put_event(FINISHED)
    outbox.close()

    assert kinds(await asyncio.wait_for(taking, 5)) == [["b"], "finished"]
    assert await outbox.take() == []


async def test_kinds_of_content_keep_their_order() -> None:
    """Text and other choices are never reordered by the joining."""
    outbox = Outbox(0)
    await outbox.put_content(["a", "b", b"[1]", b"[2]", "c"])

    assert kinds(await outbox.take()) == [["a", "b"], [b"[1]", b"[2]"], ["c"]]


async def test_a_reader_that_stops_stops_the_writer() -> None:
    """Content of a client that does not read does not pile up without bound."""
    outbox = Outbox(0)
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


async def test_a_cancelled_taker_leaves_nothing_behind() -> None:
    """Cancellation while waiting loses no content."""
    outbox = Outbox(FOREVER)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait((taking,))
    await outbox.put_content(["kept"])

    assert kinds(await outbox.take()) == [["kept"]]
