"""How much a model on Anthropic's wire shall think: no wish for it keeps a request from being answered.

Claude API docs, Extended thinking: at least 1,024 tokens and fewer than `max_tokens`; not with a forced tool; an answer
that calls tools begins with a thought, but for adaptive thinking.
"""

from __future__ import annotations

from typing import Any

from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped

_MIN_BUDGET_TOKENS = 1024
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_THINKS = ("enabled", "adaptive")
_FORCED = frozenset({"any", "tool"})
_CLEARS_THOUGHTS = "clear_thinking_"


def thinking_of(body: Json, max_tokens: Any, dropped: Dropped) -> Json:
    """Return `thinking` and `output_config` for an OpenAI body; `dropped` gets what is left out.

    `thinking` is not OpenAI's: clients of other gateways write Anthropic's field into OpenAI's body.
    """
    written: Json = {}
    effort = body.get("reasoning_effort")
    if effort == "none":
        written["thinking"] = {"type": "disabled"}
    elif effort in _EFFORTS:
        written["output_config"] = {"effort": effort}
    elif effort is not None:
        dropped.add("reasoning_effort")
        if effort == "minimal":
            written["output_config"] = {"effort": "low"}
    given = body.get("thinking")
    if given is not None:
        thinking = _thinking(given, max_tokens)
        if thinking is None:
            dropped.add("thinking")
        else:
            written["thinking"] = thinking
    return written


def _thinking(given: Any, max_tokens: Any) -> Json | None:
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("disabled", "adaptive"):
        return {"type": kind}
    budget = given.get("budget_tokens") if kind == "enabled" else None
    if isinstance(budget, int) and _MIN_BUDGET_TOKENS <= budget < max_tokens:
        return {"type": "enabled", "budget_tokens": budget}
    return None


def thinks(body: Json) -> bool:
    """Tell whether a Messages body asks the model to think, which leaves it less choice of how it samples."""
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in _THINKS


def without_thinking_where_refused(body: Json, dropped: Dropped, *, calls_without_thoughts: bool) -> None:
    """Take `thinking` out of a Messages body that Anthropic would refuse because of it.

    `calls_without_thoughts`: the last turn of the assistant calls tools and begins with no thought.
    """
    if not thinks(body):
        return
    choice = body.get("tool_choice")
    is_forced = isinstance(choice, dict) and choice.get("type") in _FORCED
    if not is_forced and not (calls_without_thoughts and body["thinking"]["type"] == "enabled"):
        return
    del body["thinking"]
    dropped.add("thinking")
    _keep_thoughts(body, dropped)


def _keep_thoughts(body: Json, dropped: Dropped) -> None:
    """Take out the edits that clear thoughts: Anthropic refuses them where it is not asked to think."""
    management = body.get("context_management")
    if not isinstance(management, dict) or not isinstance(management.get("edits"), list):
        return
    edits = management["edits"]
    kept = [edit for edit in edits if not _clears_thoughts(edit)]
    if len(kept) < len(edits):
        dropped.add("context_management")
        body["context_management"] = {**management, "edits": kept}


def _clears_thoughts(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith(_CLEARS_THOUGHTS)
