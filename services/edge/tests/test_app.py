"""The application as a whole: what is said when our own code fails."""

from __future__ import annotations

import orjson
import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.messages.contract import MessagesContract
from edge.http.app import create_app
from edge.metrics import Metrics

from .scripted_router import Visit

ID_HEADERS = {"/v1/chat/completions": "x-request-id", "/v1/messages": "request-id"}


@pytest.mark.parametrize("path", ID_HEADERS)
async def test_a_crash_is_answered_with_an_id_and_counted_and_tells_nothing(path: str) -> None:
    """Whoever reports it needs the id, and the availability of the front door must know."""
    registry = CollectorRegistry()
    router = APIRouter()

    @router.post(path)
    async def crash() -> None:
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
