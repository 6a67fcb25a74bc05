"""What a key may: by its roles, for which models and at which endpoints; and what it sees of its tenant."""

from __future__ import annotations

from typing import Any

import pytest

from edge.guard.identify import Identify
from edge.guard.keys import KeyRing
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
    key = accountspb.Key(key_id="k1", tenant="acme", user="ada", **{"roles": [accountspb.ROLE_USER], **fields})
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


async def body_of(edge: Edge, path: str, body: object) -> tuple[int, dict[str, Any]]:
    """Ask, and return status and body of the answer."""
    visit = edge.visit(path, body)
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


def test_roles_that_are_not_known_give_nothing() -> None:
    """An edge of a former version does not guess what a new role may do."""
    assert not rights_of(["czar", ""]).permissions


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
