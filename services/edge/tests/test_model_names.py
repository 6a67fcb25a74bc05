"""Aliases and wildcards: whatever a client calls a public model, rights, cache and records are those of its route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from edge.router.models import ModelNames
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .test_rights import body_of, give_key

NAMES = ModelNames(
    [
        routerpb.Model(route="gpt-4o", aliases=["gpt-4o-2024-11-20", "gpt-4o-latest", "gpt-4o-2024*"]),
        routerpb.Model(route="claude-*", aliases=["anthropic/*"]),
        routerpb.Model(route="claude-opus-*"),
        routerpb.Model(route="claude-opus-4-1"),
        routerpb.Model(route="default"),
    ]
)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2025-01-01", None),
        ("gpt-4", None),
        ("claude-opus-4-1", "claude-opus-4-1"),
        ("claude-opus-4-1-20250805", "claude-opus-*"),
        ("claude-opus-", "claude-opus-*"),
        ("claude-opus", "claude-*"),
        ("claude-", "claude-*"),
        ("claude-*", "claude-*"),
        ("claude", None),
        ("CLAUDE-1", None),
        ("anthropic/claude", "claude-*"),
        ("default", "default"),
        ("", None),
        ("*", None),
    ],
)
def test_an_exact_name_goes_before_a_wildcard_and_the_longer_wildcard_first(name: str, route: str | None) -> None:
    """In whichever order the routes stand."""
    assert route == NAMES.route_of(name)
    assert route == ModelNames(reversed(list(NAMES.models.values()))).route_of(name)


@pytest.mark.unit
def test_a_wildcard_for_all_is_asked_last() -> None:
    """Then there is no name that does not exist."""
    names = ModelNames([routerpb.Model(route="*"), *NAMES.models.values()])

    assert ["*", "*", "claude-*"] == [names.route_of(name) for name in ("", "gpt-4", "claude-3")]


@pytest.fixture(name="named")
def _named(edge: Edge) -> Edge:
    """Return the edge in front of a router with names of every kind."""
    edge.router.models = ["default", "gpt-4o", "claude-*"]
    edge.router.aliases = {"gpt-4o": ["gpt-4o-2024-11-20", "gpt-4o-mini-*"]}
    return edge


async def test_aliases_are_listed_and_wildcards_are_not(named: Edge) -> None:
    """Each in the shape of both vendors' contracts; and each name that can be asked is shown."""
    _, listed = await body_of(named, "/v1/models", None, "GET")
    names = [model["id"] for model in listed["data"]]

    assert ["default", "gpt-4o", "gpt-4o-2024-11-20"] == names
    assert ("list", False, "default", "gpt-4o-2024-11-20") == tuple(
        listed[name] for name in ("object", "has_more", "first_id", "last_id")
    )
    for name in (*names, "claude-sonnet-4-5", "gpt-4o-mini-2024"):
        status, model = await body_of(named, f"/v1/models/{name}", None, "GET")
        assert (200, name, name, "model", "model") == (
            status,
            model["id"],
            model["display_name"],
            model["object"],
            model["type"],
        )
        assert 1_767_225_600 == model["created"]
        assert "2026-01-01T00:00:00Z" == model["created_at"]
    status, error = await body_of(named, "/v1/models/gemini", None, "GET")
    assert (404, "model_not_found") == (status, error["error"]["code"])


@pytest.mark.parametrize(
    ("name", "route"),
    [("gpt-4o-2024-11-20", "gpt-4o"), ("gpt-4o-mini-x", "gpt-4o"), ("claude-sonnet-4-5", "claude-*")],
)
async def test_a_request_is_run_and_recorded_as_one_for_the_route(
    named: Edge, counted: Callable[..., float], name: str, route: str
) -> None:
    """The router is asked for it, the answer is cached for it, and no client's word becomes a label of a metric."""
    with capture_logs() as logged:
        first = await named.complete(model=name).done()
        again = await named.complete(model=route).done()

    assert [route] == [request.route for request in named.router.requests]
    assert ["edge; fwd=miss", "edge; hit"] == [visit.headers["cache-status"] for visit in (first, again)]
    assert [route, route] == [settled.request.requested_model for settled in await named.settled()]
    assert 1 == counted("edge_requests_total", requested_model=route, outcome="ok", cache_status="miss")
    assert 0 == counted("edge_requests_total", requested_model=name, outcome="ok", cache_status="miss")
    ends = [line for line in logged if line["event"] == "request_finished"]
    assert [(route, name), (route, None)] == [(line["requested_model"], line["asked_model"]) for line in ends]


async def test_a_name_of_any_length_is_logged_in_part(named: Edge) -> None:
    """A wildcard lets everything through that begins well."""
    with capture_logs() as logged:
        visit = await named.complete(model="claude-" + "x" * 500_000).done()

    assert 200 == visit.status
    (end,) = [line for line in logged if line["event"] == "request_finished"]
    assert 100 == len(end["asked_model"])


async def used(edge: Edge, name: str) -> int:
    """Ask a model, and return the status."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    return (await body_of(edge, "/v1/chat/completions", {"model": name, **asked}))[0]


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (["gpt-4o"], ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-mini-x"]),
        (["gpt-4o-2024*"], ["gpt-4o-2024-11-20"]),
        (["claude-*"], ["claude-1"]),
        (["claude-1*"], []),
        (["gpt-4o-mini-*"], []),
        (["*"], ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-mini-x", "claude-1"]),
    ],
)
async def test_rights_are_for_routes_and_for_aliases_by_name(
    named: Edge, patterns: list[str], allowed: list[str]
) -> None:
    """What a wildcard catches is the client's word: it gives nobody a right to what the wildcard leads to."""
    give_key(named, models=patterns)
    names = ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-mini-x", "claude-1"]
    _, listed = await body_of(named, "/v1/models", None, "GET")

    assert allowed == [name for name in names if await used(named, name) == 200]
    assert [name for name in names[:2] if name in allowed] == [
        model["id"] for model in listed["data"] if model["id"] != "default"
    ]


async def test_names_that_come_with_a_reload_are_there_when_asked(named: Edge) -> None:
    """A name that nobody knows makes the edge ask anew, as it does for routes."""
    assert 404 == await used(named, "o3-latest")
    named.router.aliases["gpt-4o"].append("o3-*")
    await named.models.refresh()
    assert 200 == await used(named, "o3-latest")
    named.router.aliases = {}
    await named.models.refresh()
    assert 404 == await used(named, "o3-latest")
