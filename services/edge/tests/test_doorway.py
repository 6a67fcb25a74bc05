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
        return JSONResponse({"user": identify.identity_of(request).user, "path": request.url.path})

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
        ("/nothing", "/docs"),
        ("/chat/", "/chat"),
        ("/chat//", "/chat"),
        ("/health/", "/health"),
        ("/v1/costs/", "/v1/costs"),
        ("/v1/messages/", "/v1/messages"),
        ("/chat/more", "/docs"),
        ("//evil.example/chat/", "/docs"),
    ],
)
async def test_nothing_is_redirected_and_the_right_path_is_named(
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
        ("GET", "/chat", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("POST", "/v1/costs", "DELETE, GET"),
        ("POST", "/v1/models/a/b", "GET"),
        ("POST", "/health", "GET"),
        ("OPTIONS", "/chat", "POST"),
        ("POST", "/docs", "GET"),
        ("POST", "/openapi.json", "GET, HEAD"),
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
        ("POST", "/chat", {"x-api-key": "KEY"}),
        ("POST", "/v1/messages", {"x-api-key": "sk-spillway-x-y"}),
        ("GET", "/v1/models/a", {}),
        ("GET", "/v1/costs", {"x-api-key": "KEY"}),
    ],
)
async def test_no_key_no_service(
    client: httpx2.AsyncClient, key: tuple[str, KeyRing], method: str, path: str, headers: dict[str, str]
) -> None:
    """401 in the contract's shape; a header of another contract counts for nothing."""
    given = {name: key[0] if value == "KEY" else value for name, value in headers.items()}
    answer = await client.request(method, path, headers=given)

    assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
    assert ("type" in answer.json()) == (path == "/v1/messages")


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
