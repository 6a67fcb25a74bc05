"""Replies with vectors that are none: a failure of the provider, within bounds, and what it has counted is kept."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import AsyncIterator

import grpc
import orjson
import pytest

from kit.router.hostile import HostileProvider, HostileRouter, Script, endlessly, head, plays, running_hostile_router
from servicekit.errors import detail_of
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
MAX_GROWTH = 48 * MEGABYTE
JSON = head(content_type="application/json")
GOOD = b64encode(struct.pack("<2f", 0.5, 0.25)).decode()


def reply(*data: object, usage: object = None, **more: object) -> bytes:
    """Write a reply."""
    return orjson.dumps(
        {"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7} if usage is None else usage, **more}
    )


def vector(embedding: object, index: object = 0) -> dict[str, object]:
    """Write an entry."""
    return {"object": "embedding", "index": index, "embedding": embedding}


BROKEN: dict[str, bytes] = {
    "none": reply(),
    "too-many": reply(*[vector(GOOD, index) for index in range(500)]),
    "index": reply(vector(GOOD, 10**9)),
    "index-negative": reply(vector(GOOD, -1)),
    "index-text": reply(vector(GOOD, "first")),
    "index-list": reply(vector(GOOD, [0])),
    "empty": reply(vector([])),
    "no-vector": reply(vector(None)),
    "object": reply(vector({"a": 1})),
    "texts": reply(vector(["a", "b"])),
    "nested": reply(vector([[0.1, 0.2]])),
    "not-base64": reply(vector("%%%%")),
    "half-a-number": reply(vector(b64encode(b"abcdef").decode())),
    "nan": reply(vector(b64encode(struct.pack("<2f", 1.0, float("nan"))).decode())),
    "infinite": reply(vector([1e300, 1])),
    "entry": reply(7),
    "data": orjson.dumps({"data": "x" * 1000, "usage": {"prompt_tokens": 7}}),
}
UNREAD: dict[str, bytes] = {
    "no-object": b"[1, 2]",
    "no-json": b"<html>",
    "deep": b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}",
    "parts": b'{"data": [' + b"[]," * 500_000 + b"[]]}",
}
USAGES: dict[str, object] = {
    "negative": {"prompt_tokens": -5, "total_tokens": -5},
    "huge": {"prompt_tokens": 10**15, "total_tokens": 10**15},
    "text": {"prompt_tokens": "many"},
    "list": [1, 2],
    "float": {"prompt_tokens": 1e300},
    "nested": {"prompt_tokens": {"a": {"b": {"c": 1}}}},
}
SCRIPTS: dict[str, Script] = {
    "good": plays(reply(vector(GOOD)), headers=JSON),
    **{name: plays(body, headers=JSON) for name, body in (BROKEN | UNREAD).items()},
    **{f"usage-{name}": plays(reply(vector(GOOD), usage=usage), headers=JSON) for name, usage in USAGES.items()},
    "endless": endlessly(b" " * 65536, first=b"{", headers=JSON),
    "dimensions": endlessly(b"0.5," * 16384, first=b'{"data":[{"embedding":[', headers=JSON),
    "compressed": plays(reply(vector(GOOD)), headers=head(content_encoding="gzip")),
    "name": plays(reply(vector(GOOD), model="m" * 400_000), headers=JSON),
}


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    routes = {name: [f"openai:{name}", "openai:good"] for name in SCRIPTS if name != "good"} | {"good": ["openai:good"]}
    async with (
        HostileProvider(dict(SCRIPTS)).serving() as provider,
        running_hostile_router(tmp_path_factory.mktemp("embeddings"), provider, routes) as router,
    ):
        await embedded(router, "good")
        yield router


async def embedded(router: HostileRouter, route: str) -> routerpb.EmbedResponse:
    """Ask for the vector of one input; return the answer, whatever the first target did, within bounds."""
    before = router.reset_peak()
    request = routerpb.EmbedRequest(request_id="e", route=route, body=b'{"input": "hello"}')
    try:
        response: routerpb.EmbedResponse = await router.stub.Embed(request, timeout=60.0)
    except grpc.aio.AioRpcError as error:
        pytest.fail(f"{error.code()} {detail_of(error, routerpb.CompletionError)}")
    growth = router.peak() - before
    assert growth < MAX_GROWTH, f"{growth / MEGABYTE:.0f} MB"
    assert [struct.pack("<2f", 0.5, 0.25)] == list(response.vectors)
    return response


@pytest.mark.parametrize("name", BROKEN)
async def test_what_was_counted_is_kept(router: HostileRouter, name: str) -> None:
    """The vectors are of no use, and were billed."""
    first = (await embedded(router, name)).attempts[0]

    assert ("stream_broken", 7) == (first.error_code, first.usage.input_tokens)
    assert routerpb.USAGE_SOURCE_REPORTED == first.usage_source


@pytest.mark.parametrize("name", [*UNREAD, "endless", "dimensions", "compressed"])
async def test_what_cannot_be_read_is_estimated(router: HostileRouter, name: str) -> None:
    """The next target of the same model answers."""
    first = (await embedded(router, name)).attempts[0]

    assert ("stream_broken", 2) == (first.error_code, first.usage.input_tokens)
    assert routerpb.USAGE_SOURCE_ESTIMATED == first.usage_source
    assert router.provider.asked[name][-1].sent_bytes < 24 * MEGABYTE


@pytest.mark.parametrize("name", USAGES)
async def test_counts_that_are_none_are_estimated(router: HostileRouter, name: str) -> None:
    """The vectors are good."""
    response = await embedded(router, f"usage-{name}")

    (attempt,) = response.attempts
    assert ("", routerpb.USAGE_SOURCE_ESTIMATED) == (attempt.error_code, attempt.usage_source)
    assert (2, 0) == (attempt.usage.input_tokens, attempt.usage.output_tokens)


async def test_the_name_of_the_model_is_cut(router: HostileRouter) -> None:
    """It is recorded."""
    assert "m" * 256 == (await embedded(router, "name")).response_model
