"""What a request would have Anthropic do besides one answer of the target's model: its own tools, containers and other
models. That is billed in units which no usage of ours carries, so it is refused wherever the body asks for it."""

from __future__ import annotations

import re
from typing import Any

from edge.problems import Problem

Json = dict[str, Any]

# Anthropic's own tools that cost nothing but tokens; every other kind is refused until somebody has read its price.
_TOKEN_ONLY_TOOLS = ("bash_", "browser_", "computer_", "memory_", "text_editor_", "tool_search_tool_", "web_fetch_")
# Types of tools have the day of their version in their name; nothing else that has a type does.
_TOOL_TYPE = re.compile(r"mcp_toolset|.*_20\d{6}", re.ASCII)
# Containers are billed by the hour, and each other field brings models or tools of its own: `fallbacks` other models
# with other limits, `compaction` a call whose tokens are not in the usage of the answer.
_EXTRA_WORK = ("compaction", "container", "fallbacks", "mcp_servers")
_COMPACTION_EDIT = "compact_"
# What a model has written, and who called a tool: types in there define nothing.
_NO_DEFINITIONS = frozenset({"caller", "input", "input_schema"})


def refuse_extra_work(body: Json) -> None:
    """Raise the Problem that names what asks for extra work, if anything does."""
    for name in _EXTRA_WORK:
        if body.get(name):
            raise _refusal(name, f"{name!r} has Anthropic do work beside the answer")
    _check_edits(body.get("context_management"))
    for index, tool in enumerate(body.get("tools") or ()):
        _check_tool(tool, f"tools.{index}")
    for name in ("system", "messages"):
        _check_definitions(body.get(name), name)


def _check_edits(management: object) -> None:
    """Refuse the edit of a long conversation that is a call of its own; others only leave things out."""
    edits = management.get("edits") if isinstance(management, dict) else None
    for index, edit in enumerate(edits if isinstance(edits, list) else ()):
        if isinstance(edit, dict) and str(edit.get("type")).startswith(_COMPACTION_EDIT):
            raise _refusal(f"context_management.edits.{index}", "a compaction is a call of its own")


def _check_definitions(value: object, where: str) -> None:
    """Check the tools that are defined inside of messages."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            _check_definitions(each, f"{where}.{index}")
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and _TOOL_TYPE.fullmatch(kind):
            _check_tool(value, where)
        for name, each in value.items():
            if name == "definition" and isinstance(each, dict):
                _check_tool(each, f"{where}.{name}")
            elif name not in _NO_DEFINITIONS:
                _check_definitions(each, f"{where}.{name}")


def _check_tool(tool: Json, where: str) -> None:
    kind = tool.get("type")
    if kind is not None and kind != "custom" and not str(kind).startswith(_TOKEN_ONLY_TOOLS):
        raise _refusal(where, f"tools of the type {str(kind)[:50]!r} are billed by use")


def _refusal(where: str, what: str) -> Problem:
    where = where[:100]
    return Problem("unsupported_parameter", f"{where}: {what}, which this gateway cannot record", param=where)
