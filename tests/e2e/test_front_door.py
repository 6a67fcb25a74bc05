"""The front door in each contract: credentials, paths, methods, compressed bodies, names of models, what is cached."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest

from kit.front_door.edge_client import EdgeClient, Provider

Json = dict[str, Any]

CHAT, COMPLETIONS, MESSAGES, EMBEDDINGS = "/chat", "/v1/chat/completions", "/v1/messages", "/v1/embeddings"
RESPONSES = "/v1/responses"
CACHING = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
FOREIGN = {
    "x-api-key": "sk-ant-api03-0123456789",
    "authorization": "Bearer sk-ant-oat01-0123456789",
    "api-key": "0123456789abcdef0123456789abcdef",
}


def body_of(path: str, words: str, model: str = "cached", **fields: object) -> Json:
    """Return a request in the contract at `path`."""
    turns = [{"role": "user", "content": words}]
    bodies: dict[str, Json] = {
        CHAT: {"query": words, "stream": False},
        COMPLETIONS: {"messages": turns},
        MESSAGES: {"messages": turns, "max_tokens": 50},
        RESPONSES: {"input": words, "store": False},
        EMBEDDINGS: {"input": words},
    }
    return {"model": model, **bodies[path], **fields}


async def send(
    edge: EdgeClient, path: str, body: Json | bytes, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    """Post a body with the tenant's key, unless `headers` have credentials of their own."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    own = {"authorization": f"Bearer {edge.key}"} if headers is None or not FOREIGN.keys() & headers.keys() else {}
    async with httpx2.AsyncClient(timeout=60, follow_redirects=False) as client:
        return await client.post(f"{edge.url}{path}", content=content, headers={**own, **(headers or {})})


@pytest.mark.parametrize("path", [*CACHING, EMBEDDINGS])
@pytest.mark.parametrize("header", FOREIGN)
async def test_a_key_is_taken_from_any_header_and_stays_here(
    edge: EdgeClient, other_edge: EdgeClient, provider: Provider, path: str, header: str
) -> None:
    """Whatever the client has for a vendor beside it; the provider sees its own credential and none of these."""
    own = f"Bearer {edge.key}" if header == "authorization" else edge.key
    model = "vectors" if path == EMBEDDINGS else "other"
    words = edge.fresh(f"whose key {path} {header}")
    answer = await send(edge, path, body_of(path, words, model), {**FOREIGN, header: own})

    assert 200 == answer.status_code, answer.text
    (seen,) = await provider.asked(model, words)
    assert "x-api-key" not in seen["header_names"]
    assert "api-key" not in seen["header_names"]
    for credential in (own, *FOREIGN.values()):
        assert seen["credential_tail"] not in credential
    assert 401 == (await send(edge, path, body_of(path, words), FOREIGN)).status_code
    second = {"authorization": f"Bearer {edge.key}", "api-key": other_edge.key}
    refused = await send(edge, path, body_of(path, words), second)
    assert 400 == refused.status_code
    assert "authorization and api-key name different users" in refused.json()["error"]["message"]
    assert ("type" in refused.json()) == (path == MESSAGES)


async def test_the_vendors_clients_work_with_whatever_base_url(edge: EdgeClient) -> None:
    """With and without `/v1`, with a vendor's name, with a slash: each SDK makes a path of its own of them."""
    for base in ("", "/v1", "/v1/", "/openai/v1", "/openai", "/api/v1"):
        async with openai.AsyncOpenAI(api_key=edge.key, base_url=edge.url + base, max_retries=0) as client:
            turns: Any = [{"role": "user", "content": "which way"}]
            assert (await client.chat.completions.create(model="cached", messages=turns)).choices[0].message.content
            assert "cached" in [model.id async for model in client.models.list()]
    for base in ("", "/", "/v1", "/anthropic", "/anthropic/v1"):
        async with anthropic.AsyncAnthropic(api_key=edge.key, base_url=edge.url + base, max_retries=0) as claude:
            message = await claude.messages.create(
                model="cached", max_tokens=50, messages=[{"role": "user", "content": "which way"}]
            )
            assert "text" == message.content[0].type
            models = await claude.models.list(limit=1000)
            assert "cached" in [model.id for model in models.data]
            assert not models.has_more


