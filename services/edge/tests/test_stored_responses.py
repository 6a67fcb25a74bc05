"""Responses that later requests go on from: kept for a tenant, for a time, and only when it is wanted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import redis.asyncio as redis

from edge.guard.keys import add_key, load_keys

from .scripted_edge import Edge
from .scripted_router import STOP, Visit, attempted, started, texts

Json = dict[str, Any]


async def respond(edge: Edge, asked: object, **fields: Any) -> Json:
    """Return a whole response."""
    visit = await edge.respond(asked, stream=False, **fields).done()
    assert 200 == visit.status, visit.content
    response: Json = visit.json
    return response


async def kept(edge: Edge) -> list[bytes]:
    """Return the keys of what is stored."""
    return [key async for key in edge.redis.scan_iter("spillway:response:*")]


def messages_of(edge: Edge) -> list[Any]:
    """Return what the newest request has told the model, without roles."""
    return [message["content"] for message in orjson.loads(edge.router.requests[-1].body)["messages"]]


async def test_a_conversation_goes_on_from_its_newest_response(edge: Edge) -> None:
    """All turns before it are told, in order; instructions are not carried over, and each turn is kept once."""
    first = await respond(edge, "one", instructions="Be brief.")
    second = await respond(edge, "two", previous_response_id=first["id"], instructions="Be long.")
    third = await respond(edge, [{"role": "user", "content": "three"}], previous_response_id=second["id"])

    assert ["one", "Paris.", "two", "Paris.", "three"] == messages_of(edge)
    assert first["id"] == second["previous_response_id"]
    assert second["id"] == third["previous_response_id"]
    assert 3 == len(await kept(edge))


async def test_the_next_request_may_come_with_the_end_of_a_stream(edge: Edge) -> None:
    """A response is kept before `completed` is sent."""
    found: list[Visit] = []

    async def go_on(content: bytes) -> None:
        if b"response.completed" in content:
            response_id = orjson.loads(content.rsplit(b"data: ", 1)[1])["response"]["id"]
            found.append(await edge.respond("more", previous_response_id=response_id).done())

    visit = edge.respond("one")
    visit.before_content = go_on
    await visit.done()

    assert [200] == [each.status for each in found]
    assert ["one", "Paris.", "more"] == messages_of(edge)


async def test_items_are_found_by_their_ids(edge: Edge) -> None:
    """As the AI SDK refers to them instead of sending them back; what was there already is not told twice."""
    first = await respond(edge, "one")
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    asked = [{"role": "user", "content": "one"}, reference, {"role": "user", "content": "two"}]

    await respond(edge, asked)
    assert ["one", "Paris.", "two"] == messages_of(edge)
    await respond(edge, [reference, {"role": "user", "content": "3"}], previous_response_id=first["id"])
    assert ["one", "Paris.", "3"] == messages_of(edge)


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_" + "0" * 32},
        {"previous_response_id": "somebody's"},
        {"input": [{"type": "item_reference", "id": "msg_" + "0" * 32 + "_0"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
)
async def test_what_is_not_there_is_said_to_be_missing(edge: Edge, fields: Json) -> None:
    """A 404 that names the field, and nothing is asked."""
    visit = await edge.visit("/v1/responses", {"model": "default", "input": "x", **fields}).done()

    assert (404, "previous_response_not_found") == (visit.status, visit.json["error"]["code"])
    assert not edge.router.requests


async def test_another_tenant_sees_none_of_it(edge: Edge, tmp_path: Any) -> None:
    """Neither to go on from, nor to read, nor to delete."""
    first = await respond(edge, "one")
    key = add_key(tmp_path / "keys.yaml", "other", "eve", "gold")
    edge.identify = type(edge.identify)(load_keys(tmp_path / "keys.yaml"))
    edge.key, own = key, edge.key

    assert 404 == (await edge.respond("x", previous_response_id=first["id"]).done()).status
    for method in ("GET", "DELETE"):
        assert 404 == (await edge.visit(f"/v1/responses/{first['id']}", None, method=method).done()).status
    edge.key = own
    assert 200 == (await edge.visit(f"/v1/responses/{first['id']}", None, method="GET").done()).status


async def test_nothing_is_kept_that_nobody_wants_kept(edge: Edge) -> None:
    """`store: false`, `Cache-Control: no-store`, and an edge that keeps none; the response says so."""
    assert not (await respond(edge, "a", store=False))["store"]
    visit = await edge.respond("b", stream=False, headers=[("cache-control", "no-store")]).done()
    assert not visit.json["store"]
    edge.settings["responses_ttl_seconds"] = 0
    assert not (await respond(edge, "c"))["store"]
    assert not await kept(edge)


async def test_an_answer_that_breaks_off_is_not_kept(edge: Edge) -> None:
    """There is nothing to go on from."""
    edge.router.script = [started(), texts("Pa")]
    visit = await edge.respond("a").done()

    assert "response.failed" == visit.events[-1][0]
    assert not await kept(edge)


async def test_what_is_kept_has_an_end(edge: Edge, valkey: redis.Redis) -> None:
    """After the time of the setting, counted from its last use, which counts for all before it."""
    edge.settings["responses_ttl_seconds"] = 100
    first = await respond(edge, "one")
    (key,) = await kept(edge)
    assert 0 < await valkey.ttl(key) <= 100
    await valkey.expire(key, 5)
    await respond(edge, "two", previous_response_id=first["id"])
    assert 90 < await valkey.ttl(key) <= 100


async def test_a_response_that_is_too_long_says_that_it_is_not_kept(edge: Edge) -> None:
    """Its own bytes count, not those of the responses before it."""
    edge.router.script = [started(), texts("x" * 5_000_000), attempted(), STOP]

    assert not (await respond(edge, "one"))["store"]
    assert not await kept(edge)


async def test_a_stored_response_can_be_read_and_deleted(edge: Edge) -> None:
    """As its client got it; its input as items with ids, a page at a time; then it is gone."""
    asked = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    response = await respond(edge, asked)
    path = f"/v1/responses/{response['id']}"

    assert response == (await edge.visit(path, None, method="GET").done()).json
    page = (await edge.visit(f"{path}/input_items", None, method="GET").done()).json
    assert ["two", "one"] == [item["content"][0]["text"] for item in page["data"]]
    assert (page["data"][0]["id"], False) == (page["first_id"], page["has_more"])
    cancel = await edge.visit(f"{path}/cancel", {}, method="POST").done()
    assert (400, "invalid_request") == (cancel.status, cancel.json["error"]["code"])
    deleted = await edge.visit(path, None, method="DELETE").done()
    assert {"id": response["id"], "object": "response", "deleted": True} == deleted.json
    assert 404 == (await edge.visit(path, None, method="GET").done()).status
    assert 404 == (await edge.visit(path, None, method="DELETE").done()).status
