"""Which JSON schemas OpenAI holds a model to: with `strict` it refuses all others."""

from __future__ import annotations

from typing import Any

# OpenAI docs, Structured outputs, Supported schemas.
_KNOWN = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"),
        *("definitions", "title", "description", "format", "pattern", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)
_NAMED = ("properties", "$defs", "definitions")
# It says nothing of itself, so that it allows anything.
_SAYING = frozenset({"type", "enum", "const", "anyOf", "$ref"})


def is_strict(schema: Any) -> bool:
    """Tell whether OpenAI takes `schema` with `strict`: every property is required, and no other is allowed."""
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        return False
    pending: list[Any] = [schema]
    while pending:
        each = pending.pop()
        if not isinstance(each, dict) or not _KNOWN.issuperset(each) or _SAYING.isdisjoint(each):
            return False
        if not _is_closed(each):
            return False
        for name in _NAMED:
            named = each.get(name, {})
            if not isinstance(named, dict):
                return False
            pending += named.values()
        pending += each.get("anyOf") or []
        pending += [each["items"]] if "items" in each else []
    return True


def _is_closed(schema: dict[str, Any]) -> bool:
    """Tell whether an object has all its properties and no others; anything else is no object."""
    kinds = schema.get("type")
    is_object = "properties" in schema or kinds == "object" or (isinstance(kinds, list) and "object" in kinds)
    if not is_object:
        return True
    properties, required = schema.get("properties"), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and all(name in required for name in properties)
    )
