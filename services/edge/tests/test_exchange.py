"""One request from admission to settlement: what the cache gives and takes, and that cancellation loses no event."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import orjson
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.events.redis import COST_EVENTS
from edge.events.spool import Spool, _Append
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import QUESTION, Edge, running_edge
from .scripted_redis import FakeRedis
from .scripted_router import STOP, Visit, attempted, finished, is_silent, started, texts, waits_for


def has_said(word: bytes, visit: Visit) -> bool:
    """Tell whether a stream holds a word."""
    return word in visit.content


class HeldSpool(Spool):
    """A spool on a disk that does nothing until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_asked = threading.Event()
        self.go = threading.Event()

    def _append_together(self, batch: Sequence[_Append]) -> list[bool]:
        self.is_asked.set()
        assert self.go.wait(30)
        return super()._append_together(batch)


@pytest.fixture(name="fake_redis")
async def _fake_redis(redis_url: str, valkey: redis.Redis) -> AsyncIterator[FakeRedis]:
    async with FakeRedis(redis_url).listening() as fake:
        yield fake


@pytest.fixture(name="held")
async def _held(
    tmp_path: Path, fake_redis: FakeRedis, spool: Spool, registry: CollectorRegistry
) -> AsyncIterator[Edge]:
    """Yield an edge whose Redis can fall silent."""
    async with running_edge(tmp_path, fake_redis.url, spool, registry, look_up_timeout_seconds=0.5) as edge:
        yield edge


async def test_a_repeated_question_is_answered_from_the_cache(edge: Edge) -> None:
    """As a stream, chunk by chunk; the router is not asked again, and it is said what was saved."""
    first = await edge.chat().done()
    second = await edge.chat().done()

    assert ("edge; fwd=miss", "edge; hit") == (first.headers["cache-status"], second.headers["cache-status"])
    deltas = [[data["text"] for name, data in visit.events if name == "delta"] for visit in (first, second)]
    assert [["Pa", "ris", "."]] * 2 == deltas
    assert 1 == len(edge.router.requests)
    done = second.events[-1][1]
    assert ("hit", [], "0.000000000") == (done["cache"]["status"], done["attempts"], done["cost_usd"])
    _, settled = await edge.settled()
    assert (ledgerpb.CACHE_STATUS_HIT, "openai", "m", 10, 0) == (
        settled.cache_status,
        settled.saved.provider,
        settled.saved.target_model,
        settled.saved.usage.input_tokens,
        len(settled.attempts),
    )


async def test_both_contracts_and_both_ways_share_an_answer(edge: Edge) -> None:
    """What was asked at `/chat` is a hit for a completion, as a stream or whole."""
    await edge.chat("What is the capital of France?").done()
    stream = await edge.complete().done()
    whole = await edge.complete(stream=False).done()

    assert 1 == len(edge.router.requests)
    assert stream.content.endswith(b"data: [DONE]\n\n")
    assert "Paris." == whole.json["choices"][0]["message"]["content"]
    assert whole.headers["cache-status"] == "edge; hit"


