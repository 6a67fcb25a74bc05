"""Unknown paths, wrong methods and missing keys: answered at the door, without a redirect, and logged a little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from edge.contracts.chat.contract import ChatContract
from edge.contracts.messages.contract import MessagesContract
from edge.guard.capacity import Capacity
from edge.guard.identify import Caller, Identify
from edge.guard.keys import KeyRing, add_key, load_keys
from edge.http.app import create_app
from edge.metrics import Metrics


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, KeyRing]:
    """Return a key and all that there are."""
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    return add_key(file, "acme", "ada", "gold"), load_keys(file)


@pytest.fixture
def capacity() -> Capacity:
    """Return the places of the application."""
    return Capacity(100, 100, 1000, 1000)


@pytest.fixture
async def client(key: tuple[str, KeyRing], capacity: Capacity) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of an application with two contracts, a report and a probe."""
    identify = Identify(key[1])
    contracts, reports, probes = APIRouter(), APIRouter(dependencies=[Depends(identify)]), APIRouter()

    async def answer(request: Request) -> Response:
        return JSONResponse({"user": (await identify.identify(request)).user, "path": request.url.path})

    async def report(caller: Caller, name: str = "") -> dict[str, str]:
        return {"user": caller.user, "name": name}

    async def probe() -> dict[str, str]:
        return {"status": "ok"}

    for path in ("/chat", "/v1/messages"):
        contracts.add_api_route(path, answer, methods=["POST"])
    reports.add_api_route("/v1/models/{name:path}", report, methods=["GET"])
    reports.add_api_route("/v1/costs", report, methods=["GET"])
    reports.add_api_route("/v1/costs", report, methods=["DELETE"])
    probes.add_api_route("/health", probe, methods=["GET"])
    app = create_app(
        [contracts, reports, probes],
        [ChatContract(), MessagesContract()],
        Metrics(CollectorRegistry()),
        identify,
        capacity,
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://edge") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/", "/docs"),
        ("/api/hello", "/docs"),
        ("/nothing", "/docs"),
        ("/chat/more", "/docs"),
        ("/health/more/", "/docs"),
        ("//evil.example/chat/", "/docs"),
        ("/openai/v2/messages", "/docs"),
        ("/api/chat", "/docs"),
        ("/v1/health", "/docs"),
        ("/openai/health", "/docs"),
        ("/anthropic/v1/costs", "/docs"),
        ("/costs", "/docs"),
        ("/v1/v1", "/docs"),
        ("/v1/v1/", "/docs"),
    ],
)
async def test_nothing_is_redirected_and_the_document_is_named(
    client: httpx2.AsyncClient, path: str, meant: str
) -> None:
    """A redirect to the client's own `Host` would send others' keys wherever a stranger likes."""
    for method in ("GET", "POST"):
        answer = await client.request(method, f"http://edge{path}", headers={"host": "evil.example"})

        assert 404 == answer.status_code
        assert "location" not in answer.headers
        assert answer.json()["error"]["message"].endswith(f"; see {meant}")
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/chat", "OPTIONS, POST"),
        ("HEAD", "/chat", "OPTIONS, POST"),
        ("PUT", "/v1/messages", "OPTIONS, POST"),
        ("PUT", "/v1/v1/messages/", "OPTIONS, POST"),
        ("POST", "/v1/costs", "DELETE, GET, HEAD, OPTIONS"),
        ("POST", "/v1/models/a/b", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("POST", "/docs", "GET, HEAD, OPTIONS"),
        ("POST", "/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """As HTTP wants it, with a key or without."""
    answer = await client.request(method, path)

    assert (405, allowed) == (answer.status_code, answer.headers["allow"])


async def test_what_there_is_is_served(client: httpx2.AsyncClient, key: tuple[str, KeyRing]) -> None:
    """With the identity of the key, which either header may bring where the contract takes both."""
    bearer, own = {"authorization": f"Bearer {key[0]}"}, {"x-api-key": key[0]}

    assert {"user": "ada", "path": "/chat"} == (await client.post("/chat", headers=bearer)).json()
    assert {"user": "ada", "path": "/v1/messages"} == (await client.post("/v1/messages", headers=own)).json()
    assert {"user": "ada", "name": "a/b"} == (await client.get("/v1/models/a/b", headers=bearer)).json()
    assert {"user": "ada", "name": ""} == (await client.delete("/v1/costs", headers=bearer)).json()
    assert {"status": "ok"} == (await client.get("/health")).json()
    assert 200 == (await client.get("/docs")).status_code
    assert 200 == (await client.head("/openapi.json")).status_code
    assert 200 == (await client.get("/static-offline-docs/swagger-ui.css")).status_code
    assert 404 == (await client.get("/static-offline-docs/nothing")).status_code


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/chat", {}),
        ("POST", "/chat", {"authorization": "Bearer sk-spillway-x-y"}),
        ("POST", "/chat", {"authorization": "Basic x"}),
        ("POST", "/chat", {"x-api-key": "sk-spillway-x-y"}),
        ("POST", "/v1/messages", {"x-api-key": "sk-spillway-x-y"}),
        ("POST", "/anthropic/v1/messages", {"api-key": "sk-spillway-x-y", "authorization": "Bearer sk-ant-oat01-x"}),
        ("POST", "/v1/messages", {"x-api-key": "", "authorization": "Bearer ", "api-key": " "}),
        ("GET", "/v1/models/a", {}),
        ("HEAD", "/v1/costs", {}),
        ("GET", "/v1/costs/", {"api-key": "nonsense"}),
    ],
)
async def test_no_key_no_service(client: httpx2.AsyncClient, method: str, path: str, headers: dict[str, str]) -> None:
    """401 in the contract's shape, wherever a key may come."""
    answer = await client.request(method, path, headers=headers)

    assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
    if method != "HEAD":
        assert ("type" in answer.json()) == path.endswith("/v1/messages")


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/chat/", "/chat"),
        ("/chat///", "/chat"),
        ("//v1/messages", "/v1/messages"),
        ("/v1//messages/", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/messages/", "/v1/messages"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/v1/messages", "/v1/messages"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/anthropic/messages", "/v1/messages"),
        ("/anthropic/v1/v1/messages", "/v1/messages"),
        ("/openai/v1/messages", "/v1/messages"),
        ("/api/v1/messages", "/v1/messages"),
        ("/api/v1/v1/messages?beta=true", "/v1/messages"),
        ("/v1/messages?beta=true", "/v1/messages"),
    ],
)
async def test_whatever_a_base_url_makes_of_it_a_contract_is_found(
    client: httpx2.AsyncClient, key: tuple[str, KeyRing], asked: str, path: str
) -> None:
    """At once and by its own path: that is what rights and records go by."""
    owner = {"x-api-key": key[0]}

    answer = await client.post(f"http://edge{asked}", headers=owner)
    assert (200, {"user": "ada", "path": path}) == (answer.status_code, answer.json())
    refused = await client.post(f"http://edge{asked}")
    assert (401, path == "/v1/messages") == (refused.status_code, "type" in refused.json())


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/anthropic/v1/messages/batches", "//v1/messages/batches"])
async def test_what_is_not_there_below_a_contract_is_told_in_its_shape(client: httpx2.AsyncClient, path: str) -> None:
    """Its clients read no other."""
    answer = await client.post(f"http://edge{path}")

    assert (404, "not_found_error") == (answer.status_code, answer.json()["error"]["type"])
    assert "type" not in (await client.post("/anthropic/v1/message")).json()


async def test_models_are_found_as_well_and_reports_by_their_own_path_only(
    client: httpx2.AsyncClient, key: tuple[str, KeyRing]
) -> None:
    """SDKs ask for the models below the same base URL; a slash at the end does no harm anywhere."""
    owner = {"api-key": key[0]}
    for path, name in (
        ("/models/a/b", "a/b"),
        ("/openai/v1/models/a", "a"),
        ("/v1/v1/models/a/", "a"),
        ("/v1/models/a//b", "a//b"),
    ):
        assert {"user": "ada", "name": name} == (await client.get(path, headers=owner)).json()
    assert 200 == (await client.get("/v1/costs/", headers=owner)).status_code
    assert 200 == (await client.get("/health/")).status_code


async def test_head_is_answered_wherever_get_is(client: httpx2.AsyncClient, key: tuple[str, KeyRing]) -> None:
    """With the same status and headers, and nothing after them."""
    owner = {"authorization": f"Bearer {key[0]}"}
    for path in ("/v1/costs", "/v1/models/a", "/health", "/docs", "/openapi.json"):
        got, head = await client.get(path, headers=owner), await client.head(path, headers=owner)
        assert (200, b"") == (head.status_code, head.content)
        assert [got.headers[name] for name in ("content-type", "content-length")] == [
            head.headers[name] for name in ("content-type", "content-length")
        ]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/chat", "OPTIONS, POST"), ("/v1/messages/", "OPTIONS, POST"), ("/v1/models/a", "GET, HEAD, OPTIONS")],
)
async def test_options_tell_what_there_is(client: httpx2.AsyncClient, path: str, allowed: str) -> None:
    """Without a key: browsers send none with a preflight. What is not there is not found."""
    answer = await client.options(path)

    assert (204, allowed, b"") == (answer.status_code, answer.headers["allow"], answer.content)
    assert 404 == (await client.options("/nothing")).status_code


