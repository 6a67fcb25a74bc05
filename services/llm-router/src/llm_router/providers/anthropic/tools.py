"""OpenAI's tools, and the choice among them, as those of the Messages API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.providers.anthropic.blocks import cache_mark, note_rest, untranslatable
from llm_router.providers.anthropic.schema import OpenSchema, closed, tool_input
from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.tool_names import ToolNames

_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM_FIELDS = frozenset({"name", "description", "format"})
# Claude API docs, Structured outputs, Schema complexity limits.
_MAX_STRICT_TOOLS = 20
_ANY_INPUT: Json = {"type": "object", "properties": {}}


class Tools:
    """Writes the tools of one request."""

    def __init__(self, names: ToolNames, dropped: Dropped) -> None:
        """`names` writes the names of tools; `dropped` gets the fields that are left out."""
        self._names = names
        self._dropped = dropped
        self._customs: set[str] = set()
        self._strict_tools = 0

    @property
    def customs(self) -> frozenset[str]:
        """The tools whose input is any text, by their written names: their calls are told as the caller knows them."""
        return frozenset(self._customs)

    def read(self, body: Json, called: Iterable[str]) -> Json:
        """Return `tools` and `tool_choice`; `called` are the tools in the messages. RequestUntranslatable names a tool.

        Anthropic refuses calls in the messages when there are no tools: those that were called are then defined, and
        may not be called.
        """
        given = body.get("tools")
        if not given:
            tools = [{"name": name, "input_schema": _ANY_INPUT} for name in called]
            return {"tools": tools, "tool_choice": {"type": "none"}} if tools else {}
        tools = [self._tool(tool, f"tools.{index}") for index, tool in enumerate(given)]
        choice, parallel = body.get("tool_choice"), body.get("parallel_tool_calls")
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            tools, choice = self._allowed(choice["allowed_tools"], tools)
        return {"tools": tools, **self._choice(choice, parallel)}

    def _tool(self, tool: Json, where: str) -> Json:
        kind = tool.get("type")
        definition = tool.get(str(kind))
        if kind not in ("function", "custom") or not isinstance(definition, dict):
            raise untranslatable(where)
        note_rest(tool, frozenset({"type", kind}), where, self._dropped)
        write = self._function if kind == "function" else self._custom
        return {**write(definition, f"{where}.{kind}"), **(cache_mark(tool) or cache_mark(definition))}

    def _function(self, function: Json, where: str) -> Json:
        note_rest(function, _FUNCTION_FIELDS, where, self._dropped)
        schema, words = tool_input(function.get("parameters"))
        written: Json = {"name": self._names.written(function["name"]), "input_schema": schema}
        if description := "\n\n".join(filter(None, [function.get("description"), words])):
            written["description"] = description
        if function.get("strict"):
            if self._strict_tools < _MAX_STRICT_TOOLS and _is_closed(schema):
                written["strict"] = True
                self._strict_tools += 1
            else:
                self._dropped.add(f"{where}.strict")
        return written

    def _custom(self, custom: Json, where: str) -> Json:
        """Return a tool with any text as its input: a function with this text as its only argument."""
        note_rest(custom, _CUSTOM_FIELDS, where, self._dropped)
        name = self._names.written(custom["name"])
        self._customs.add(name)
        words = custom.get("description")
        wanted = custom.get("format") or {}
        if wanted.get("type") == "grammar":
            self._dropped.add(f"{where}.format")
            grammar = wanted["grammar"]
            rule = f"`input` must match this {grammar['syntax']} grammar:\n{grammar['definition']}"
            words = "\n\n".join(filter(None, [words, rule]))
        text = {"type": "string", "description": "The whole input, as it is."}
        schema = {"type": "object", "properties": {"input": text}, "required": ["input"], "additionalProperties": False}
        return {"name": name, "input_schema": schema, **({"description": words} if words else {})}

    def _allowed(self, allowed: Json, tools: list[Json]) -> tuple[list[Json], str]:
        """Return the tools that may be called, which are then all there are, and the choice among them."""
        named = [each[each["type"]]["name"] for each in allowed["tools"]]
        names = {self._names.written(name) for name in named}
        return [tool for tool in tools if tool["name"] in names], allowed["mode"]

    def _choice(self, choice: Any, parallel: bool | None) -> Json:
        if choice is None and parallel is None:
            return {}
        choice = choice or "auto"
        if isinstance(choice, dict):
            kind = choice.get("type")
            if kind not in ("function", "custom"):
                raise untranslatable("tool_choice")
            written: Json = {"type": "tool", "name": self._names.written(choice[kind]["name"])}
        elif choice in _CHOICES:
            written = dict(_CHOICES[choice])
        else:
            raise untranslatable("tool_choice")
        if parallel is not None and written["type"] != "none":
            written["disable_parallel_tool_use"] = not parallel
        return {"tool_choice": written}


def _is_closed(schema: Json) -> bool:
    """Tell whether Anthropic can hold a model to `schema` as it is."""
    try:
        return closed(schema) == schema
    except OpenSchema:
        return False
