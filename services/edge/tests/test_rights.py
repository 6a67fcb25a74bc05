"""What a key may: by its roles, for which models and at which endpoints; and what it sees of its tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.guard.identify import Identify
from edge.guard.keys import KeyRing, add_key, load_keys
from edge.guard.recorded_keys import RecordedKeys
from edge.identity import Identity, matches, rights_of
from edge.ledger.visible import visible_to
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from .scripted_edge import Edge

PEPPER = Pepper(b"p" * 32)


def give_key(edge: Edge, **fields: Any) -> None:
    """Let the edge's client have a key of the ledger with these fields."""
    keys = RecordedKeys(PEPPER, edge.metrics)
    key = accountspb.Key(key_id="k1", **{"tenant": "acme", "user": "ada", "roles": [accountspb.ROLE_USER], **fields})
    keys.apply(
        [
            accountspb.KeyRecord(
                key=key,
                scheme=accountspb.SCHEME_HMAC_SHA256,
                hash=PEPPER.hash("k1-secret"),
                pepper_id=PEPPER.pepper_id,
            )
        ]
    )
    edge.identify = Identify(KeyRing([], keys))
    edge.key = "sk-spillway-k1-secret"


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("fast", "fast", True),
        ("fast", "faster", False),
        ("fast*", "faster", True),
        ("*", "", True),
        ("*-mini", "gpt-mini", True),
        ("*-mini", "gpt-mini-2", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("a.c", "abc", False),
        ("[a]?", "a1", False),
        ("*" * 100 + "x", "y" * 10_000, False),
    ],
)
def test_in_a_pattern_only_the_star_is_special(pattern: str, text: str, expected: bool) -> None:
    """Dots, brackets and question marks are themselves."""
    assert expected == matches(pattern, text)


async def body_of(edge: Edge, path: str, body: object, method: str = "POST") -> tuple[int, dict[str, Any]]:
    """Ask, and return status and body of the answer."""
    visit = edge.visit(path, body, method=method)
    await visit.done()
    return visit.status, visit.json


async def test_a_model_that_is_not_for_the_key_does_not_exist(edge: Edge) -> None:
    """Neither its name nor that of any other is told: it is what a name that nobody knows gets."""
    give_key(edge, models=["fast*", "smart"])
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    forbidden = await body_of(edge, "/v1/chat/completions", {"model": "default", **asked})
    unknown = await body_of(edge, "/v1/chat/completions", {"model": "defauld", **asked})

    assert (404, "model_not_found") == (forbidden[0], forbidden[1]["error"]["code"])
    assert unknown[0] == forbidden[0]
    assert unknown[1]["error"]["message"] == forbidden[1]["error"]["message"].replace("'default'", "'defauld'")


async def test_the_models_that_are_listed_are_those_that_may_be_used(edge: Edge) -> None:
    """One matcher for the list, for one of it, for the use with a name or without, and for what an error names."""
    edge.router.models = ["default", "fast-1", "fast-2", "smart"]
    give_key(edge, models=["fast*"])
    _, listed = await body_of(edge, "/v1/models", None, "GET")
    shown = {name: (await body_of(edge, f"/v1/models/{name}", None, "GET"))[0] for name in edge.router.models}
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    used = {
        name: (await body_of(edge, "/v1/chat/completions", {"model": name, **asked}))[0] for name in edge.router.models
    }
    unnamed, error = await body_of(edge, "/chat", {"query": "Hi"})

    assert ["fast-1", "fast-2"] == [model["id"] for model in listed["data"]]
    assert {"default": 404, "fast-1": 200, "fast-2": 200, "smart": 404} == shown == used
    assert (404, "model 'default' does not exist; there are: fast-1, fast-2") == (unnamed, error["error"]["message"])


async def test_an_endpoint_that_is_not_for_the_key_is_forbidden(edge: Edge) -> None:
    """403 in the shape of the endpoint's contract; the others work."""
    give_key(edge, endpoints=["/v1/embed*"])
    status, body = await body_of(edge, "/v1/messages", {})

    assert (403, "permission_error") == (status, body["error"]["type"])
    assert 400 == (await body_of(edge, "/v1/embeddings", {}))[0]


async def test_a_role_without_the_permission_is_forbidden(edge: Edge) -> None:
    """Before anything is read or spent; a wrong key is still 401."""
    give_key(edge, roles=[accountspb.ROLE_AUDITOR])
    for path in ("/chat", "/v1/chat", "/v1/chat/completions", "/v1/embeddings"):
        status, body = await body_of(edge, path, {})
        assert (403, "permission_denied") == (status, body["error"]["code"])
    edge.key += "x"
    assert 401 == (await body_of(edge, "/chat", {}))[0]


REPORTS = ("/v1/costs", "/v1/requests", "/v1/requests/1", "/v1/cache/stats")


async def test_roles_that_are_not_known_give_nothing(edge: Edge) -> None:
    """An edge of a former version does not guess what a new role may do: neither asking nor seeing."""
    give_key(edge, roles=[99])
    for method, paths in (("POST", ("/chat", "/v1/messages", "/v1/embeddings")), ("GET", REPORTS)):
        for path in paths:
            assert (path, 403) == (path, (await body_of(edge, path, {}, method))[0])
    assert not rights_of(["czar", ""]).permissions


async def test_keys_of_the_file_have_the_roles_that_it_gives_them(edge: Edge, tmp_path: Path) -> None:
    """Without any they are admins, who see all of their tenant; so `keys import` takes them over."""
    file = tmp_path / "own.yaml"
    keys = {role: add_key(file, "acme", "ada", "gold", [role] if role else []) for role in ("", "user", "auditor")}
    ring = load_keys(file)
    edge.identify = Identify(ring)
    visible = {}
    for role, key in keys.items():
        edge.key = key
        identity = ring.identify(key)
        assert identity
        visible[role] = visible_to(identity)
        status, _ = await body_of(edge, "/chat", {})
        assert (role, 403 if role == "auditor" else 400) == (role, status)

    everything = ledgerpb.Visible(tenant="acme")
    assert {"": everything, "user": ledgerpb.Visible(tenant="acme", user="ada"), "auditor": everything} == visible
    assert [set(), {"roles"}, {"roles"}] == [
        {"roles"} & entry.keys() for entry in yaml.safe_load(file.read_text())["keys"]
    ], "a file without roles is one that edges of a former version read too"


@pytest.mark.parametrize(
    ("roles", "team", "expected"),
    [
        (["user"], "red", ledgerpb.Visible(tenant="acme", user="ada")),
        (["team_lead"], "red", ledgerpb.Visible(tenant="acme", team="red")),
        (["team_lead"], "", ledgerpb.Visible(tenant="acme", user="ada")),
        (["admin"], "red", ledgerpb.Visible(tenant="acme")),
        (["auditor", "user"], "", ledgerpb.Visible(tenant="acme")),
    ],
)
def test_what_is_visible_goes_by_the_role(roles: list[str], team: str, expected: ledgerpb.Visible) -> None:
    """Its own, its team's or its tenant's; a lead without a team sees its own."""
    assert expected == visible_to(Identity("k1", "acme", "ada", "free", team, rights_of(roles)))
