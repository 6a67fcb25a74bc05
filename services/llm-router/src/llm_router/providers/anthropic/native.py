"""A request of the Messages API as it came, without what Anthropic refuses because another wire has answered before.

Such a conversation has thoughts that nobody signed and ids of calls in another form; all else stays as it is.
"""

from __future__ import annotations

from typing import Any

from llm_router.providers.anthropic.thinking import without_thinking_where_refused
from llm_router.providers.anthropic.turns import taken_id
from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped

_THOUGHTS = ("thinking", "redacted_thinking")
_IDS = {"tool_use": "id", "tool_result": "tool_use_id"}


def native_body(body: Json, dropped: Dropped) -> Json:
    """Return `body` for Anthropic; `dropped` gets what is left out. The order in every object stays."""
    turns: list[Any] = []
    for index, turn in enumerate(body["messages"]):
        turns += _turn(turn, f"messages.{index}", dropped)
    written = {**body, "messages": turns}
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return written  # its client has chosen both, and gets Anthropic's own words
    without_thinking_where_refused(written, dropped, calls_without_thoughts=_ends_without_thought(written["messages"]))
    return written


def _turn(turn: Any, where: str, dropped: Dropped) -> list[Any]:
    """Return a turn; nothing for one of the assistant that is only thoughts that nobody signed."""
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list):
        return [turn]
    is_answer = turn.get("role") == "assistant"
    blocks = []
    for index, block in enumerate(content):
        if is_answer and _is_unsigned(block):
            dropped.add(f"{where}.content.{index}")
        else:
            blocks.append(_with_taken_id(block))
    return [{**turn, "content": blocks}] if blocks or not content else []


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")


def _with_taken_id(block: Any) -> Any:
    name = _IDS.get(str(block.get("type"))) if isinstance(block, dict) else None
    given = block.get(name) if name is not None else None
    if not isinstance(given, str) or (taken := taken_id(given)) == given:
        return block
    return {**block, name: taken}


def _ends_without_thought(turns: list[Any]) -> bool:
    """Tell whether the last answer calls tools and does not begin with a thought, as manual thinking demands."""
    for turn in reversed(turns):
        if isinstance(turn, dict) and turn.get("role") == "assistant":
            content = turn.get("content")
            if not isinstance(content, list):
                return False
            kinds = [block.get("type") for block in content if isinstance(block, dict)]
            return "tool_use" in kinds and kinds[0] not in _THOUGHTS
    return False