# Entries that can be read, and are no answer to a question with one choice, or none that a contract can write.
UNUSABLE: dict[str, dict[str, object]] = {
    "two choices": {"finish_reasons": [1, 1]},
    "no choices in a chunk": {"chunks": ["x", [{}]]},
    "no delta": {"chunks": ["x", [{"index": 0, "delta": 5}]]},
    "text that is a number": {"chunks": [[{"index": 0, "delta": {"content": 5}}]]},
    "a call that is a text": {"chunks": [[{"index": 0, "delta": {"tool_calls": ["x"]}}]]},
    "a call without a number": {"chunks": [[{"index": 0, "delta": {"tool_calls": [{"index": "x"}]}}]]},
    "a choice that was not asked for": {"chunks": ["x", [{"index": 1, "delta": {"content": "y"}}]]},
    "a call after none": {
        "chunks": [
            [
                {
                    "index": 0,
                    "delta": {
                        "tool_calls": [
                            {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
                        ]
                    },
                }
            ]
        ],
    },
    "a call without an id": {"chunks": [[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": ""}]}}]]},
    "a call whose id is a number": {"chunks": [[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": 5}]}}]]},
    "a number that cannot be written": {"chunks": [[{"index": 0, "delta": {"content": "x", "more": 10**30}}]]},
    "a field that cannot be written": {"response_fields": {"more": 10**30}},
    "a count that cannot be recorded": {"usage": {"input_tokens": 10**30}},
    "a count below nothing": {"usage": {"input_tokens": -1}},
    "a name that cannot be recorded": {"provider": "a\0b"},
}


@pytest.mark.parametrize("is_streaming", [True, False])
@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("changes", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_entry_that_no_contract_can_write_is_a_miss(
    edge: Edge, registry: CollectorRegistry, path: str, *, is_streaming: bool, changes: dict[str, object]
) -> None:
    """Whatever it is that was stored; it is counted, and the new answer stands in its place."""
    contract = {"query": "Who?"} if path == "/chat" else {"model": "default", "messages": QUESTION, "max_tokens": 9}
    body = {**contract, "stream": is_streaming}
    await edge.visit(path, body).done()
    (key,) = await edge.stored()
    good = json.loads(await edge.redis.get(key) or "")
    await edge.redis.set(key, json.dumps({**good, **changes}))

    visit = await edge.visit(path, body).done()
    assert (200, 2) == (visit.status, len(edge.router.requests))
    assert b'"error":' not in visit.content
    assert visit.headers["cache-status"].startswith("edge; fwd=miss")
    assert 1 == registry.get_sample_value("edge_cache_unusable_entries_total")
    assert "edge; hit" == (await edge.visit(path, body).done()).headers["cache-status"]


NATIVE = {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": "", "signature": ""}}


@pytest.mark.parametrize(
    "event",
    [
        *({}, {"type": "content_block_start"}, {"type": "content_block_start", "content_block": {"type": 5}}),
        {"type": "content_block_start", "content_block": {"type": "text", "text": [1], "citations": None}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "", "citations": "x"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "no block is open"}},
        *({"type": "message_start", "message": []}, {"type": "message_start", "message": {"usage": 5}}),
        *({"type": "message_delta", "delta": 5}, {"type": "message_delta", "delta": {}}),
        {"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": [1]},
    ],
)
async def test_an_entry_of_events_that_are_no_message_is_a_miss(edge: Edge, event: dict[str, object]) -> None:
    """A good one among them is replayed."""
    body = {"model": "default", "messages": QUESTION, "max_tokens": 9}
    await edge.visit("/v1/messages", body).done()
    (key,) = await edge.stored()
    good = json.loads(await edge.redis.get(key) or "")
    for events, status in (([NATIVE], "edge; hit"), ([event], "edge; fwd=miss; stored")):
        await edge.redis.set(key, json.dumps({**good, "chunks": [{"messages_event": each} for each in events]}))
        visit = await edge.visit("/v1/messages", body).done()
        assert (200, status) == (visit.status, visit.headers["cache-status"])


@pytest.mark.parametrize("damage", [b"", b"garbage", b"{}", b'{"format":1}', b'{"format":2,"chunks":[]}'])
async def test_a_damaged_entry_is_a_miss_and_is_mended(edge: Edge, damage: bytes) -> None:
    """The answer is made anew and stored over the damage."""
    await edge.chat().done()
    (key,) = await edge.stored()
    await edge.redis.set(key, damage)

    visit = await edge.chat().done()
    assert "edge; fwd=miss" == visit.headers["cache-status"]
    assert (2, "done") == (len(edge.router.requests), visit.events[-1][0])
    assert "edge; hit" == (await edge.chat().done()).headers["cache-status"]


@pytest.mark.parametrize(
    ("headers", "reason", "stored"),
    [
        ([("cache-control", "no-store")], "client_no_store", 0),
        ([("cache-control", "No-Cache")], "client_no_cache", 1),
        ([("cache-control", "max-age=0"), ("cache-control", "no-store")], "client_no_store", 0),
    ],
)
async def test_a_client_may_pass_the_cache_by(
    edge: Edge, headers: list[tuple[str, str]], reason: str, stored: int
) -> None:
    """Also by a second header line of that name; `no-cache` still stores."""
    visit = await edge.chat(headers=headers).done()

    assert f"edge; fwd=bypass; detail={reason}" == visit.headers["cache-status"]
    assert (reason, bool(stored)) == tuple(visit.events[-1][1]["cache"][name] for name in ("bypass_reason", "stored"))
    assert stored == len(await edge.stored())
    (settled,) = await edge.settled()
    assert (ledgerpb.CACHE_STATUS_BYPASS, reason) == (settled.cache_status, settled.cache_bypass_reason)


async def test_a_model_name_is_not_sent_back_at_length(edge: Edge) -> None:
    """A name of a megabyte is cut."""
    error = (await edge.chat(model="m" * 1_000_000).done()).json["error"]

    assert ("model_not_found", "model") == (error["code"], error["param"])
    assert len(error["message"]) < 500


async def test_each_request_is_admitted_and_settled_once(edge: Edge) -> None:
    """Under ids that follow from the request's, so that a repeated delivery is harmless."""
    visit = await edge.complete(stream=False).done()
    await edge.emitter.close()
    entries = await edge.redis.xrange(COST_EVENTS)
    assert entries is not None
    assert 2 == len(entries)

    (settled,) = await edge.settled()
    assert visit.headers["x-request-id"] == settled.request.request_id
    assert ("acme", "ada", "gold") == (settled.request.tenant, settled.request.user, settled.request.tier)
    assert (routerpb.OUTCOME_OK, routerpb.FINISH_REASON_STOP) == (settled.outcome, settled.finish_reason)
    assert "edge; fwd=miss; stored" == visit.headers["cache-status"]


async def test_a_rejected_request_leaves_no_event(edge: Edge) -> None:
    """Nothing is spent before the guard."""
    visits = [
        edge.chat(model="nobody"),
        edge.chat("x" * 5000),
        edge.chat(colour="red"),
        edge.visit("/chat", []),
    ]
    codes = [(await visit.done()).json["error"]["code"] for visit in visits]

    assert ["model_not_found", "context_length_exceeded", "unknown_field", "invalid_request"] == codes
    assert 0 == await edge.redis.xlen(COST_EVENTS)
    assert [] == edge.router.requests


async def test_a_request_that_is_cut_short_by_a_shutdown_is_settled(edge: Edge) -> None:
    """The process runs out of patience: the event says so and carries the attempt."""
    edge.router.script = [started(), texts("Pa"), is_silent]
    visit = edge.chat()
    await visit.until(lambda visit: b"Pa" in visit.content)
    visit.task.cancel()
    await asyncio.wait((visit.task,))

    assert visit.task.cancelled()
    (settled,) = await edge.settled()
    assert (routerpb.OUTCOME_INTERRUPTED, "stream_interrupted", 1) == (
        settled.outcome,
        settled.error_code,
        len(settled.attempts),
    )
    assert [] == await edge.stored()
    await asyncio.wait_for(edge.router.cancelled.wait(), 20)


async def test_a_settlement_survives_that_its_request_is_cancelled(
    held: Edge, fake_redis: FakeRedis, spool: Spool
) -> None:
    """The answer is out, the event is on its way, and then the process is told to stop."""
    speak = asyncio.Event()
    held.router.script = [started(), texts("Pa"), waits_for(speak), attempted(), STOP]
    visit = held.chat()
    await visit.until(lambda visit: b"Pa" in visit.content)
    fake_redis.answers.clear()
    speak.set()
    async with asyncio.timeout(20):
        while not held.emitter._under_way:
            await asyncio.sleep(0.002)
    for _ in range(3):
        visit.task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait((visit.task,))
    fake_redis.answers.set()
    await held.emitter.close()

    spooled = [ledgerpb.CostEvent.FromString(payload) for _, payload in await spool.oldest(10)]
    (settled, *_) = [event.settled for event in spooled if event.HasField("settled")] or await held.settled()
    assert (routerpb.OUTCOME_OK, 1) == (settled.outcome, len(settled.attempts))


async def test_without_redis_the_answer_comes_all_the_same(held: Edge, fake_redis: FakeRedis, spool: Spool) -> None:
    """Both events wait in the spool; nothing is stored, and the receipt says why."""
    fake_redis.answers.clear()
    visit = await held.chat().done()

    assert "edge; fwd=bypass; detail=cache_error" == visit.headers["cache-status"]
    cache = visit.events[-1][1]["cache"]
    assert ("bypass", "cache_error", False) == (cache["status"], cache["bypass_reason"], cache["stored"])
    assert 2 == spool.depth


async def test_a_disk_that_does_nothing_stalls_no_other_stream(
    tmp_path: Path, fake_redis: FakeRedis, registry: CollectorRegistry
) -> None:
    """While one request waits for its event to be on the disk, chunks of another go out as they come."""
    spool = HeldSpool(tmp_path / "held.sqlite")
    async with running_edge(tmp_path, fake_redis.url, spool, registry, look_up_timeout_seconds=0.5) as edge:
        steps = [asyncio.Event() for _ in range(20)]
        words = [step for number, event in enumerate(steps) for step in (waits_for(event), texts(f"w{number} "))]
        edge.router.script = [started(), *words, attempted(), STOP]
        flowing = edge.chat("one")
        await flowing.until(lambda visit: b"event: start" in visit.content)
        fake_redis.answers.clear()
        held = edge.chat("two")
        await asyncio.to_thread(spool.is_asked.wait, 20)
        for number, step in enumerate(steps):
            step.set()
            await flowing.until(partial(has_said, f"w{number} ".encode()))
        assert b"" == held.content

        spool.go.set()
        for visit in (flowing, held):
            await visit.done()
            assert "done" == visit.events[-1][0]
    await spool.close()


async def test_an_answer_of_several_choices_comes_whole_and_from_the_cache(edge: Edge) -> None:
    """Each with its own text and its own end."""
    chunk = b'[{"index":1,"delta":{"content":"b"},"finish_reason":null}]'
    second = routerpb.StreamCompletionResponse(delta=routerpb.Delta(choices=[chunk]))
    ends = (routerpb.FINISH_REASON_STOP, routerpb.FINISH_REASON_LENGTH)
    edge.router.script = [started(), texts("a"), second, attempted(), finished(*ends)]
    for _ in range(2):
        whole = (await edge.complete(n=2, stream=False).done()).json
        assert [("a", "stop"), ("b", "length")] == [
            (choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]
        ]
    assert 1 == len(edge.router.requests)


async def test_fields_that_only_the_provider_knows_reach_the_client(edge: Edge) -> None:
    """In the last chunk of a stream, in a whole answer, and from the cache."""
    fields = {"service_tier": "flex", "citations": ["https://example.org"]}
    end = finished(routerpb.FINISH_REASON_STOP)
    end.finished.response_fields = orjson.dumps(fields)
    edge.router.script = [started(), texts("Paris"), attempted(), end]
    stream, hit = [await edge.complete().done() for _ in range(2)]
    whole = await edge.complete(stream=False).done()

    assert fields == {name: whole.json.get(name) for name in fields}
    for visit in (stream, hit):
        chunks = [frame["data"] for frame in visit.frames]
        words, last = [orjson.loads(chunk) for chunk in chunks if "Paris" in chunk or '"stop"' in chunk]
        assert fields == {name: last.get(name) for name in fields}
        assert not fields.keys() & words.keys()
