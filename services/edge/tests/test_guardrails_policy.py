"""The policy file of the guardrails: what it may say, whom it is for, and how an edge follows it."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from edge.guardrails.policy import Policy, PolicyError, RuleSet, parse_policy
from edge.guardrails.policy_watch import PolicyWatch
from edge.identity import Identity
from edge.metrics import Metrics

ADA = Identity(tenant="acme", user="ada", key_id="k", tier="gold")
BOB = Identity(tenant="other", user="bob", key_id="l", tier="free")


def read(text: str) -> Policy:
    """Read a policy."""
    return parse_policy(Path("p.yaml"), text.encode())


def actions(rules: RuleSet | None) -> dict[str, str]:
    """Return what is done, by rule."""
    return {} if rules is None else {each.rule.name: str(each.action) for each in rules.rules}


def test_a_rule_goes_before_its_kind_and_the_last_override_before_all() -> None:
    """An override of a kind is for all its rules, also those that were named before."""
    policy = read(
        "version: '1'\ninput: {pii: redact, email: block}\noverrides:\n"
        "- {tier: gold, input: {ip: off, pii: flag}}\n- {tenant: acme, model: m, input: {pii: observe, ssn: block}}\n"
    )

    other = actions(policy.for_request(BOB, "m"))
    assert ("block", "redact") == (other["email"], other["ip"])
    gold = actions(policy.for_request(ADA, "else"))
    assert ("flag", None) == (gold["email"], gold.get("ip"))
    both = actions(policy.for_request(ADA, "m"))
    assert ("observe", "observe", "block") == (both["email"], both["ip"], both["ssn"])


def test_what_is_off_costs_nothing() -> None:
    """There is no set of rules then."""
    policy = read("version: '1'\ninput: {pii: 'off'}\noverrides:\n- {tenant: acme, input: {email: flag}}\n")

    assert policy.for_request(BOB, "m") is None
    assert {"email": "flag"} == actions(policy.for_request(ADA, "m"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: [", "not YAML"),
        ("input: {}", "version"),
        ("version: '1'\ninput: {pii: maybe}", "input.pii"),
        ("version: '1'\ninput: {emial: block}", "input.emial"),
        ("version: '1'\ninput: {injection: redact}", "input.injection"),
        ("version: '1'\ninput: {classifier: redact}", "input.classifier"),
        ("version: '1'\noutput: {classifier: flag}", "output.classifier"),
        ("version: '1'\nclassifier_threshold: 1.5", "classifier_threshold"),
        ("version: '1'\nouptut: {}", "ouptut"),
        ("version: '1'\noutput: {injection: block}", "output.injection"),
        ("version: '1'\ninput: {commands: block}", "input.commands"),
        ("version: '1'\ncustom: [{name: x}]", "custom.0"),
        ("version: '1'\noverrides: [{tenant: a, input: {nope: flag}}]", "overrides.0.input.nope"),
        ("version: '1'\ncustom: [{name: x, pattern: '('}]", "custom.0.pattern"),
        ("version: '1'\ncustom: [{name: x, pattern: '(?=a)'}]", "custom.0.pattern"),
        ("version: '1'\ncustom: [{name: x, pattern: 'a*'}]", "custom.0.pattern"),
        ("version: '1'\ncustom: [{name: email, pattern: a}]", "custom.0.name"),
        ("version: '1'\ncustom: [{name: injection_classifier, pattern: a}]", "custom.0.name"),
        ("version: '1'\ncustom: [{name: x, pattern: '(?:(?:a{100}){100}){100}'}]", "custom.0.pattern"),
    ],
)
def test_a_policy_with_a_fault_is_refused_by_its_place(text: str, place: str) -> None:
    """A rule with a wrong name would look for nothing, and nobody would know."""
    with pytest.raises(PolicyError, match=place.replace(".", r"\.")):
        read(text)


def test_no_pattern_can_stall_an_edge() -> None:
    """What takes other engines years takes this one milliseconds."""
    policy = read("version: '1'\ninput: {slow: flag}\ncustom: [{name: slow, pattern: '(a+)+$|(?:a|a)*b|(?:.*.*)*=x'}]")
    rules = policy.for_request(ADA, "m")
    assert rules is not None
    begun = time.monotonic()
    list(rules.rules[0].rule.find(b"a" * 500_000 + b"!"))

    assert time.monotonic() - begun < 60


def test_rules_travel_to_another_process() -> None:
    """Long requests are looked at there."""
    policy = read("version: '1'\ninput: {pii: flag, x: block}\ncustom: [{name: x, pattern: 'y+'}]")
    rules = policy.for_request(ADA, "m")
    travelled = pickle.loads(pickle.dumps(rules))  # noqa: S301 - our own

    assert actions(rules) == actions(travelled)
    assert [(1, 4)] == [span[:2] for span in travelled.rules[-1].rule.find(b"zyyyz")]


async def test_an_edge_follows_its_policy(tmp_path: Path) -> None:
    """A valid change is in force after two checks; a broken one is logged once, told, and changes nothing."""
    file, registry = tmp_path / "p.yaml", CollectorRegistry()
    file.write_text("version: one\n")
    watch = PolicyWatch(file, Metrics(registry))

    def stale() -> float | None:
        return registry.get_sample_value("edge_guardrails_stale")

    async def settle() -> str:
        for _ in range(3):
            await watch.check()
        return watch.policy.version

    file.write_text("version: two\n")
    assert "two" == await settle()
    with structlog.testing.capture_logs() as logs:
        file.write_text("version: [\n")
        assert ("two", 1) == (await settle(), stale())
        file.unlink()
        assert ("two", 1) == (await settle(), stale())
    assert ["guardrails_refused"] * 2 == [line["event"] for line in logs]
    file.write_text("version: three\n")
    assert ("three", 0) == (await settle(), stale())


def test_an_edge_does_not_start_with_a_broken_policy(tmp_path: Path) -> None:
    """Its owner believes that it guards."""
    with pytest.raises(PolicyError, match="No such file"):
        PolicyWatch(tmp_path / "none.yaml", Metrics(CollectorRegistry()))


def test_a_policy_that_is_too_long_is_refused() -> None:
    """Before anything is made of it."""
    with pytest.raises(PolicyError, match="longer than"):
        parse_policy(Path("guardrails.yaml"), b"version: x\n" + b"#" * 10_000_000)