async def test_an_azure_client_finds_the_way(edge: EdgeClient) -> None:
    """The v1 API of Azure OpenAI: `api-key`, and `/openai/v1` before the path."""
    answer = await send(
        edge, f"/openai{COMPLETIONS}?api-version=preview", body_of(COMPLETIONS, "azure"), {"api-key": edge.key}
    )

    assert 200 == answer.status_code


@pytest.mark.parametrize("path", [*CACHING, EMBEDDINGS])
async def test_other_spellings_of_a_path_are_the_path(edge: EdgeClient, path: str) -> None:
    """Answered at once, with the receipt under the path's own name; refused in the contract's own shape."""
    model = "vectors" if path == EMBEDDINGS else "cached"
    for spelling in (f"{path}/", f"/{path}", f"{path}?beta=true", f"/v1/v1{path.removeprefix('/v1')}"):
        answer = await send(edge, spelling, body_of(path, "spelled", model))
        assert 200 == answer.status_code, spelling
        expected = "/v1/chat" if spelling.startswith("/v1/v1/chat") and path == CHAT else path
        assert expected == (await edge.receipt(answer.headers["x-request-id"]))["endpoint"]
        refused = await send(edge, spelling, b"{")
        assert (400, path == MESSAGES) == (refused.status_code, "type" in refused.json())


@pytest.mark.parametrize("path", [*CACHING, EMBEDDINGS])
async def test_a_body_may_come_compressed_or_without_a_type(edge: EdgeClient, path: str) -> None:
    """gzip and deflate; anything else, or what is broken, is refused in the contract's own shape."""
    body = orjson.dumps(body_of(path, "packed " * 1000, "vectors" if path == EMBEDDINGS else "cached"))
    for encoding, sent in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("identity", body)):
        answer = await send(edge, path, sent, {"content-encoding": encoding, "content-type": "text/plain"})
        assert 200 == answer.status_code, (encoding, answer.text)
    for encoding, sent, status in (
        ("br", body, 415),
        ("gzip", body, 400),
        ("gzip", gzip.compress(body)[:-9], 400),
        ("gzip", gzip.compress(b" " * 50_000_000), 413),
    ):
        refused = await send(edge, path, sent, {"content-encoding": encoding})
        assert (status, path == MESSAGES) == (refused.status_code, "type" in refused.json()), refused.text
        assert refused.json()["error"]["message"]
    assert "gzip, deflate" == (await send(edge, path, body, {"content-encoding": "zstd"})).headers["accept-encoding"]


async def test_clients_that_look_before_they_ask_see_something(edge: EdgeClient) -> None:
    """`HEAD /` and `HEAD /api/hello` without a key, `HEAD` of reports with one, `OPTIONS` of everything."""
    async with httpx2.AsyncClient(base_url=edge.url, follow_redirects=False) as client:
        greetings = [await client.head(path) for path in ("/", "/api/hello", "/health/live")]
        stranger = await client.head("/v1/models")
        models = await client.head("/v1/models", headers={"x-api-key": edge.key})
        options = [await client.options(path) for path in (*CACHING, EMBEDDINGS, "/v1/models/", "/v1/requests/x")]

    assert [(200, b"")] * 3 == [(each.status_code, each.content) for each in greetings]
    assert (401, 200, b"") == (stranger.status_code, models.status_code, models.content)
    assert int(models.headers["content-length"]) > 100
    assert ["OPTIONS, POST"] * 5 + ["GET, HEAD, OPTIONS"] * 2 == [each.headers["allow"] for each in options]
    assert {204} == {each.status_code for each in options}


