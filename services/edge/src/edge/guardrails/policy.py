"""What is done about what the rules find: a policy in YAML, for everybody, with overrides by tenant, tier and model."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from secrets import token_bytes
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import re2
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from edge.guardrails.rules import commands, injection, pii, secrets
from edge.guardrails.rules.beginnings import beginnings_of_rules
from edge.guardrails.rules.classifier import DEFAULT_THRESHOLD, ClassifierRule
from edge.guardrails.rules.detector import Kind, PatternError, PatternRule, Rule, compiled_pattern, whole_words
from edge.identity import Identity

_MAX_FILE_BYTES = 256 * 1024
_MAX_CUSTOM_RULES = 200
_MAX_WEBHOOKS = 10
_SECRET = re.compile(r"[!-~]{1,4096}")
_BUILT_IN: Mapping[str, Rule] = {
    rule.name: rule for rule in (*pii.RULES, *secrets.RULES, *injection.RULES, ClassifierRule(), *commands.RULES)
}
_KINDS = {
    "input": ("pii", "secrets", "injection", "classifier", "custom", "webhook"),
    "output": ("pii", "secrets", "commands", "custom", "format"),
}
_ALL_KINDS = frozenset(kind for kinds in _KINDS.values() for kind in kinds)


class PolicyError(Exception):
    """A policy that cannot be in force; the message says where it is wrong."""


class Action(StrEnum):
    """What is done about what a rule finds, the strongest last."""

    OFF = "off"
    OBSERVE = "observe"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule, and what is done about what it finds."""

    rule: Rule
    action: Action


@dataclass(frozen=True, slots=True)
class FormatRule:
    """Whether an answer is the JSON that its request asked for; see `format.py`."""

    name: str = "format"
    version: int = 1

    @property
    def kind(self) -> Kind:
        """Of its own."""
        return "format"


FORMAT = FormatRule()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A rule that is asked over HTTP; see `webhooks.py`."""

    name: str
    url: str
    timeout_seconds: float
    is_closed: bool
    """Whether a request that it blocks is refused when it does not answer."""
    secret_file: str | None = None
    version: int = 1
    ca_file: str | None = None
    """Who signs its certificate, in PEM; None: whom the system trusts."""

    @property
    def kind(self) -> Kind:
        """With which others it is switched on and off."""
        return "webhook"

    def trust(self) -> ssl.SSLContext | None:
        """Return whose certificates are good as the file has it now; OSError or ValueError when it has none."""
        if self.ca_file is None:
            return None
        with Path(self.ca_file).open(encoding="ascii") as file:
            authorities = file.read(_MAX_FILE_BYTES)
        if "-----BEGIN CERTIFICATE-----" not in authorities:  # with an empty text everybody of the system's is trusted
            raise ValueError("no certificate")
        return ssl.create_default_context(cadata=authorities)

    def secret(self) -> str | None:
        """Return what it shall be shown, as it is now in the file; OSError or ValueError when that has none."""
        if self.secret_file is None:
            return None
        secret = Path(self.secret_file).read_text(encoding="ascii").strip()
        if _SECRET.fullmatch(secret) is None:
            raise ValueError("not one line of printable characters")
        return secret


_AnyRule: TypeAlias = Rule | Webhook | FormatRule


@dataclass(frozen=True, slots=True)
class WebhookInForce:
    """A webhook, and what is done about what it finds."""

    webhook: Webhook
    action: Action


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules for the requests of one tenant, tier and model."""

    policy: str
    """The version of the policy."""
    rules: Sequence[RuleInForce]
    """For what is asked."""
    output: Sequence[RuleInForce] = ()
    """For the answer."""
    webhooks: Sequence[WebhookInForce] = ()
    """Asked about what is asked, once the rules have let it pass."""
    marking_key: bytes | None = None
    """With which what tools and documents say is marked as data; None: it is not."""
    format: Action = Action.OFF
    """For an answer that is not in the format that was asked for."""


def _off(value: object) -> object:
    """Read `off` as YAML 1.1 does, for which it is a way to write false."""
    return "off" if value is False else value


