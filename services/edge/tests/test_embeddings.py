"""Requests for vectors: both formats, what is refused, and that each is settled whatever happens to it."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import grpc
import orjson
import pytest

from edge.cache.cache import Bypass, NoCache
from edge.conversation import EmbeddingInput, PromptSize
from edge.events.redis import COST_EVENTS
from edge.exchange.exchange import Exchange
from edge.facts import RequestFacts
from edge.guardrails.input import Inspected
from edge.identity import Identity
from edge.request_id import new_request_id
from servicekit.errors import abort_with
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import Context, announce_attempt, attempted, dies, is_silent, two_vectors

VECTORS = [list(struct.unpack("<3f", struct.pack("<3f", *v))) for v in [(0.5, -1.0, 0.1), (2.0, 0.0, 3e38)]]


async def test_both_formats_say_the_same_to_the_last_bit(edge: Edge) -> None:
    """Plain numbers by default, base64 of float32 on request; usage without output; headers as on a chat."""
    plain = await edge.embed(user="ada", dimensions=3, later_field=1, absent=None).done()
    packed = await edge.embed(encoding_format="base64").done()

    answer, other = plain.json, packed.json
    assert (200, 200) == (plain.status, packed.status)
    assert ("list", "m-1", {"prompt_tokens": 10, "total_tokens": 10}) == tuple(
        answer[name] for name in ("object", "model", "usage")
    )
    assert [("embedding", 0), ("embedding", 1)] == [(item["object"], item["index"]) for item in answer["data"]]
    assert VECTORS == [item["embedding"] for item in answer["data"]]
    decoded = [struct.unpack("<3f", base64.b64decode(item["embedding"])) for item in other["data"]]
    assert VECTORS == [list(vector) for vector in decoded]
    assert "edge; fwd=bypass; detail=not_cacheable" == plain.headers["cache-status"]
    assert ["guard", "cache", "answer"] == [part.split(";")[0] for part in plain.headers["server-timing"].split(", ")]
    asked = edge.router.embed_requests[0]
    assert ("default", plain.headers["x-request-id"], "acme", "ada") == (
        asked.route,
        asked.request_id,
        asked.tenant,
        asked.user,
    )
    assert {"input": ["one", "two"], "user": "ada", "dimensions": 3, "later_field": 1} == orjson.loads(asked.body)


async def test_a_request_for_vectors_is_admitted_and_settled_once(edge: Edge) -> None:
    """With its attempts as the router reported them, beside the cache, with no finish reason."""
    visit = await edge.embed("a text").done()

    (settled,) = await edge.settled()
    assert 2 == await edge.redis.xlen(COST_EVENTS)
    assert visit.headers["x-request-id"] == settled.request.request_id
    assert ("/v1/embeddings", "default", False) == (
        settled.request.endpoint,
        settled.request.requested_model,
        settled.request.is_streaming,
    )
    assert (routerpb.OUTCOME_OK, routerpb.FINISH_REASON_UNSPECIFIED) == (settled.outcome, settled.finish_reason)
    assert (ledgerpb.CACHE_STATUS_BYPASS, "not_cacheable") == (settled.cache_status, settled.cache_bypass_reason)
    (attempt,) = settled.attempts
    assert (10, 0, True) == (
        attempt.usage.input_tokens,
        attempt.usage.output_tokens,
        attempt.usage.HasField("output_tokens"),
    )


@pytest.mark.parametrize(
    ("embedded", "reported"),
    [
        ("", "input 0 is empty"),
        ([], "must not be empty"),
        (["a", ""], "input 1 is empty"),
        ([[]], "input 0 is empty"),
        ([[1], []], "input 1 is empty"),
        (None, "must be text"),
        (5, "must be text"),
        ({"a": 1}, "must be text"),
        ([None], "input 0 is neither"),
        ([True], "input 0 is neither"),
        (["a", 1], "input 1 is neither"),
        ([1, "a"], "no integer"),
        ([1, -1], "negative"),
        ([[1], ["a"]], "input 1 has a token"),
        ([1.5], "input 0 is neither"),
        (["a"] * 2049, "has 2049 inputs"),
        ([[1]] * 2049, "has 2049 inputs"),
    ],
)
async def test_an_input_that_is_none_is_refused_before_anything_is_spent(
    edge: Edge, embedded: object, reported: str
) -> None:
    """The message says which of them and why."""
    visit = await edge.embed(embedded).done()

    error = visit.json["error"]
    assert (400, "invalid_request", "input") == (visit.status, error["code"], error["param"])
    assert reported in error["message"]
    assert 0 == await edge.redis.xlen(COST_EVENTS)
    assert [] == edge.router.embed_requests


@pytest.mark.parametrize("embedded", ["a", ["a"] * 2048, [1, 2, 3], [[1], [2, 3]], [" "], [[0]]])
async def test_every_form_of_input_passes(edge: Edge, embedded: object) -> None:
    """And reaches the router as it came."""
    assert 200 == (await edge.embed(embedded).done()).status
    assert embedded == orjson.loads(edge.router.embed_requests[0].body)["input"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nowhere"}, 404, "model_not_found", "model"),
        ({"model": ""}, 400, "invalid_request", "model"),
        ({"model": None}, 400, "invalid_request", "model"),
        ({"encoding_format": "hex"}, 400, "invalid_request", "encoding_format"),
        ({"dimensions": 0}, 400, "invalid_request", "dimensions"),
        ({"dimensions": "3"}, 400, "invalid_request", "dimensions"),
        ({"user": 5}, 400, "invalid_request", "user"),
        ({"input": ["a", "x" * 4001]}, 400, "context_length_exceeded", "input"),
        ({"input": [1] * 1001}, 400, "context_length_exceeded", "input"),
    ],
)
async def test_a_wrong_request_is_refused_and_named(
    edge: Edge, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    """The longest input counts against the limit, not their sum."""
    visit = await edge.visit("/v1/embeddings", {"model": "default", "input": "a", **fields}).done()

    error = visit.json["error"]
    assert (status, code, param) == (visit.status, error["code"], error["param"])
    assert 0 == await edge.redis.xlen(COST_EVENTS)


async def test_a_client_that_leaves_does_not_cancel_the_call(edge: Edge) -> None:
    """What was begun is paid for: it comes to its end and is settled as the provider counted it."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def embed(context: Context) -> routerpb.EmbedResponse:
        begun.set()
        await may_end.wait()
        return await two_vectors(context)

    edge.router.embed = embed
    visit = edge.embed()
    await asyncio.wait_for(begun.wait(), 20)
    visit.gone()
    may_end.set()
    await visit.done()

    (settled,) = await edge.settled()
    assert routerpb.OUTCOME_OK == settled.outcome
    assert [10] == [attempt.usage.input_tokens for attempt in settled.attempts]
    assert not edge.router.cancelled.is_set()


