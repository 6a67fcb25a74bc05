"""The questions of `make soak` and `make torture`: routes of every shape, and questions that select their faults.

The fault provider's behaviour `asked` reads `{{PLACE: MODEL}}` in the question, so that one target shows all faults in
turn and its breaker sees a mixture.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

CHAT, COMPLETIONS, MESSAGES = "/chat", "/v1/chat/completions", "/v1/messages"
PATHS = (CHAT, COMPLETIONS, MESSAGES)

# Route -> its targets as (provider, place in the question), and its other options. Place 0: unreachable.
ROUTES: Mapping[str, tuple[list[Any], Json]] = {
    "openai": ([("openai", 1)], {}),
    "anthropic": ([("anthropic", 1)], {}),
    "two": ([("openai", 1), ("anthropic", 2)], {}),
    "two-back": ([("anthropic", 1), ("openai", 2)], {}),
    "three": ([("openai", 1), ("anthropic", 2), ("vllm", 3)], {}),
    "unreachable": ([("vllm", 0), ("openai", 1), ("anthropic", 2)], {}),
    "equal": ([[("openai", 1), ("anthropic", 2)], ("vllm", 3)], {"balance": "least_latency"}),
    "hedged": (
        [("openai", 1), ("anthropic", 2), ("openai", 3)],
        {"hedge": {"min_delay_seconds": 0.05, "max_delay_seconds": 0.3, "max_extra_ratio": 0.5}},
    ),
    "continued": ([("openai", 1), ("anthropic", 2), ("openai", 3)], {"continuation": "allow"}),
    "hedged-continued": (
        [("anthropic", 1), ("openai", 2), ("anthropic", 3)],
        {
            "continuation": "allow",
            "hedge": {"min_delay_seconds": 0.05, "max_delay_seconds": 0.2, "max_extra_ratio": 0.5},
        },
    ),
}
_PLACES = 3
_GOOD = ("ok", "ok", "ok", "ok", "ok", "slow-first", "no-usage", "content-filter", "tool-call", "empty", "flaky")
_REFUSALS = ("status-400", "status-404", "status-422", "context-too-long")
# These open a breaker at once, so they are rare; otherwise the others would hardly occur.
_REVOKED = ("status-401", "status-402", "status-403", "insufficient-quota")
_BUSY = ("status-429", "status-500", "status-502", "status-503", "status-504", "status-529", "reset")
_SILENT = ("silence", "role-only", "pings-only")
_BROKEN = ("cut", "stall", "malformed", "error-frame", "missing-end", "missing-done", "unknown-finish", "tool-cut")
_WEIGHTS: Mapping[tuple[str, ...], float] = {
    _GOOD: 0.62,
    _REFUSALS: 0.03,
    _REVOKED: 0.005,
    _BUSY: 0.12,
    _SILENT: 0.045,
    _BROKEN: 0.18,
}
BEHAVIOURS = frozenset(behaviour for group in _WEIGHTS for behaviour in group)


@dataclass(frozen=True)
class Question:
    """One question and how it is sent."""

    tag: str
    """Part of the text of the question, to find its attempts at the provider."""
    path: str
    is_streaming: bool
    route: str
    query: str
    options: Json
    cache_control: str
    leaves_after_seconds: float | None
    """None: the client waits for the end."""

    @property
    def body(self) -> Json:
        """The body of the HTTP request."""
        asked = {"model": self.route, "stream": self.is_streaming, **self.options}
        if self.path == CHAT:
            return {"query": self.query, **asked}
        return {"messages": [{"role": "user", "content": self.query}], **asked}


def make_question(rng: random.Random, tag: str) -> Question:
    """Choose a question; `tag` must be unique."""
    route = rng.choice(list(ROUTES))
    path = rng.choice(PATHS)
    is_streaming = rng.random() < 0.75
    # Different words for each place identify the target that answered; a continued answer needs the same words.
    is_same_words = "continued" in route or rng.random() < 0.2
    parts = [
        f"{{{{{place}: {_plan(rng, 'w' if is_same_words else 'abc'[place - 1])}&place={place}&test={tag}}}}}"
        for place in range(1, _PLACES + 1)
    ]
    return Question(
        tag=tag,
        path=path,
        is_streaming=is_streaming,
        route=route,
        query=f"asked {tag} {' '.join(parts)}",
        options=_options(rng, path, is_streaming),
        cache_control=rng.choice(("", "", "", "no-store", "no-cache")),
        leaves_after_seconds=rng.choice((0.01, 0.1, 0.5, 2.0)) * rng.random() if rng.random() < 0.25 else None,
    )


def _options(rng: random.Random, path: str, is_streaming: bool) -> Json:
    options: Json = {"max_tokens": 1000} if path == MESSAGES else {}
    if path == COMPLETIONS and is_streaming and rng.random() < 0.5:
        options["stream_options"] = {"include_usage": True}
    if rng.random() < 0.1:
        options["continuation"] = rng.choice(("allow", "never"))
    return options


def _plan(rng: random.Random, word: str) -> str:
    (group,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    behaviour = rng.choice(group)
    chunks = rng.randint(1, 40)
    plan = f"{behaviour}?text={word}&chunks={chunks}&after={rng.randint(0, chunks)}"
    plan += f"&interval_ms={rng.choice((0, 1, 5, 20, 40))}&first_ms={rng.choice((0, 0, 20, 150))}"
    match behaviour:
        case "slow-first":
            plan += "&seconds=0.4"
        case "status-429":
            plan += rng.choice(("", "&retry_after=1", "&retry_after=30"))
        case "silence":
            plan += rng.choice(("", "&after_headers=1"))
    return plan


def routes_file(provider_url: str, credential_file: Path) -> Json:
    """Return the routes file that sends ROUTES to the fault provider."""
    targets: Json = {}
    base_urls = {"openai": f"{provider_url}/v1", "anthropic": provider_url, "vllm": f"{provider_url}/v1"}

    def name_of(route: str, member: Any) -> Any:
        if isinstance(member, list):
            return [name_of(route, one) for one in member]
        provider, place = member
        targets[f"{route}-{place}"] = {
            "provider": provider,
            "model": f"asked?place={place}",
            "base_url": base_urls[provider] if place else "http://127.0.0.1:9/v1",
            "credential_file": str(credential_file),
            "timeouts": {"first_content_seconds": 1.0, "gap_seconds": 1.0},
        }
        return f"{route}-{place}"

    routes = {
        route: {"targets": [name_of(route, member) for member in members], **options}
        for route, (members, options) in ROUTES.items()
    }
    return {"targets": targets, "routes": routes}
