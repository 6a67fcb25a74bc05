"""Which requests the response cache answers: by contract, by what the route says, and by what the request says."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

from edge import contracts as edge_contracts
from edge.cache.policy import CacheMode
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import QUESTION, Edge

BODIES: dict[str, dict[str, Any]] = {
    "/chat": {"query": "Who?", "stream": False},
    "/v1/chat/completions": {"model": "default", "messages": QUESTION},
    "/v1/messages": {"model": "default", "max_tokens": 9, "messages": QUESTION},
    "/v1/responses": {"model": "default", "input": "Who?", "store": False},
}
MODES = {
    "always": routerpb.CACHE_MODE_ALWAYS,
    "deterministic": routerpb.CACHE_MODE_DETERMINISTIC,
    "never": routerpb.CACHE_MODE_NEVER,
}
HIT = ("edge; fwd=miss; stored", "edge; hit")


def test_every_contract_that_caches_is_tried() -> None:
    """One that is new comes into the list above: it has to say what a draw of chance is."""
    found = set()
    for package in pkgutil.iter_modules(edge_contracts.__path__):
        if package.ispkg:
            module = importlib.import_module(f"{edge_contracts.__name__}.{package.name}.contract")
            named = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
            found |= {each.paths[0] for each in named if each.cache_mode != "never"}

    assert BODIES.keys() == found


def bypass(reason: str) -> tuple[str, str]:
    """Return what both answers say when the cache is bypassed."""
    return (f"edge; fwd=bypass; detail={reason}",) * 2


async def twice(edge: Edge, path: str, mode: CacheMode | None = None, **fields: object) -> tuple[str, ...]:
    """Ask the same twice; return what each answer says of the cache."""
    own = [] if mode is None else [("x-spillway-cache", mode)]
    visits = [await edge.visit(path, {**BODIES[path], **fields}, own).done() for _ in range(2)]
    assert [200, 200] == [visit.status for visit in visits]
    return tuple(visit.headers["cache-status"] for visit in visits)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("temperature", [None, 0, 0.7])
async def test_a_contract_has_its_own_default(edge: Edge, path: str, temperature: float | None) -> None:
    """`/chat` caches, as it promises; who asks in a vendor's contract for a draw of chance gets one each time."""
    is_drawn = bool(temperature) and path != "/chat"

    assert (bypass("temperature") if is_drawn else HIT) == await twice(edge, path, temperature=temperature)
    assert (not is_drawn) == bool(await edge.stored())


@pytest.mark.parametrize("path", BODIES)
async def test_a_request_may_say_otherwise(edge: Edge, path: str) -> None:
    """In each contract the same."""
    assert HIT == await twice(edge, path, "always", temperature=0.7)
    assert bypass("temperature") == await twice(edge, path, "deterministic", temperature=0.7)
    assert bypass("client_never") == await twice(edge, path, "never", temperature=0)


@pytest.mark.parametrize("path", BODIES)
async def test_so_may_a_route(edge: Edge, path: str) -> None:
    """It goes before the contract; its `never` before the request."""
    for mode, expected in (("always", HIT), ("deterministic", bypass("temperature")), ("never", bypass("route_never"))):
        edge.router.cache_modes = {"default": MODES[mode]}
        await edge.models.refresh()
        assert expected == await twice(edge, path, temperature=0.5)
    assert bypass("route_never") == await twice(edge, path, "always")
    assert bypass("route_never") == await twice(edge, path, temperature=0)


async def test_a_seed_fixes_the_draw(edge: Edge) -> None:
    """OpenAI: with the same seed the same request should give the same answer; another seed is another request."""
    path = "/v1/chat/completions"
    assert HIT == await twice(edge, path, temperature=0.7, seed=1)
    assert HIT == await twice(edge, path, temperature=0.7, seed=2)
    assert HIT == await twice(edge, path, top_p=0.5)
    assert bypass("temperature") == await twice(edge, path, temperature=0.7, seed=None, top_p=0.5)


@pytest.mark.parametrize("path", [*BODIES, "/v1/embeddings"])
async def test_a_mode_that_there_is_not_is_refused_in_the_contracts_shape(edge: Edge, path: str) -> None:
    """Before anything is spent."""
    body = BODIES.get(path, {"model": "default", "input": "x"})
    visit = await edge.visit(path, body, [("x-spillway-cache", "maybe")]).done()

    assert 400 == visit.status
    assert "x-spillway-cache: must be one of always, deterministic, never" == visit.json["error"]["message"]
    assert ("type" in visit.json) == (path == "/v1/messages")
    assert not edge.router.requests


async def test_vectors_are_cached_by_nobodys_wish(edge: Edge) -> None:
    """They are not worth their room."""
    visit = await edge.embed(headers=[("x-spillway-cache", "always")]).done()

    assert (200, "edge; fwd=bypass; detail=not_cacheable") == (visit.status, visit.headers["cache-status"])
