"""What a target cannot do: the next one that can is asked, and nothing counts against the one that cannot."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import grpc
import orjson
import pytest

from kit.router.hostile import (
    DONE,
    Asked,
    HostileProvider,
    HostileRouter,
    Script,
    chunk,
    head,
    plays,
    running_hostile_router,
)
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

Json = dict[str, Any]
JSON_HEAD = {"content_type": "application/json"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ASKS: dict[str, Json] = {
    "pictures": {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, PICTURE]}]},
    "tools": {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    },
    "limit": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 100000},
}
REFUSALS: dict[str, tuple[str, Json]] = {
    "pictures": ("400 Bad Request", {"object": "error", "message": "tiny is not a multimodal model", "code": 400}),
    "pictures-500": ("500 Oops", {"error": {"code": 500, "message": "image input is not supported - hint: mmproj"}}),
    "tools": (
        "400 Bad Request",
        {
            "error": {
                "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            }
        },
    ),
    "limit": (
        "400 Bad Request",
        {"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens"}},
    ),
}
GOOD = plays(chunk("good"), chunk(None, "stop"), DONE)


def refuses(status: str, body: object) -> Script:
    """Answer everything with this refusal."""
    return plays(orjson.dumps(body), headers=head(status, **JSON_HEAD))


def vectors(_asked: Asked) -> list[bytes]:
    """Answer with one vector."""
    vector = b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
    reply = {"data": [{"index": 0, "embedding": vector}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    return [head(**JSON_HEAD), orjson.dumps(reply)]


NO_ENDPOINT: dict[str, tuple[str, Json]] = {
    "fastapi": ("404 Not Found", {"detail": "Not Found"}),
    "llama": ("404 Not Found", {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}),
    "llama-501": (
        "501 Not Implemented",
        {"error": {"code": 501, "message": "This server does not support embeddings"}},
    ),
    "method": ("405 Method Not Allowed", {"detail": "Method Not Allowed"}),
    "openai": ("403 Forbidden", {"error": {"message": "You are not allowed to generate embeddings from this model"}}),
}


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    scripts: dict[str, Script] = {"good": GOOD, "vectors": vectors, "declared": GOOD}
    routes: dict[str, list[str]] = {
        "declared": ["openai:declared", "openai:good"],
        "declared-alone": ["openai:declared"],
        "no-model": ["openai:no-model"],
    }
    for name, refusal in REFUSALS.items():
        scripts[name] = refuses(*refusal)
        routes |= {name: [f"vllm:{name}", "openai:good"], f"{name}-alone": [f"vllm:{name}"]}
    for name, refusal in NO_ENDPOINT.items():
        scripts[f"embed-{name}"] = refuses(*refusal)
        routes |= {
            f"embed-{name}": [f"vllm:embed-{name}", "openai:vectors"],
            f"embed-{name}-alone": [f"vllm:embed-{name}"],
        }
    scripts["no-model"] = refuses("404 Not Found", {"error": {"message": "The model `m` does not exist."}})
    options = {"openai:declared": {"images": False, "tools": False}}
    async with (
        HostileProvider(scripts).serving() as provider,
        running_hostile_router(
            tmp_path_factory.mktemp("abilities"), provider, routes, target_options=options
        ) as router,
    ):
        yield router


async def embed(router: HostileRouter, route: str) -> routerpb.EmbedResponse:
    """Ask for one vector."""
    request = routerpb.EmbedRequest(request_id="test", tenant="t", route=route, body=orjson.dumps({"input": "x"}))
    response: routerpb.EmbedResponse = await router.stub.Embed(request)
    return response


@pytest.mark.parametrize("name", REFUSALS)
async def test_the_next_target_that_can_is_asked(router: HostileRouter, name: str) -> None:
    """However often: no breaker opens, no retry is made, no operator is called."""
    body = ASKS[name.partition("-")[0]]
    for _ in range(6):
        stream = await router.complete(name, body)
        assert ["good"] == stream.texts
        assert [("vllm", "unsupported_parameter"), ("openai", "ok")] == stream.outcomes
        assert not stream.attempts[0].HasField("usage")

    assert 6 == len(router.provider.asked[name])
    target = f'target="vllm:{name}"'
    assert 0 == await router.metric(f"llm_router_breaker_open{{{target}}}")
    assert 0 == await router.metric(f'llm_router_target_refusals_total{{reason="target_model_not_found",{target}}}')
    assert 0 == await router.metric(f'llm_router_target_refusals_total{{reason="credential_refused",{target}}}')


@pytest.mark.parametrize("name", REFUSALS)
async def test_with_none_left_it_is_said_who_cannot_do_what(router: HostileRouter, name: str) -> None:
    """An error of the request that names the field and the targets; a retry does not help."""
    stream = await router.complete(f"{name}-alone", ASKS[name.partition("-")[0]])

    param = {"pictures": "messages", "tools": "tools", "limit": "max_tokens"}[name.partition("-")[0]]
    assert stream.error is not None
    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
    assert ("unsupported_parameter", param, False) == (stream.error.code, stream.error.param, stream.error.retryable)
    assert f"vllm:{name}: it " in stream.error.message


@pytest.mark.parametrize("name", ["pictures", "tools"])
async def test_a_target_that_is_said_to_be_unable_is_not_asked(router: HostileRouter, name: str) -> None:
    """The routes file says so: no attempt is made of it; where nobody else is left it is an error at once."""
    stream = await router.complete("declared", ASKS[name])
    alone = await router.complete("declared-alone", ASKS[name])

    assert [("openai", "ok")] == stream.outcomes
    assert "openai:good" == stream.attempts[0].target
    assert [] == router.provider.asked.get("declared", [])
    assert alone.error is not None
    assert ("unsupported_parameter", []) == (alone.error.code, alone.attempts)
    assert f"openai:declared: it takes no {name}" in alone.error.message


async def test_such_a_target_answers_what_it_can(router: HostileRouter) -> None:
    """Texts, also in parts."""
    parts = [{"type": "text", "text": "hi"}, {"type": ["odd"]}, 7]
    stream = await router.complete("declared", {"messages": [{"role": "user", "content": parts}, 7]})

    assert "openai:declared" == stream.attempts[0].target
    router.provider.asked.pop("declared")


@pytest.mark.parametrize("name", NO_ENDPOINT)
async def test_a_chat_engine_has_no_embeddings(router: HostileRouter, name: str) -> None:
    """That is no missing model and no refused credential: the next target of the same model makes the vectors."""
    for _ in range(6):
        response = await embed(router, f"embed-{name}")
        assert [struct.pack("<2f", 0.5, 0.25)] == list(response.vectors)
    with pytest.raises(grpc.aio.AioRpcError) as alone:
        await embed(router, f"embed-{name}-alone")

    assert grpc.StatusCode.INVALID_ARGUMENT == alone.value.code()
    assert f"vllm:embed-{name}: it" in str(alone.value.details())
    target = f'target="vllm:embed-{name}"'
    for reason in ("target_model_not_found", "credential_refused"):
        assert 0 == await router.metric(f'llm_router_target_refusals_total{{reason="{reason}",{target}}}')
    assert 0 == await router.metric(f"llm_router_breaker_open{{{target}}}")


async def test_a_model_that_is_missing_still_calls_the_operator(router: HostileRouter) -> None:
    """By the counter that the alert watches."""
    with pytest.raises(grpc.aio.AioRpcError):
        await embed(router, "no-model")

    series = 'llm_router_target_refusals_total{reason="target_model_not_found",target="openai:no-model"}'
    assert 1 == await router.metric(series)
