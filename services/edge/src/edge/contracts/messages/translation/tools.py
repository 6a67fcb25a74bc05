"""Tools of the Messages API, and the choice among them, as those of OpenAI's contract."""

from __future__ import annotations

from typing import Any

from edge.contracts.messages.translation.losses import Losses, text_of, wrong
from edge.contracts.messages.translation.schema import is_strict

Json = dict[str, Any]

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict"})
_CHOICE_FIELDS = frozenset({"type", "name", "disable_parallel_tool_use"})
# It looks for tools that are not loaded yet; here all are.
_SEARCHES_TOOLS = "tool_search_tool_"


def tools_of(tools: list[Json], choice: Json | None, losses: Losses) -> Json:
    """Return `tools` and `tool_choice`; nothing when no tool has a counterpart. Problem (400) for a malformed one."""
    translated = [_tool(tool, f"tools.{index}", losses) for index, tool in enumerate(tools)]
    known = [tool for tool in translated if tool is not None]
    chosen = _tool_choice(choice, losses)
    return {"tools": known, **chosen} if known else {}


def _tool(tool: Json, where: str, losses: Losses) -> Json | None:
    kind = tool.get("type")
    if kind is not None and kind != "custom":
        if str(kind).startswith(_SEARCHES_TOOLS):
            losses.drop(where)
        else:
            losses.miss(where)
        return None
    function: Json = {"name": text_of(tool, "name", where)}
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise wrong(f"{where}.input_schema", "must be a JSON schema")
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = schema
    if tool.get("strict") is True:
        if is_strict(schema):
            function["strict"] = True
        else:
            losses.drop(f"{where}.strict")
    losses.drop_rest(tool, _TOOL_FIELDS, where)
    return {"type": "function", "function": function}


def _tool_choice(choice: Json | None, losses: Losses) -> Json:
    if choice is None:
        return {}
    kind = choice.get("type")
    if kind == "tool":
        name = text_of(choice, "name", "tool_choice")
        translated: Json = {"tool_choice": {"type": "function", "function": {"name": name}}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        translated = {"tool_choice": _TOOL_CHOICES[kind]}
    else:
        raise wrong("tool_choice.type", "must be auto, any, tool or none")
    alone = choice.get("disable_parallel_tool_use")
    if isinstance(alone, bool):
        translated["parallel_tool_calls"] = not alone
    losses.drop_rest(choice, _CHOICE_FIELDS, "tool_choice")
    return translated
