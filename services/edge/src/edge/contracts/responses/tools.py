"""Tools of the Responses API as functions of a chat body; what the client calls such a function.

Source: OpenAI API reference, "Create a model response", `tools` and `tool_choice`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.conversation import ToolName
from edge.problems import Problem

Json = dict[str, Any]

# OpenAI's and Anthropic's longest name of a function.
_MAX_NAME_CHARACTERS = 64
_DIGEST_CHARACTERS = 8
_MAX_TYPE_CHARACTERS = 50
# OpenAI runs these itself. Coding agents offer them with every request, beside functions of their own, and work without
# them: then they are left out. Where nothing else is offered, the answer would be another one.
_LEFT_OUT = ("web_search", "image_generation", "tool_search")
_CHOICES = frozenset({"auto", "none", "required"})
CUSTOM_INPUT = "input"
"""The one parameter of the function that stands for a custom tool."""


@dataclass(slots=True)
class Tools:
    """The tools of one request."""

    functions: list[Json] = field(default_factory=list)
    """As a chat body has them."""
    names: dict[str, ToolName] = field(default_factory=dict)
    """What the client calls a function of the chat body, where that is something else."""
    dropped: list[str] = field(default_factory=list)
    """The tools that are left out, by their places in the request."""

    def add(self, tool: Json, where: str, namespace: str = "") -> None:
        """Add a tool of the client's; Problem (400) when no target could do what it asks for."""
        kind = tool.get("type")
        if kind == "function":
            self._add(_function(tool, where), ToolName(_name(tool, where), namespace))
        elif kind == "custom":
            self._add(_custom(tool, where), ToolName(_name(tool, where), namespace, is_custom=True))
        elif kind == "namespace" and not namespace and isinstance(tool.get("tools"), list):
            for index, each in enumerate(tool["tools"]):
                if not isinstance(each, dict):
                    raise _wrong(f"{where}.tools.{index}", "must be a JSON object")
                self.add(each, f"{where}.tools.{index}", _name(tool, where))
        elif isinstance(kind, str) and kind.startswith(_LEFT_OUT):
            self.dropped.append(where)
        else:
            raise Problem(
                "unsupported_parameter",
                f"{where}: tools of the type {str(kind)[:_MAX_TYPE_CHARACTERS]!r} are run by OpenAI, and no target of"
                " this gateway runs them; offer functions or custom tools",
                param=where,
            )

    def _add(self, function: Json, name: ToolName) -> None:
        known = chat_name(name.name, name.namespace)
        if any(each["function"]["name"] == known for each in self.functions):
            raise Problem(
                "invalid_request", f"tools: {name.name[:_MAX_NAME_CHARACTERS]!r} is there twice", param="tools"
            )
        if name.namespace or name.is_custom:
            self.names[known] = name
        self.functions.append({"type": "function", "function": {"name": known, **function}})


def read_tools(tools: Sequence[Any]) -> Tools:
    """Read the `tools` of a request; Problem (400) that names the one at fault."""
    read = Tools()
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _wrong(f"tools.{index}", "must be a JSON object")
        read.add(tool, f"tools.{index}")
    if read.dropped and not read.functions:
        where = read.dropped[0]
        raise Problem(
            "unsupported_parameter",
            f"{where}: this tool is run by OpenAI, and no target of this gateway runs it; without it nothing that was"
            " asked for could be done",
            param=where,
        )
    return read


def chat_fields(tools: Tools, choice: str | Json | None) -> Json:
    """Return `tools` and `tool_choice` of the chat body; Problem (400) when a choice is none of the tools."""
    if not tools.functions:
        return {}
    functions: list[Json] = tools.functions
    if choice is None:
        return {"tools": functions}
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise _wrong("tool_choice", "must be auto, none, required or an object that names a tool")
        return {"tools": functions, "tool_choice": choice}
    kind = choice.get("type")
    if kind in {"function", "custom"}:
        name = chat_name(_name(choice, "tool_choice"), _namespace(choice))
        _require({name}, functions)
        return {"tools": functions, "tool_choice": {"type": "function", "function": {"name": name}}}
    if kind == "allowed_tools" and isinstance(choice.get("tools"), list):
        return _allowed(choice, functions)
    raise Problem(
        "unsupported_parameter",
        "tool_choice: only functions and custom tools can be chosen; OpenAI's own tools are not run here",
        param="tool_choice",
    )


def _allowed(choice: Json, functions: list[Json]) -> Json:
    """Offer only what is allowed: to a model that is the same, and every target understands it."""
    names = {
        chat_name(_name(tool, "tool_choice.tools"), _namespace(tool))
        for tool in choice["tools"]
        if isinstance(tool, dict) and tool.get("type") in {"function", "custom"}
    }
    _require(names, functions)
    mode = "required" if choice.get("mode") == "required" else "auto"
    return {"tools": [each for each in functions if each["function"]["name"] in names], "tool_choice": mode}


def _require(names: set[str], functions: list[Json]) -> None:
    if not names or not names <= {each["function"]["name"] for each in functions}:
        raise _wrong("tool_choice", "names a tool that is not among the tools")


def chat_name(name: str, namespace: str = "") -> str:
    """Return what a tool is called in the chat body: the same in every request, and no longer than vendors take."""
    if not namespace:
        return name
    joined = f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"
    if len(joined) <= _MAX_NAME_CHARACTERS:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{joined[: _MAX_NAME_CHARACTERS - _DIGEST_CHARACTERS - 1]}_{digest}"


def _function(tool: Json, where: str) -> Json:
    function: Json = {}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise _wrong(f"{where}.parameters", "must be a JSON schema")
    function["parameters"] = parameters or {"type": "object", "properties": {}}
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return function


def _custom(tool: Json, where: str) -> Json:
    """Return a function with one text for a tool whose input is any text; few targets know such tools."""
    description = tool.get("description")
    texts = [description] if isinstance(description, str) else []
    wanted = tool.get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "grammar":
        texts.append(f"`{CUSTOM_INPUT}` follows this {wanted.get('syntax')} grammar:\n{wanted.get('definition')}")
    elif wanted is not None and not isinstance(wanted, dict):
        raise _wrong(f"{where}.format", "must be a JSON object")
    parameters = {
        "type": "object",
        "properties": {CUSTOM_INPUT: {"type": "string"}},
        "required": [CUSTOM_INPUT],
        "additionalProperties": False,
    }
    return {**({"description": "\n\n".join(texts)} if texts else {}), "parameters": parameters}


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise _wrong(f"{where}.name", "must be a name")
    return name


def _namespace(tool: Mapping[str, Any]) -> str:
    namespace = tool.get("namespace")
    return namespace if isinstance(namespace, str) else ""


def _wrong(where: str, what: str) -> Problem:
    return Problem("invalid_request", f"{where}: {what}", param=where)
