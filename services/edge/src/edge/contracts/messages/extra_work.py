"""What a request would have Anthropic do besides one answer of the target's model: tools, servers and other models.

That is billed in units which no usage of ours carries, so it is refused wherever the body asks for it. Searches of
the web and the time of code are counted and priced (llm_router/providers/anthropic/usage.py): they pass.
"""

from __future__ import annotations

import re
from typing import Any

from edge.problems import Problem

Json = dict[str, Any]

# Anthropic's tools that are billed by tokens alone, or by a use that is counted; every other kind is refused until
# it is known how its use is counted.
_TOKEN_ONLY_TOOLS = ("bash_", "browser_", "computer_", "memory_", "text_editor_", "tool_search_tool_", "web_fetch_")
_COUNTED_TOOLS = ("code_execution_", "web_search_")
_KNOWN_TOOLS = (*_TOKEN_ONLY_TOOLS, *_COUNTED_TOOLS)
# The type of a tool ends with the date of its version; no other type in a message does.
_TOOL_TYPE = re.compile(r"mcp_toolset|.*_20\d{6}", re.ASCII)
# `fallbacks` names other models with other limits, `mcp_servers` brings tools, and the tokens of a `compaction` are not
# part of the answer's usage. A `container` is billed by the time of the code in it, which is counted.
_EXTRA_WORK = {
    "compaction": "a compaction is a separate call of the model",
    "fallbacks": "other models would answer at other prices",
    "mcp_servers": "the tools of servers are billed by others",
}
_COMPACTION_EDIT = "compact_"
# Written by a model, or naming the caller of a tool: nothing below these keys defines a tool.
_NO_DEFINITIONS = frozenset({"caller", "input", "input_schema"})


def refuse_extra_work(body: Json) -> None:
    """Raise a Problem that names the field that requests extra work, if there is one."""
    for name, reason in _EXTRA_WORK.items():
        if body.get(name):
            raise _refusal(name, reason)
    _check_edits(body.get("context_management"))
    for index, tool in enumerate(body.get("tools") or ()):
        _check_tool(tool, f"tools.{index}")
    for name in ("system", "messages"):
        _check_definitions(body.get(name), name)


def _check_edits(management: object) -> None:
    """Refuse compaction, which is a separate call of the model; other edits only remove content."""
    edits = management.get("edits") if isinstance(management, dict) else None
    for index, edit in enumerate(edits if isinstance(edits, list) else ()):
        if isinstance(edit, dict) and str(edit.get("type")).startswith(_COMPACTION_EDIT):
            raise _refusal(f"context_management.edits.{index}", "a compaction is a separate call of the model")


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
    if kind is not None and kind != "custom" and not str(kind).startswith(_KNOWN_TOOLS):
        raise _refusal(where, f"tools of the type {str(kind)[:50]!r} are billed by a use that no usage counts")


def _refusal(where: str, what: str) -> Problem:
    where = where[:100]
    return Problem("unsupported_parameter", f"{where}: {what}, which this gateway cannot record", param=where)
