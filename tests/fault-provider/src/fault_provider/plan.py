"""What a model name asks for: `<behaviour>?param=value&param=value`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_type_hints
from urllib.parse import parse_qsl

Wire = Literal["openai", "anthropic"]

STATUSES = (400, 401, 402, 403, 404, 422, 429, 500, 502, 503, 504, 529)
BEHAVIOURS = frozenset(
    {
        "ok",
        *(f"status-{status}" for status in STATUSES),
        "insufficient-quota",
        "context-too-long",
        "reset",
        "silence",
        "slow-first",
        "cut",
        "stall",
        "malformed",
        "missing-end",
        "missing-done",
        "unknown-finish",
        "error-frame",
        "content-filter",
        "tool-call",
        "tool-cut",
        "role-only",
        "pings-only",
        "empty",
        "no-usage",
        "flaky",
        "script",
        "bytes",
        "asked",
        # of vectors only; a chat is answered as by `ok`
        "floats",
        "wrong-count",
        "wrong-index",
        "wrong-dimensions",
        "not-finite",
    }
)
# These stop, or do something odd, after `after` chunks instead of sending all of `chunks`.
STOPS_EARLY = frozenset({"cut", "stall", "error-frame", "content-filter"})
_ASKED = re.compile(rb"\{\{(\d+): ([^{}\"\\]+)\}\}")
_MOST = 20_000  # chunks, milliseconds x 15, tokens x 500: no plan may hold the process for long
_LARGEST = {
    "chunks": _MOST,
    "after": _MOST,
    "dimensions": _MOST,
    "interval_ms": 300_000,
    "first_ms": 300_000,
    "seconds": 300,
}


class UnusablePlan(ValueError):
    """A model name whose parameters are unknown or out of range; the message names them."""


@dataclass(frozen=True)
class Plan:
    """One behaviour with its parameters. Token counts are per answer, times in the unit that the name says."""

    model: str
    behaviour: str
    chunks: int = 8
    after: int = 3
    first: int = 0
    interval_ms: int = 0
    first_ms: int = 0
    seconds: float = 1.0
    text: str = "w"
    prompt_tokens: int = -1
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    retry_after: str = ""
    after_headers: int = 0
    fail: int = 1
    status: int = 503
    fault: str = ""
    dimensions: int = 8
    response_model: str = ""
    test: str = ""
    place: int = 0
    accepts: str = ""

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt, those read from and written to the provider's cache included."""
        return self.prompt_tokens if self.prompt_tokens >= 0 else 12 + self.cached + self.cache_write

    @property
    def answered_model(self) -> str:
        """The model that the answer names."""
        return self.response_model or self.model


def parse_model(model: str) -> Plan:
    """Read a model name; one that is no behaviour is `ok` with the name's parameters. UnusablePlan when it is wrong."""
    name, _, query = model.partition("?")
    values = _read_parameters(parse_qsl(query, keep_blank_values=True)) if query else {}
    plan = Plan(model, name if name in BEHAVIOURS else "ok", **values)  # type: ignore[arg-type]
    if plan.input_tokens < plan.cached + plan.cache_write:
        raise UnusablePlan("prompt_tokens: is the total and includes cached and cache_write")
    if plan.status not in STATUSES:
        raise UnusablePlan(f"status: one of {', '.join(map(str, STATUSES))}")
    if plan.fault and plan.fault not in BEHAVIOURS - {"flaky"}:
        raise UnusablePlan(f"fault: no such behaviour: {plan.fault!r}")
    return plan


def asked_plan(plan: Plan, raw_body: bytes) -> Plan:
    """Return the plan that the request itself asks for: `{{PLACE: MODEL}}` somewhere in its messages.

    So the same target can behave differently from request to request. UnusablePlan when there is none for its place.
    """
    for place, model in _ASKED.findall(raw_body):
        if int(place) == plan.place:
            return parse_model(model.decode())
    raise UnusablePlan(f"the messages hold no {{{{{plan.place}: MODEL}}}}")


# Parameter -> what its text becomes.
_KINDS = {name: kind for name, kind in get_type_hints(Plan).items() if name not in ("model", "behaviour")}


def _read_parameters(pairs: list[tuple[str, str]]) -> dict[str, int | float | str]:
    values: dict[str, int | float | str] = {}
    for name, text in pairs:
        if name not in _KINDS:
            raise UnusablePlan(f"{name!r}: no such parameter; known are {', '.join(sorted(_KINDS))}")
        try:
            value = _KINDS[name](text)
        except ValueError as error:
            raise UnusablePlan(f"{name}: not a number: {text!r}") from error
        if not isinstance(value, str) and not 0 <= value <= _LARGEST.get(name, 10_000_000):
            raise UnusablePlan(f"{name}: out of range: {text!r}")
        values[name] = value
    return values
