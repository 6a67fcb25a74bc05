"""The application as a whole: what is said when our own code fails."""

from __future__ import annotations

import orjson
import pytest
from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.messages.contract import MessagesContract
from edge.http.app import create_app
from edge.metrics import Metrics
from edge.problems import Problem

from .scripted_router import Visit

ID_HEADERS = {"/v1/chat/completions": "x-request-id", "/v1/messages": "request-id"}


@pytest.mark.parametrize("path", ID_HEADERS)
async def test_a_crash_is_answered_with_an_id_and_counted_and_tells_nothing(path: str) -> None:
    """Whoever reports it needs the id, and the availability of the front door must know."""
    registry = CollectorRegistry()
    router = APIRouter()

    @router.post(path)
    async def crash(request: Request) -> None:
        raise RuntimeError("secret")

    visit = Visit(create_app([router], [CompletionsContract(), MessagesContract()], Metrics(registry)), path, {}, [])
    with pytest.raises(RuntimeError):  # passed on after the answer, for the server's log
        await visit.done()

    assert 500 == visit.status
    assert visit.headers["x-request-id"]
    assert visit.headers[ID_HEADERS[path]] == visit.headers["x-request-id"]
    assert b"secret" not in visit.content
    assert "the gateway failed; it is our fault, not yours" == orjson.loads(visit.content)["error"]["message"]
    assert 1 == registry.get_sample_value("edge_http_responses_total", {"method": "POST", "code": "500"})
    assert 1 == registry.get_sample_value("edge_refusals_total", {"reason": "internal_error"})


class _Breaks(Response):
    """A response that crashes in its middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        raise RuntimeError("secret")


@pytest.mark.parametrize("path", ID_HEADERS)
async def test_a_crash_within_an_answer_is_raised_and_nothing_follows(path: str) -> None:
    """The server breaks the connection off: a second answer within the first would be read as its words."""
    router = APIRouter()

    @router.post(path)
    async def answer(request: Request) -> Response:
        return _Breaks()

    app = create_app([router], [CompletionsContract(), MessagesContract()], Metrics(CollectorRegistry()))
    visit = Visit(app, path, {}, [])
    with pytest.raises(RuntimeError):
        await visit.done()

    assert (200, b"data: 1\n\n", False) == (visit.status, visit.content, visit.is_complete)


class _Refuses(Response):
    """A response that cannot begin."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise Problem("overloaded", "come back later")


async def test_what_a_response_raises_before_it_begins_is_a_crash_with_an_answer() -> None:
    """A request that is on record is answered by its exchange; whatever else is raised there is a fault of our own."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def answer(request: Request) -> Response:
        return _Refuses()

    app = create_app([router], [CompletionsContract()], Metrics(CollectorRegistry()))
    visit = Visit(app, "/v1/chat/completions", {}, [])
    with pytest.raises(Problem):
        await visit.done()

    assert 500 == visit.status
