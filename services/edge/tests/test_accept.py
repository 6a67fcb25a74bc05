"""The ids of a request: ours is always minted, the client's own is recorded beside it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import structlog
import uuid_utils.compat
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from edge.events.redis import COST_EVENTS
from edge.http.accept import Accept
from edge.metrics import Metrics
from edge.request_id import client_request_id, new_request_id
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from .scripted_edge import QUESTION, Edge

BODIES: dict[str, dict[str, Any]] = {
    "/chat": {"query": "Who?"},
    "/v1/chat/completions": {"model": "default", "messages": QUESTION},
    "/v1/messages": {"model": "default", "max_tokens": 5, "messages": QUESTION},
    "/v1/embeddings": {"model": "default", "input": "one"},
}


def test_an_id_of_ours_is_a_new_uuid7() -> None:
    """No two requests share one, and those of one edge are in order."""
    minted = [new_request_id() for _ in range(1000)]

    assert 1000 == len(set(minted))
    assert {7} == {uuid.UUID(each).version for each in minted}
    assert minted == sorted(minted)


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ("", ""),
        ("   ", ""),
        ("order-17", "order-17"),
        (" order 17 ", "order 17"),
        ("größe", "größe"),
        ("a\nb\x00c\x1b[31m", "a\ufffdb\ufffdc\ufffd[31m"),
        ("a\u2028b\u202ec\x85d\x7f", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("1" * 100_000, "1" * 200),
        ("0192f3a4-6f1e-7cc2-9d0a-2f7d7c1b8e55", "0192f3a4-6f1e-7cc2-9d0a-2f7d7c1b8e55"),
    ],
)
def test_a_clients_id_is_any_text_without_control_characters(offered: str, expected: str) -> None:
    """Truncated, on one line, without characters that reverse or hide others."""
    assert expected == client_request_id(offered)


@given(st.text())
def test_cleaning_a_clients_id_is_idempotent(offered: str) -> None:
    """The id that a receipt shows finds the receipt."""
    shown = client_request_id(offered)

    assert shown == client_request_id(shown)
    assert len(shown) <= 200
    assert shown.isprintable()


@pytest.mark.parametrize("path", BODIES)
async def test_a_clients_id_is_never_taken_for_ours(edge: Edge, path: str) -> None:
    """Even a fresh UUIDv7: sent twice, it is two requests with ids of their own, each recorded with the client's."""
    mine = str(uuid_utils.compat.uuid7())
    visits = [await edge.visit(path, BODIES[path], [("x-request-id", mine)]).done() for _ in range(2)]

    ids = [visit.headers["x-request-id"] for visit in visits]
    assert 3 == len({mine, *ids})
    assert [mine, mine] == [visit.headers["x-client-request-id"] for visit in visits]
    await edge.emitter.close()
    entries: Any = await edge.redis.xrange(COST_EVENTS)
    events = [ledgerpb.CostEvent.FromString(fields[b"event"]) for _, fields in entries]
    requests = [(each.settled if each.HasField("settled") else each.admitted).request for each in events]
    assert [(each, mine) for each in ids for _ in range(2)] == [
        (request.request_id, request.client_request_id) for request in requests
    ]


async def test_a_request_without_a_clients_id_has_only_ours(edge: Edge) -> None:
    """There is no empty header."""
    visit = await edge.chat().done()

    assert "x-client-request-id" not in visit.headers
    (settled,) = await edge.settled()
    assert (visit.headers["x-request-id"], "") == (settled.request.request_id, settled.request.client_request_id)


async def test_an_error_carries_both_ids(edge: Edge) -> None:
    """Including one before admission; the header is safe."""
    visit = await edge.visit("/chat", {"colour": 5}, [("x-request-id", "a\x0bb" + "é" * 300)]).done()

    assert 400 == visit.status
    assert 7 == uuid.UUID(visit.headers["x-request-id"]).version
    assert "a\ufffdb" + "é" * 197 == visit.headers["x-client-request-id"]


async def test_every_log_line_of_a_request_names_both_ids(edge: Edge) -> None:
    """They are bound once, for all lines that follow."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        visit = await edge.chat(headers=[("x-request-id", "mine\n")]).done()

    assert "request_finished" in [line["event"] for line in lines]
    assert {(visit.headers["x-request-id"], "mine")} == {
        (line["request_id"], line["client_request_id"]) for line in lines
    }


async def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    """A header may contain any bytes, a cost event only text."""
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["state"]["client_request_id"])

    accept = Accept(app, Metrics(CollectorRegistry()))
    await accept({"type": "http", "headers": [(b"x-request-id", b"a\xff\xfeb")]}, _nothing, _nothing)

    assert ["a\ufffd\ufffdb"] == seen


async def _nothing(*_: Any) -> Any:
    """Neither send nor receive."""
