"""Continuation and hedging through the front door: two targets, one answer, and a receipt that shows both."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from kit.front_door.edge_client import EdgeClient, Provider, Stores

WHOLE = "".join(f"w{number} " for number in range(30))


async def test_a_cut_answer_is_carried_on_for_who_allows_it(edge: EdgeClient, stores: Stores) -> None:
    """Every word once, the event where the other begins, both attempts billed, nothing stored."""
    keys = await stores.cache_keys()
    chat = await edge.chat("carry on", model="carried-on", continuation="allow")
    receipt = await edge.receipt(chat.request_id)

    assert WHOLE == chat.text
    continuation = chat.events[chat.names.index("continued")].data
    before = [event.data["text"] for event in chat.events[: chat.names.index("continued")] if event.name == "delta"]
    assert ("anthropic", len("".join(before)), "stream_broken") == (
        continuation["provider"],
        continuation["after_characters"],
        continuation["reason"],
    )
    assert [continuation] == chat.last["continuations"]
    assert ["interrupted", "ok"] == [attempt["outcome"] for attempt in receipt["attempts"]]
    assert ["estimated", "reported"] == [attempt["usage_source"] for attempt in receipt["attempts"]]
    assert (
        sum(attempt["usage"]["output_tokens"] for attempt in receipt["attempts"])
        == (chat.last["usage"]["output_tokens"])
    )
    assert chat.last["cache"]["stored"] is False
    assert keys == await stores.cache_keys()


@pytest.mark.parametrize("wish", [{}, {"continuation": "never"}])
async def test_nobody_gets_a_second_answerer_who_did_not_ask(edge: EdgeClient, wish: dict[str, Any]) -> None:
    """The end is the honest error."""
    chat = await edge.chat("no second one", model="carried-on", **wish)

    assert "error" == chat.names[-1]
    assert "continued" not in chat.names


async def test_the_openai_client_reads_a_continued_answer_to_its_end(edge: EdgeClient) -> None:
    """The comment is for who looks; the client sees one answer."""
    client = openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key=edge.key)
    async with client:
        stream = await client.chat.completions.create(
            model="carried-on",
            messages=[{"role": "user", "content": "with the client"}],
            stream=True,
            extra_body={"continuation": "allow"},
        )
        chunks = [chunk async for chunk in stream]

    assert WHOLE == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "stop" == chunks[-1].choices[0].finish_reason


async def test_a_silent_primary_is_hedged_and_both_are_on_the_receipt(edge: EdgeClient, provider: Provider) -> None:
    """The second answers long before the first one's timer; what the first has read is billed."""
    chat = await edge.chat("hurry", model="hedged")
    receipt = await edge.receipt(chat.request_id)

    assert ("done", "anthropic") == (chat.names[-1], chat.last["provider"])
    attempts = {attempt["attempt_number"]: attempt for attempt in receipt["attempts"]}
    assert ("client_cancelled", "hedge_lost", "estimated") == (
        attempts[1]["outcome"],
        attempts[1]["error_code"],
        attempts[1]["usage_source"],
    )
    assert "ok" == attempts[2]["outcome"]
    assert ["client_closed"] == [seen["finish"] for seen in await provider.asked("hedged-1", chat.query)]
