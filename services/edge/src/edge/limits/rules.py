"""Which limits there are and whom they are for: a YAML file, or the defaults of the tiers.

limits:
  - name: free                  # in errors, metrics and keys of Redis
    tier: free                  # whom it is for: tenant, team, user, key, tier, model; `*` stands for anything
    each: [user]                # who counts apart: key, user, team, tenant, tier, model; empty: all count together
    requests_per_minute: 10     # and requests_per_day, tokens_per_minute, tokens_per_day, concurrent_streams
    max_input_tokens: 32000     # of one request: a longer one is refused
    max_output_tokens: 4096     # of one answer: a request that lets it be longer is changed
    shadow: false               # true: nothing is refused, only counted and logged
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.facts import RequestFacts

MINUTE_MS, DAY_MS = 60_000, 86_400_000
# One script asks for all limits of a request.
_MAX_RULES = 200
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_Pattern = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f\[\]?]*$")]
_Amount = Annotated[int, Field(ge=0, le=10**12)]

Subject = Literal["key", "user", "team", "tenant", "tier", "model"]
Unit = Literal["requests", "tokens", "streams"]

# What is counted, by the name of the rule's field: the unit and the window, 0 for what is in progress.
_KINDS: dict[str, tuple[Unit, int]] = {
    "requests_per_minute": ("requests", MINUTE_MS),
    "requests_per_day": ("requests", DAY_MS),
    "tokens_per_minute": ("tokens", MINUTE_MS),
    "tokens_per_day": ("tokens", DAY_MS),
    "concurrent_streams": ("streams", 0),
}
# What one request may have, which nobody counts.
_SIZES = ("max_input_tokens", "max_output_tokens")
_WORDS = {MINUTE_MS: "a minute", DAY_MS: "a day", 0: "at once"}


class LimitsError(Exception):
    """The file cannot be used; the text says why."""


class Rule(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: _Name
    tenant: _Pattern = "*"
    team: _Pattern = "*"
    user: _Pattern = "*"
    key: _Pattern = "*"
    tier: _Pattern = "*"
    model: _Pattern = "*"
    each: list[Subject] = Field(default_factory=list)
    requests_per_minute: _Amount | None = None
    requests_per_day: _Amount | None = None
    tokens_per_minute: _Amount | None = None
    tokens_per_day: _Amount | None = None
    concurrent_streams: _Amount | None = None
    max_input_tokens: _Amount | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=10**12)] | None = None
    shadow: bool = False

    @model_validator(mode="after")
    def _limits_something(self) -> Rule:
        if all(getattr(self, kind) is None for kind in (*_KINDS, *_SIZES)):
            raise ValueError(f"it limits nothing; give one of {', '.join((*_KINDS, *_SIZES))}")
        return self

    def concerns(self, own: Mapping[Subject, str]) -> bool:
        """Tell whether it is for a request of these."""
        return all(_matches(getattr(self, name), value) for name, value in own.items())


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: list[Rule] = Field(max_length=_MAX_RULES)

    @model_validator(mode="after")
    def _names_once(self) -> _File:
        names = [rule.name for rule in self.limits]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is there twice")
        return self


@dataclass(frozen=True, slots=True)
class Limit:
    """One count that a request adds to."""

    name: str
    """Of its rule."""
    key: str
    """In Redis."""
    unit: Unit
    window_ms: int
    """0: what is in progress."""
    amount: int
    """The most that is allowed."""
    whose: str
    """Whose count it is, for the person who reads the error."""
    shadow: bool

    @property
    def words(self) -> str:
        """What is allowed, for a person."""
        return f"{self.amount} {self.unit} {_WORDS[self.window_ms]}"


def _default(tier: str, requests_per_minute: int) -> Rule:
    return Rule(name=tier, tier=tier, each=["user"], requests_per_minute=requests_per_minute)


DEFAULT_RULES = (_default("free", 10), _default("premium", 50), _default("enterprise", 500))


class Rules:
    """The rules in force; a request is asked which limits it has."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    def replace(self, rules: Sequence[Rule]) -> None:
        """Put others in force."""
        self._rules = rules

    def sizes_of(self, facts: RequestFacts) -> list[Rule]:
        """Return the rules that say how large a request may be."""
        own = _subjects(facts)
        return [
            rule
            for rule in self._rules
            if (rule.max_input_tokens is not None or rule.max_output_tokens is not None) and rule.concerns(own)
        ]

    def limits_of(self, facts: RequestFacts) -> list[Limit]:
        """Return what a request counts against, in the order of the rules."""
        identity = facts.identity
        own = _subjects(facts)
        found: list[Limit] = []
        for rule in self._rules:
            if not rule.concerns(own):
                continue
            if "team" in rule.each and not identity.team:
                continue  # those of no team are none together
            # Teams, users and keys are those of a tenant.
            is_of_tenant = any(each in ("key", "user", "team", "tenant") for each in rule.each)
            tag = f"spillway:limits:{identity.tenant}" if is_of_tenant else "spillway:cost-events"
            subject = ":".join(f"{each}={own[each]}" for each in rule.each)
            whose = _whose(rule, own)
            for kind, (unit, window_ms) in _KINDS.items():
                amount = getattr(rule, kind)
                if amount is None or (unit == "streams" and not facts.is_streaming):
                    continue
                key = f"{{{tag}}}:limit:{rule.name}:{kind}:{subject}"
                found.append(Limit(rule.name, key, unit, window_ms, amount, whose, rule.shadow))
        return found


def _subjects(facts: RequestFacts) -> dict[Subject, str]:
    identity = facts.identity
    return {
        "key": identity.key_id,
        "user": identity.user,
        "team": identity.team,
        "tenant": identity.tenant,
        "tier": identity.tier,
        "model": facts.requested_model,
    }


def _matches(pattern: str, value: str) -> bool:
    return pattern == "*" or pattern == value or ("*" in pattern and fnmatchcase(value, pattern))


def _whose(rule: Rule, own: dict[Subject, str]) -> str:
    words = [f"{each} {own[each]!r}" for each in rule.each]
    return ", ".join(words) if words else "all requests together"


def parse_limits(path: Path, content: bytes) -> Sequence[Rule]:
    """Return the rules in the `content` of `path`; LimitsError, which names the place, when it is malformed."""
    try:
        document: Any = yaml.safe_load(content.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LimitsError(f"{path}: not YAML") from error
    try:
        return _File.model_validate(document).limits
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise LimitsError(f"{path}: {where or 'the file'}: {fault['msg']}") from error