async def test_attempts_of_a_failure_are_settled_as_they_were_told(edge: Edge) -> None:
    """The router's error carries them; the client gets its code, its status and when to come again."""
    attempts = [attempted(number, routerpb.OUTCOME_PROVIDER_ERROR).attempt_finished.attempt for number in (1, 2)]
    detail = routerpb.CompletionError(code="rate_limited", message="reported: rate_limited", attempts=attempts)
    detail.retry_after.FromSeconds(7)

    async def embed(context: Context) -> routerpb.EmbedResponse:
        await announce_attempt(context)
        await abort_with(context, grpc.StatusCode.UNAVAILABLE, detail.message, detail)

    edge.router.embed = embed
    visit = await edge.embed().done()

    assert (429, "rate_limited", "7") == (visit.status, visit.json["error"]["code"], visit.headers["retry-after"])
    assert "edge; fwd=bypass; detail=not_cacheable" == visit.headers["cache-status"]
    (settled,) = await edge.settled()
    assert ("rate_limited", routerpb.OUTCOME_PROVIDER_ERROR) == (settled.error_code, settled.outcome)
    assert attempts == list(settled.attempts)


async def test_a_router_that_is_lost_after_it_began_leaves_an_estimate(edge: Edge) -> None:
    """The provider may have done the work: its input is estimated, there is no output, the target is known."""

    async def embed(context: Context) -> routerpb.EmbedResponse:
        await announce_attempt(context)
        await dies(context)
        raise AssertionError

    edge.router.embed = embed
    visit = await edge.embed(["x" * 400, [1, 2, 3]]).done()

    assert (503, "router_unavailable") == (visit.status, visit.json["error"]["code"])
    (settled,) = await edge.settled()
    (attempt,) = settled.attempts
    assert ("t1", "openai", "m", "router_lost") == (
        attempt.target,
        attempt.provider,
        attempt.target_model,
        attempt.error_code,
    )
    assert (103, 0, routerpb.USAGE_SOURCE_ESTIMATED) == (
        attempt.usage.input_tokens,
        attempt.usage.output_tokens,
        attempt.usage_source,
    )


