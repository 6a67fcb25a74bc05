"""The variants of Spillway have switched on what they say, and nothing of it is found in what is asked and answered."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from bench.prompt import LONG
from bench.subjects import ROOT, running_provider, running_spillway
from bench.variants import VARIANTS
from bench.wire import Plan
from edge.guardrails.policy import Action, Policy, RuleInForce, parse_policy
from edge.identity import Identity
from edge.limits.rules import parse_limits


def policy_of(name: str, folder: Path) -> Policy:
    """Return the policy of a variant, as the edge reads it."""
    file = Path(VARIANTS[name].settings(folder)["EDGE_GUARDRAILS"])
    return parse_policy(file, file.read_bytes())


def sides_of(policy: Policy) -> tuple[list[RuleInForce], list[RuleInForce], Action]:
    """Return what is looked for in requests, in answers, and what is done about their format."""
    rules = policy.for_request(Identity("key", "bench", "ada", "enterprise"), "mock-1-0")
    assert rules is not None
    return list(rules.rules), list(rules.output), rules.format


def test_the_edge_takes_the_files_of_every_variant(tmp_path: Path) -> None:
    """Each window is limited for users and tenants; each kind of rules is on for its side."""
    limits = Path(VARIANTS["spillway+all"].settings(tmp_path)["EDGE_LIMITS_FILE"])
    asked, answered, form = sides_of(policy_of("spillway+all", tmp_path))

    assert [["user"], ["tenant"]] == [rule.each for rule in parse_limits(limits, limits.read_bytes())]
    assert {"pii", "secrets", "injection", "classifier"} == {each.rule.kind for each in asked}
    assert {"pii", "secrets", "commands", "custom"} == {each.rule.kind for each in answered}
    assert Action.BLOCK is form
    assert [] == sides_of(policy_of("spillway+input-guardrails", tmp_path))[1]
    assert {"EDGE_LIMITS_FILE"} == VARIANTS["spillway+limits"].settings(tmp_path).keys()


def test_nothing_is_found(tmp_path: Path) -> None:
    """A redaction would be measured with the looking: neither the long prompt nor an answer has anything to find."""
    asked, answered, _ = sides_of(policy_of("spillway+all", tmp_path))

    assert [] == [each.rule.name for each in asked for _ in each.rule.find(f"question 1234567890\n{LONG}".encode())]
    assert [] == [each.rule.name for each in answered for _ in each.rule.find(Plan(4096, 0).text.encode())]


@pytest.mark.nightly
@pytest.mark.integration
def test_all_of_it_is_in_force_on_a_running_system(tmp_path: Path) -> None:
    """An answer says that it was counted against limits, that the question was redacted and the answer looked at."""
    body = {"model": "mock-64-0", "messages": [{"role": "user", "content": "I am ada@example.com"}]}
    with running_provider(tmp_path) as provider:
        variant = VARIANTS["spillway+all"]
        home = tmp_path / "home"
        with running_spillway("all", ROOT, home, provider.url, ["mock-64-0"], {}, variant) as subject:
            url = f"{subject.url}/v1/chat/completions"
            reply = httpx2.post(url, json=body, headers=subject.headers, timeout=60, trust_env=False)

    assert 200 == reply.status_code
    assert "1000000000" == reply.headers["x-ratelimit-limit-requests"]
    assert "email;action=redact" == reply.headers["x-guardrails"]
    assert f"checked={len(Plan(64, 0).text)}" == reply.headers["x-guardrails-output"]
