"""What the provider will say, computed without asking it: for tests to compare with.

Chunk i, counted from `first` (default 0), is the parameter `text` (default `w`), i and a space: `w0 w1 w2 `. Each
chunk counts as one output token; `reasoning` tokens come on top. A `max_tokens` below `chunks` ends the answer there
with reason `length`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fault_provider.plan import STOPS_EARLY, Plan, Wire, parse_model

TOOL_ARGUMENTS = '{"city":"Paris","unit":"celsius","days":[1,2,3]}'
TOOL_NAME = "get_weather"
_FRAGMENT_CHARACTERS = 7
_NO_CONTENT = frozenset(
    {"reset", "silence", "role-only", "pings-only", "empty", "insufficient-quota", "context-too-long", "tool-call"}
    | {"script", "tool-cut"}
)
# Where a stream breaks off, so that no usage is reported at its end.
_NO_ENDING = frozenset(
    {"reset", "silence", "cut", "stall", "missing-end", "error-frame", "role-only", "pings-only", "no-usage"}
    | {"insufficient-quota", "context-too-long", "script", "tool-cut"}
)


def chunk_count(plan: Plan, max_tokens: int | None = None) -> int:
    """Return how many content chunks `plan` sends before it ends, breaks or turns odd."""
    if plan.behaviour in _NO_CONTENT or plan.behaviour.startswith("status-"):
        return 0
    whole = plan.chunks if max_tokens is None else min(plan.chunks, max_tokens)
    return min(whole, plan.after) if plan.behaviour in STOPS_EARLY else whole


def finish_reason(plan: Plan, max_tokens: int | None = None) -> str:
    """Return why the answer ends, as the OpenAI wire says it (`abort` is the unknown one)."""
    named = {"content-filter": "content_filter", "tool-call": "tool_calls", "unknown-finish": "abort", "empty": "stop"}
    if plan.behaviour in named:
        return named[plan.behaviour]
    return "length" if max_tokens is not None and max_tokens < plan.chunks else "stop"


def chunk_texts(plan: Plan, count: int) -> Iterator[str]:
    """Yield the texts of the first `count` chunks."""
    return (f"{plan.text}{number} " for number in range(plan.first, plan.first + count))


def tool_fragments() -> list[str]:
    """Return the arguments of the tool call in the pieces in which they are streamed."""
    return [
        TOOL_ARGUMENTS[start : start + _FRAGMENT_CHARACTERS]
        for start in range(0, len(TOOL_ARGUMENTS), _FRAGMENT_CHARACTERS)
    ]


def usage_for(plan: Plan, wire: Wire, generated_tokens: int) -> dict[str, Any]:
    """Return what an answer of `generated_tokens` uses, in the wire's words.

    OpenAI's `prompt_tokens` include what was read from or written to its cache; Anthropic's `input_tokens` do not.
    """
    output = generated_tokens + plan.reasoning
    if wire == "anthropic":
        return {
            "input_tokens": plan.input_tokens - plan.cached - plan.cache_write,
            "cache_creation_input_tokens": plan.cache_write,
            "cache_read_input_tokens": plan.cached,
            "output_tokens": output,
        }
    return {
        "prompt_tokens": plan.input_tokens,
        "completion_tokens": output,
        "total_tokens": plan.input_tokens + output,
        "prompt_tokens_details": {
            "cached_tokens": plan.cached,
            "audio_tokens": 0,
            **({"cache_write_tokens": plan.cache_write} if plan.cache_write else {}),
        },
        "completion_tokens_details": {
            "reasoning_tokens": plan.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def expected_text(model: str, max_tokens: int | None = None) -> str:
    """Return all the text that a stream of `model` delivers, also when it then breaks; empty when none comes."""
    plan = parse_model(model)
    return "".join(chunk_texts(plan, chunk_count(plan, max_tokens)))


def expected_usage(model: str, wire: Wire, max_tokens: int | None = None, n: int = 1) -> dict[str, Any] | None:
    """Return the usage that a whole answer of `model` reports in the end; None for one that breaks off before that."""
    plan = parse_model(model)
    if plan.behaviour in _NO_ENDING or plan.behaviour.startswith("status-"):
        return None
    if plan.behaviour == "tool-call":
        return usage_for(plan, wire, len(tool_fragments()))
    return usage_for(plan, wire, n * chunk_count(plan, max_tokens))