async def test_strangers_cannot_fill_the_log(client: httpx2.AsyncClient) -> None:
    """A few lines a second, whatever comes; the next one says how many are missing."""
    structlog.contextvars.clear_contextvars()
    with capture_logs() as logged:
        for _ in range(300):
            await client.post("/chat")
            await client.get("/nothing")
            await client.get("/chat")

    assert {"request_rejected"} == {line["event"] for line in logged}
    assert 0 < len(logged) <= 50


async def test_who_finds_the_queue_full_is_refused_before_the_body_is_read(
    client: httpx2.AsyncClient, key: tuple[str, KeyRing], capacity: Capacity
) -> None:
    """Of the contracts only: who wants to know how things stand is told."""
    owner = {"authorization": f"Bearer {key[0]}"}
    turns = capacity.turns
    for _ in range(16):
        await turns.take()
    waiting = [asyncio.create_task(turns.take(waited_seconds=-60.0)) for _ in range(64)]
    await asyncio.sleep(0)

    refused = await client.post("/v1/messages", headers=owner, content=b"no JSON")
    assert (503, "1") == (refused.status_code, refused.headers["retry-after"])
    assert "overloaded" == refused.json()["error"]["details"]["error_code"]
    assert 401 == (await client.post("/v1/messages")).status_code
    assert 200 == (await client.get("/v1/costs", headers=owner)).status_code

    turns.give_back(0.0)
    assert 200 == (await client.post("/v1/messages", headers=owner)).status_code
    for _ in range(15 + 64):
        turns.give_back(0.0)
    await asyncio.gather(*waiting)