_Actions = dict[str, Annotated[Action, BeforeValidator(_off)]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _CustomRule(_Model):
    name: _Name
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    words: Annotated[list[_Text], Field(min_length=1, max_length=1000)] | None = None
    version: Annotated[int, Field(ge=1)] = 1


class _Webhook(_Model):
    name: _Name
    url: Annotated[str, StringConstraints(max_length=2000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 1.0
    on_failure: Literal["open", "closed"]
    secret_file: str | None = None
    ca_file: str | None = None
    version: Annotated[int, Field(ge=1)] = 1

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment:
            raise ValueError("an address of http or https, without a user in it")
        if not url.isascii() or any(character <= " " for character in url) or parts.port == 0:
            raise ValueError("the address has characters that no address has")
        return url


class _Override(_Model):
    tenant: _Text | None = None
    tier: _Text | None = None
    model: _Text | None = None
    input: _Actions = {}
    output: _Actions = {}
    mark_data: bool | None = None

    def applies(self, identity: Identity, model: str) -> bool:
        """Tell whether it is for this caller and this model."""
        wanted = ((self.tenant, identity.tenant), (self.tier, identity.tier), (self.model, model))
        return all(want is None or want == have for want, have in wanted)


class _File(_Model):
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:+-]{1,60}$")]
    input: _Actions = {}
    output: _Actions = {}
    mark_data: bool = False
    classifier_threshold: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_THRESHOLD
    custom: Annotated[list[_CustomRule], Field(max_length=_MAX_CUSTOM_RULES)] = []
    webhooks: Annotated[list[_Webhook], Field(max_length=_MAX_WEBHOOKS)] = []
    overrides: Annotated[list[_Override], Field(max_length=1000)] = []


@dataclass(slots=True)
class Policy:
    """A policy that was read and found valid."""

    _file: _File
    _rules: Mapping[str, _AnyRule]
    _by_overrides: dict[tuple[int, ...], RuleSet | None] = field(default_factory=dict)
    _marking_key: bytes = field(default_factory=lambda: token_bytes(32))

    @property
    def version(self) -> str:
        """How the file calls itself."""
        return self._file.version

    def for_request(self, identity: Identity, model: str) -> RuleSet | None:
        """Return the rules for a request; None when there is nothing to look for."""
        overrides = self._file.overrides
        applying = tuple(number for number, each in enumerate(overrides) if each.applies(identity, model))
        if applying not in self._by_overrides:
            self._by_overrides[applying] = self._rule_set(applying)
        return self._by_overrides[applying]

    def prepare(self) -> None:
        """Put together what most requests need: some patterns take a tenth of a second to compile."""
        rules = self._by_overrides[()] = self._rule_set(())
        if rules is not None:
            beginnings_of_rules(each.rule for each in rules.output)

    def _rule_set(self, applying: tuple[int, ...]) -> RuleSet | None:
        overrides = [self._file.overrides[number] for number in applying]
        asked = self._in_force(self._file.input, [each.input for each in overrides])
        answered = self._in_force(self._file.output, [each.output for each in overrides])
        marks = ([self._file.mark_data] + [each.mark_data for each in overrides if each.mark_data is not None])[-1]
        if not asked and not answered and not marks:
            return None
        webhooks = [WebhookInForce(rule, action) for rule, action in asked if isinstance(rule, Webhook)]
        form = next((action for rule, action in answered if rule is FORMAT), Action.OFF)
        key = self._marking_key if marks else None
        return RuleSet(self._file.version, _patterns(asked), _patterns(answered), webhooks, key, form)

    def _in_force(self, given: _Actions, overrides: Sequence[_Actions]) -> list[tuple[_AnyRule, Action]]:
        """Put together what holds: a later override goes before an earlier one, a rule before its kind."""
        actions = dict(given)
        for override in overrides:
            for rule in self._rules.values():
                if rule.kind in override:
                    actions.pop(rule.name, None)
            actions |= override
        return [
            (rule, action)
            for rule in self._rules.values()
            if (action := actions.get(rule.name, actions.get(rule.kind, Action.OFF))) is not Action.OFF
        ]


def _patterns(rules: Sequence[tuple[_AnyRule, Action]]) -> list[RuleInForce]:
    """Return the rules that find something in a text."""
    return [RuleInForce(rule, action) for rule, action in rules if not isinstance(rule, Webhook | FormatRule)]


NO_POLICY = Policy(_File(version="none"), {})
"""Nothing is looked for."""


def parse_policy(path: Path, content: bytes) -> Policy:
    """Read a policy; PolicyError names the place that is wrong."""
    if len(content) > _MAX_FILE_BYTES:
        raise PolicyError(f"{path}: longer than {_MAX_FILE_BYTES} bytes")
    try:
        document = yaml.load(content, yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise PolicyError(f"{path}: {where}: {fault['msg']}") from error
    classifier = ClassifierRule(file.classifier_threshold)
    patterns = {**_BUILT_IN, classifier.name: classifier, **_custom_rules(path, file.custom)}
    rules: Mapping[str, _AnyRule] = {**patterns, FORMAT.name: FORMAT, **_webhooks(path, file.webhooks, patterns)}
    _check_actions(f"{path}: ", file, rules)
    for number, override in enumerate(file.overrides):
        _check_actions(f"{path}: overrides.{number}.", override, rules)
    policy = Policy(file, rules)
    policy.prepare()
    return policy


def _custom_rules(path: Path, rules: Sequence[_CustomRule]) -> dict[str, Rule]:
    custom: dict[str, Rule] = {}
    for number, each in enumerate(rules):
        where = f"{path}: custom.{number}"
        if each.name in _BUILT_IN or each.name in _ALL_KINDS or each.name in custom:
            raise PolicyError(f"{where}.name: {each.name!r} is taken")
        if (each.pattern is None) == (each.words is None):
            raise PolicyError(f"{where}: must have either a pattern or words")
        if each.words is not None:
            pattern = f"(?i)(?:{'|'.join(map(re2.escape, each.words))})"
        else:
            # `^` and `$` are those of a line: a text is a part of what is looked at.
            pattern = f"(?m){each.pattern}"
        try:
            matches_nothing = compiled_pattern(pattern).search(b"") is not None
        except PatternError as error:
            raise PolicyError(f"{where}.pattern: {error}") from error
        if matches_nothing or compiled_pattern(pattern).groups > 1:
            raise PolicyError(f"{where}.pattern: must match at least one character, and have at most one group")
        custom[each.name] = PatternRule(
            each.name, "custom", (pattern,), each.version, refine=None if each.words is None else whole_words
        )
    return custom


def _webhooks(path: Path, webhooks: Sequence[_Webhook], taken: Mapping[str, Rule]) -> dict[str, Webhook]:
    found: dict[str, Webhook] = {}
    for number, each in enumerate(webhooks):
        where = f"{path}: webhooks.{number}"
        if each.name in taken or each.name in _ALL_KINDS or each.name in found:
            raise PolicyError(f"{where}.name: {each.name!r} is taken")
        is_closed = each.on_failure == "closed"
        webhook = Webhook(
            each.name, each.url, each.timeout_seconds, is_closed, each.secret_file, each.version, each.ca_file
        )
        try:
            webhook.secret()
        except (OSError, ValueError) as error:
            raise PolicyError(f"{where}.secret_file: {type(error).__name__}: no secret can be read there") from error
        if each.ca_file is not None and urlsplit(each.url).scheme != "https":
            raise PolicyError(f"{where}.ca_file: only an address of https has a certificate")
        try:
            webhook.trust()
        except (OSError, ValueError) as error:
            raise PolicyError(f"{where}.ca_file: {type(error).__name__}: no certificate can be read there") from error
        found[each.name] = webhook
    return found


def _check_actions(where: str, given: _File | _Override, rules: Mapping[str, _AnyRule]) -> None:
    for side, actions in (("input", given.input), ("output", given.output)):
        kinds = _KINDS[side]
        for name, action in actions.items():
            kind = rules[name].kind if name in rules else name
            if kind not in kinds:
                raise PolicyError(f"{where}{side}.{name}: no such rule; the kinds are {', '.join(kinds)}")
            if action is Action.REDACT and kind in {"injection", "classifier", "webhook", "format"}:
                raise PolicyError(f"{where}{side}.{name}: this cannot be redacted; choose block, flag or observe")