@pytest.mark.parametrize(
    ("name", "route", "path"),
    [
        *(("named-2024-11-20", "named", path) for path in CACHING),
        *(("named-preview-7", "named", path) for path in CACHING),
        *(("wild-sonnet-4-5", "wild-*", path) for path in CACHING),
        ("wild-vectors-large", "wild-vectors-*", EMBEDDINGS),
    ],
)
async def test_a_model_answers_to_all_its_names(edge: EdgeClient, name: str, route: str, path: str) -> None:
    """On record, and in the cache, it is one model: that of its route."""
    words = edge.fresh(f"by which name {path} {name}")
    answer = await send(edge, path, body_of(path, words, name))
    again = await send(edge, path, body_of(path, words, route))

    assert (200, 200) == (answer.status_code, again.status_code)
    assert ("edge; hit" == again.headers["cache-status"]) == (path != EMBEDDINGS)
    receipt = await edge.receipt(answer.headers["x-request-id"])
    assert (route, "ok") == (receipt["requested_model"], receipt["outcome"])
    assert name == (await edge.get(f"/v1/models/{name}")).json()["id"]


async def test_aliases_are_listed_and_wildcards_are_not(edge: EdgeClient) -> None:
    """What is listed can be put into a request as it is."""
    listed = [model["id"] for model in (await edge.get("/v1/models")).json()["data"]]

    assert {"named", "named-2024-11-20", "cached"} <= set(listed)
    assert not [name for name in listed if "*" in name]
    assert 404 == (await edge.get("/v1/models/wilder")).status_code


async def twice(edge: EdgeClient, path: str, body: Json, headers: Mapping[str, str] | None = None) -> list[str]:
    """Ask the same twice, and return what the answers say of the cache."""
    answers = [await send(edge, path, body, headers) for _ in range(2)]
    assert [200, 200] == [answer.status_code for answer in answers], answers[0].text
    return [answer.headers["cache-status"] for answer in answers]


@pytest.mark.parametrize("path", CACHING)
@pytest.mark.parametrize("temperature", [None, 0, 0.7])
@pytest.mark.parametrize("mode", [None, "always", "deterministic", "never"])
@pytest.mark.parametrize("model", ["cached", "kept-always", "kept-never"])
async def test_what_is_given_again_is_said_by_route_request_and_contract(
    edge: EdgeClient, path: str, temperature: float | None, mode: str | None, model: str
) -> None:
    """A prompt with a temperature is drawn anew in the vendors' contracts, unless somebody says otherwise."""
    words = edge.fresh(f"drawn {path} {temperature} {mode}")
    fields = {} if temperature is None else {"temperature": temperature}
    headers = None if mode is None else {"x-spillway-cache": mode}
    said = await twice(edge, path, body_of(path, words, model, **fields), headers)

    by_route = {"kept-always": "always"}.get(model)
    mode_in_force = mode or by_route or ("always" if path == CHAT else "deterministic")
    if model == "kept-never":
        expected = ["edge; fwd=bypass; detail=route_never"] * 2
    elif mode_in_force == "never":
        expected = ["edge; fwd=bypass; detail=client_never"] * 2
    elif mode_in_force == "deterministic" and temperature:
        expected = ["edge; fwd=bypass; detail=temperature"] * 2
    else:
        expected = ["edge; fwd=miss; stored", "edge; hit"]
    assert expected == said


async def test_several_choices_tools_and_logprobs_are_cached_as_before(edge: EdgeClient) -> None:
    """Without a temperature they are as good the second time."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    for fields in ({"n": 2}, {"tools": [tool]}, {"logprobs": True, "top_logprobs": 1}):
        body = body_of(COMPLETIONS, edge.fresh(f"as before {sorted(fields)}"), **fields)
        assert ["edge; fwd=miss; stored", "edge; hit"] == await twice(edge, COMPLETIONS, body)