async def test_a_router_that_was_lost_before_it_began_has_spent_nothing(edge: Edge) -> None:
    """No attempt is made up."""

    async def embed(context: Context) -> routerpb.EmbedResponse:
        await dies(context)
        raise AssertionError

    edge.router.embed = embed
    visit = await edge.embed().done()

    assert (503, "router_unavailable") == (visit.status, visit.json["error"]["code"])
    (settled,) = await edge.settled()
    assert ([], routerpb.OUTCOME_PROVIDER_ERROR) == (list(settled.attempts), settled.outcome)


class Silent:
    """A reader of nothing."""

    async def content(self, chunks: list[str | bytes]) -> None:
        """Vectors are no chunks."""

    async def continued(self, continued: routerpb.Continued) -> None:
        """Vectors are not continued."""


def _exchange(edge: Edge) -> Exchange:
    facts = RequestFacts(
        request_id=new_request_id(),
        identity=Identity("k", "acme", "ada", "gold"),
        endpoint="/v1/embeddings",
        requested_model="default",
        is_streaming=False,
        accepted=0.0,
    )
    inputs = EmbeddingInput(
        endpoint="/v1/embeddings",
        requested_model="default",
        encoded_body=orjson.dumps({"input": "x" * 400}),
        estimated_input_tokens=100,
        longest=PromptSize(100, "an input", "input"),
        encoding_format="float",
    )
    no_cache = NoCache("not_cacheable")
    return Exchange(edge.exchanges, facts, Inspected(inputs), Bypass("not_cacheable"), no_cache, lambda: None)


async def test_an_edge_that_is_stopped_settles_what_it_began(edge: Edge) -> None:
    """Out of patience with its drain: the call is cancelled, and what it may have spent is estimated."""

    async def embed(context: Context) -> routerpb.EmbedResponse:
        await announce_attempt(context)
        await is_silent(context)
        raise AssertionError

    edge.router.embed = embed
    exchange = _exchange(edge)
    running = asyncio.create_task(exchange.run(Silent()))
    async with asyncio.timeout(20):
        while not exchange.has_open_attempt:
            await asyncio.sleep(0.002)
    running.cancel()
    await asyncio.wait({running}, timeout=20)

    assert running.cancelled()
    (settled,) = await edge.settled()
    assert routerpb.OUTCOME_INTERRUPTED == settled.outcome
    (attempt,) = settled.attempts
    assert (100, routerpb.USAGE_SOURCE_ESTIMATED) == (attempt.usage.input_tokens, attempt.usage_source)
    await asyncio.wait_for(edge.router.cancelled.wait(), 20)


async def test_an_edge_that_is_stopped_before_anything_began_ends_the_call(edge: Edge) -> None:
    """No attempt is made up, and the router does not go on for nobody."""
    begun = asyncio.Event()

    async def embed(context: Context) -> routerpb.EmbedResponse:
        begun.set()
        await is_silent(context)
        raise AssertionError

    edge.router.embed = embed
    running = asyncio.create_task(_exchange(edge).run(Silent()))
    await asyncio.wait_for(begun.wait(), 20)
    running.cancel()
    await asyncio.wait({running}, timeout=20)

    await asyncio.wait_for(edge.router.cancelled.wait(), 20)
    assert [[]] == [list(settled.attempts) for settled in await edge.settled()]
