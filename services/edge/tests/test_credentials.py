"""Keys come in the headers of three vendors; a foreign one beside a good one does no harm, and who pays is no guess."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from starlette.requests import Request

from edge.guard.identify import Identify
from edge.guard.keys import add_key, load_keys
from edge.problems import Problem

from .scripted_edge import Edge

PATHS = ("/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/models")
HEADERS = ("x-api-key", "authorization", "api-key")
FOREIGN = (
    "sk-ant-oat01-0123456789",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJvdGhlciJ9.c2ln",
    "sk-spillway-00000000-wrong",
    "é",
)


@pytest.fixture(name="identify")
def _identify(tmp_path: Path) -> tuple[Identify, dict[str, str]]:
    """Return an edge's keys: two of one user, one of another, one of the first's namesake in another tenant."""
    file = tmp_path / "keys.yaml"
    owners = {"ada": ("acme", "ada"), "again": ("acme", "ada"), "bob": ("acme", "bob"), "other": ("other", "ada")}
    keys = {name: add_key(file, *owner, tier="gold") for name, owner in owners.items()}
    return Identify(load_keys(file)), keys


def asking(path: str = "/chat", **headers: str) -> Request:
    """Make a request with these headers; `_` in their names is `-`."""
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": path, "headers": named})


def shown(header: str, key: str) -> dict[str, str]:
    """Return the header with a key in it."""
    return {header: f"Bearer {key}" if header == "authorization" else key}


@pytest.mark.parametrize("header", HEADERS)
async def test_a_key_is_taken_from_any_header(identify: tuple[Identify, dict[str, str]], header: str) -> None:
    """Whatever else the others hold: what a vendor gave out, a scheme that is not ours, nothing."""
    known, keys = identify
    for other, foreign in itertools.product(HEADERS, FOREIGN):
        headers = {**shown(other, foreign), **shown(header, keys["ada"])}
        assert "ada" == (await known.identify(asking(**headers))).user
    for authorization in ("Basic YWRhOnNlY3JldA==", "Bearer", "Bearer ", "", "Digest username=ada"):
        if header != "authorization":
            headers = {"authorization": authorization, **shown(header, keys["ada"])}
            assert "ada" == (await known.identify(asking(**headers))).user
    assert "ada" == (await known.identify(asking(authorization=f"bearer  {keys['ada']} "))).user


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations(HEADERS, 2)])
async def test_two_keys_of_one_user_are_one_user(
    identify: tuple[Identify, dict[str, str]], one: str, other: str
) -> None:
    """The one that counts is that of the first header: `x-api-key`, then `Authorization`, then `api-key`."""
    known, keys = identify
    found = await known.identify(asking(**shown(one, keys["ada"]), **shown(other, keys["again"])))

    first = keys["ada"] if HEADERS.index(one) < HEADERS.index(other) else keys["again"]
    assert found.key_id == first.split("-")[2]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(HEADERS, 2)])
@pytest.mark.parametrize("second", ["bob", "other"])
async def test_two_keys_of_different_users_are_refused(
    identify: tuple[Identify, dict[str, str]], one: str, other: str, second: str
) -> None:
    """400, in words that name the headers and nobody: which of the two pays is not for us to guess."""
    known, keys = identify
    with pytest.raises(Problem, match=f"{one} and {other} name different users") as caught:
        await known.identify(asking(**shown(one, keys["ada"]), **shown(other, keys[second])))

    assert 400 == caught.value.kind.status
    assert not [word for word in ("ada", "bob", "acme", "sk-spillway") if word in caught.value.message]


@pytest.mark.parametrize("headers", [{}, *({name: ""} for name in HEADERS), {"authorization": "Basic x"}])
async def test_who_shows_no_key_is_told_where_to(
    identify: tuple[Identify, dict[str, str]], headers: dict[str, str]
) -> None:
    """All headers that there are."""
    with pytest.raises(Problem, match=r"Authorization: Bearer sk-spillway-\.\.\.', 'x-api-key' or 'api-key'") as caught:
        await identify[0].identify(asking(**headers))

    assert 401 == caught.value.kind.status


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("path", PATHS)
async def test_every_endpoint_takes_them(edge: Edge, path: str, header: str) -> None:
    """In each contract the same; a good one beside two bad ones too."""
    good = edge.key
    edge.key = "sk-spillway-00000000-wrong"  # what the client sends as `Authorization`
    method = "GET" if path == "/v1/models" else "POST"
    if header == "authorization":
        edge.key = good
        own = [("x-api-key", FOREIGN[0]), ("api-key", FOREIGN[1])]
    else:
        own = [(header, good)]
    visit = await edge.visit(path, {}, own, method=method).done()
    stranger = (
        await edge.visit(path, {}, [("x-api-key", FOREIGN[0])], method=method).done()
        if header != "authorization"
        else None
    )

    assert (200 if method == "GET" else 400) == visit.status
    assert stranger is None or stranger.status == 401
