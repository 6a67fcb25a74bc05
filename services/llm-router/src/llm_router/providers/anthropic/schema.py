"""JSON schemas in the subset that Anthropic takes: for an answer's format, for tools with `strict`, for a tool's input.

What a schema demands beyond the subset becomes words in its `description`, where the model reads it.
Claude API docs, Structured outputs, JSON schema limitations; Tool use, Define tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import orjson

from llm_router.providers.chat_body import Json

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_DEFINITIONS = ("$defs", "definitions")
_KEPT = frozenset({"type", "enum", "const", "title", "description", "required", "$ref", "additionalProperties"})
# They say more than the subset can, and a model that only read them would be held to less.
_OPEN = frozenset({"patternProperties", "prefixItems", "not", "if", "unevaluatedProperties", "$dynamicRef", "$anchor"})
_MAX_OPTIONAL, _MAX_UNIONS = 24, 16
_UNIONS = ("anyOf", "oneOf", "allOf")
# A schema with none of them allows anything.
_SAYING = frozenset({"type", "enum", "const", "$ref", "properties", *_UNIONS})


class OpenSchema(Exception):
    """The schema allows what the subset cannot say, e.g. any object, or itself within itself."""


def closed(schema: object) -> Json:
    """Return `schema` in the subset. OpenSchema when that would allow less than it does."""
    if _is_recursive(_object(schema)):
        raise OpenSchema
    written = _closed(schema)
    _check_size(written)
    return written


def _check_size(schema: Json) -> None:
    """Raise OpenSchema for more optional properties or unions than Anthropic compiles."""
    optional = unions = 0
    pending: list[Any] = [schema]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            properties, required = each.get("properties"), each.get("required")
            if isinstance(properties, dict) and isinstance(each.get("type"), str | list):
                optional += len(properties) - len(required if isinstance(required, list) else ())
            unions += isinstance(each.get("anyOf"), list) or isinstance(each.get("type"), list)
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    if optional > _MAX_OPTIONAL or unions > _MAX_UNIONS:
        raise OpenSchema


def _closed(schema: object) -> Json:
    if not isinstance(schema, dict) or not _OPEN.isdisjoint(schema) or _SAYING.isdisjoint(schema):
        raise OpenSchema
    written: Json = {name: value for name, value in schema.items() if name in _KEPT}
    beyond: Json = {}
    for name, value in schema.items():
        if name in _DEFINITIONS or name == "properties":
            written[name] = {key: _closed(each) for key, each in _object(value).items()}
        elif name == "allOf":
            written |= _closed(_only(value))
        elif name in _UNIONS:
            written["anyOf"] = [_closed(each) for each in value]
        elif name == "items":
            written[name] = _closed(value)
        elif (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1)):
            written[name] = value
        elif name not in _KEPT and not name.startswith("$"):
            beyond[name] = value
    _close_object(written)
    if beyond:
        words = f"It must match this JSON Schema as well: {_text(beyond)}"
        written["description"] = "\n".join(filter(None, [written.get("description"), words]))
    return written


def _close_object(written: Json) -> None:
    kinds = written.get("type")
    is_object = "object" in kinds if isinstance(kinds, list) else kinds == "object"
    if is_object or "properties" in written:
        if written.get("additionalProperties", False) is not False:
            raise OpenSchema
        if "properties" not in written and "additionalProperties" not in written:
            raise OpenSchema
        written |= {"type": kinds or "object", "additionalProperties": False}
    elif written.get("additionalProperties") is not None:
        del written["additionalProperties"]


def _only(schemas: Any) -> Any:
    """Return the one schema of `allOf`: several that forbid each other's properties would allow nothing."""
    if len(schemas) != 1:
        raise OpenSchema
    return schemas[0]


def _object(value: object) -> Json:
    if not isinstance(value, dict):
        raise OpenSchema
    return value


def _is_recursive(schema: Json) -> bool:
    """Tell whether a definition leads back to itself; a reference that leads elsewhere counts too."""
    groups = {group: _object(schema.get(group) or {}) for group in _DEFINITIONS}
    found = {f"#/{group}/{name}": each for group, named in groups.items() for name, each in named.items()}
    uses = {place: _references(each) for place, each in found.items()}
    top = _references({name: each for name, each in schema.items() if name not in _DEFINITIONS})
    if not top.union(*uses.values()) <= found.keys():
        return True
    try:
        TopologicalSorter(uses).prepare()
    except CycleError:
        return True
    return False


def _references(schema: object) -> set[str]:
    """Return where the references in a schema lead. Does not recurse."""
    found: set[str] = set()
    pending: list[Any] = [schema]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$ref"), str):
                found.add(each["$ref"])
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return found


def tool_input(parameters: object) -> tuple[Json, str]:
    """Return the schema of a tool's input, and what has to be said in words besides; empty: nothing.

    Anthropic wants an object at the top and no union there: of the forms of a union all properties are allowed, those
    that every form requires are required, and the words have the union itself.
    """
    if not isinstance(parameters, dict) or not parameters:
        return {"type": "object", "properties": {}}, ""
    schema = _resolved(parameters)
    unions = {name: schema[name] for name in _UNIONS if isinstance(schema.get(name), list)}
    if not unions:
        return {**schema, "type": "object"}, ""
    schema = {name: value for name, value in schema.items() if name not in unions}
    properties: Json = dict(schema.get("properties") or {})
    required: set[str] = set(schema.get("required") or ())
    for name, branches in unions.items():
        forms = [_resolved(form, parameters) for form in branches if isinstance(form, dict)]
        for form in forms:
            properties = {**(form.get("properties") or {}), **properties}
        needs = [set(form.get("required") or ()) for form in forms]
        if needs:
            required |= set.union(*needs) if name == "allOf" else set.intersection(*needs)
    written: Json = {**schema, "type": "object", "properties": properties}
    if required:
        written["required"] = sorted(required)
    return written, f"The input must match this JSON Schema as well: {_text(unions)}"


def _resolved(schema: Json, whole: Mapping[str, Any] | None = None) -> Json:
    """Return a schema that is a mere reference as what it refers to; one step, as more are hardly written."""
    reference = schema.get("$ref")
    whole = schema if whole is None else whole
    for group in _DEFINITIONS:
        if isinstance(reference, str) and reference.startswith(f"#/{group}/"):
            definition = (whole.get(group) or {}).get(reference.removeprefix(f"#/{group}/"))
            if isinstance(definition, dict):
                return {**{name: value for name, value in schema.items() if name != "$ref"}, **definition}
    return schema


def _text(schema: Json) -> str:
    return orjson.dumps(schema).decode()
