"""Spillways with something switched on, to measure what it adds: `spillway+limits`, `spillway+guardrails` and so on.

Nothing is refused and nothing is found: what is measured is the looking.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spillway_local.processes import StartFailed

_COMMAND_SECONDS = 60.0
# Within so long an edge knows new keys and budgets.
_FOLLOW_SECONDS = 5.0
_PLENTY = 10**9
_COUNTS = dict.fromkeys(
    ("requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day", "concurrent_streams"), _PLENTY
)
_LIMITS: Sequence[Mapping[str, Any]] = (
    {"name": "each-user", "each": ["user"], **_COUNTS, "max_input_tokens": 100_000, "max_output_tokens": 100_000},
    {"name": "each-tenant", "each": ["tenant"], **_COUNTS},
)
_AMOUNTS = ("--usd=1000000", "--stop-usd=1000000")
_TENANT, _TEAM, _USER = "bench", "red", "ada"
_ACCOUNTS: Sequence[Sequence[str]] = (
    ("tenants", "create", _TENANT, "--tier", "enterprise"),
    ("teams", "create", _TENANT, _TEAM),
    ("users", "create", _TENANT, _USER, "--team", _TEAM),
    ("budgets", "set", "bench-user", "--each=user", "--per=day", *_AMOUNTS),
    ("budgets", "set", "bench-tenant", "--each=tenant", "--per=month", *_AMOUNTS),
)
_KEY = ("keys", "create", "--tenant", _TENANT, "--user", _USER)
_INPUT = {"pii": "redact", "secrets": "redact", "injection": "flag", "classifier": "flag"}
_OUTPUT = {"pii": "redact", "secrets": "block", "commands": "block", "custom": "flag", "format": "block"}


@dataclass(frozen=True)
class Variant:
    """What is switched on."""

    says: str
    """For a table."""
    has_limits: bool = False
    guardrails: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The sides of the policy; none: there is no policy."""

    def settings(self, folder: Path) -> dict[str, str]:
        """Write its files into a folder; return what names them to the edge."""
        named: dict[str, str] = {}
        if self.has_limits:
            named["EDGE_LIMITS_FILE"] = _written(folder / "limits.yaml", {"limits": list(_LIMITS)})
        if self.guardrails:
            custom = [{"name": "competitor", "words": ["Initech", "Globex Corp"]}]
            policy = {"version": "bench", **self.guardrails, "custom": custom}
            named["EDGE_GUARDRAILS"] = _written(folder / "guardrails.yaml", policy)
        return named

    def key(self, spillway: Sequence[str], environment: Mapping[str, str]) -> str | None:
        """Make accounts and budgets on the running system, return a key of theirs; None: it goes by the system's own.

        `spillway` is the command. StartFailed when one of these cannot be made.
        """
        if not self.has_limits:
            return None
        for arguments in _ACCOUNTS:
            _run([*spillway, *arguments], environment)
        key = _run([*spillway, *_KEY], environment).split()
        time.sleep(_FOLLOW_SECONDS)
        return next(word for word in key if word.startswith("sk-spillway-"))


VARIANTS: Mapping[str, Variant] = {
    "spillway+limits": Variant("limits and budgets", has_limits=True),
    "spillway+input-guardrails": Variant("guardrails on requests", guardrails={"input": _INPUT}),
    "spillway+guardrails": Variant(
        "guardrails on requests and answers", guardrails={"input": _INPUT, "output": _OUTPUT}
    ),
    "spillway+all": Variant("all of it", has_limits=True, guardrails={"input": _INPUT, "output": _OUTPUT}),
}
"""By the name of the subject."""


def _written(file: Path, document: Mapping[str, Any]) -> str:
    file.write_text(yaml.safe_dump(document))
    return str(file)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"{error}: {error.stderr!r}") from error
    return done.stdout
