"""JSON schemas in the subset that Anthropic takes: nothing that it would refuse, and nothing that allows less."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router.providers.anthropic.schema import OpenSchema, closed, tool_input

Json = dict[str, Any]

TEXT: Json = {"type": "string"}


def an_object(**properties: object) -> Json:
    """Write the schema of an object that has these properties and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


A: Json = {"$defs": {"A": TEXT}}
LIST = {"$defs": {"Node": an_object(next={"$ref": "#/$defs/Node"})}, "$ref": "#/$defs/Node"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (an_object(a=TEXT), an_object(a=TEXT)),
        ({"type": "object", "properties": {}}, an_object()),
        ({"properties": {"a": TEXT}, "required": ["a"]}, {**an_object(a=TEXT), "required": ["a"]}),
        (an_object(a={"allOf": [{"$ref": "#/$defs/A"}]}) | A, an_object(a={"$ref": "#/$defs/A"}) | A),
        (an_object(a={"oneOf": [TEXT, {"type": "null"}]}), an_object(a={"anyOf": [TEXT, {"type": "null"}]})),
        (an_object(a={"type": ["string", "null"]}), an_object(a={"type": ["string", "null"]})),
        (an_object(a={"type": "array", "items": TEXT, "minItems": 1}),) * 2,
        (an_object(a={**TEXT, "format": "date"}),) * 2,
        (an_object(a={"enum": ["x", 1, None]}),) * 2,
        ({**an_object(a={"$ref": "#/$defs/A"}), "$defs": {"A": TEXT}},) * 2,
        ({**an_object(a=TEXT), "$schema": "https://json-schema.org/draft/2020-12/schema"}, an_object(a=TEXT)),
    ],
)
def test_a_schema_is_written_in_the_subset(schema: Json, expected: Json) -> None:
    """Objects have the properties that are named and no others."""
    assert expected == closed(schema)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"minLength": 3}, '{"minLength":3}'),
        ({"format": "semver"}, '{"format":"semver"}'),
        (
            {"default": "x", "description": "A name."},
            'A name.\nIt must match this JSON Schema as well: {"default":"x"}',
        ),
    ],
)
def test_what_the_subset_cannot_say_is_said_in_words(more: Json, words: str) -> None:
    """The model reads the description."""
    written = closed(an_object(a={**TEXT, **more}))["properties"]["a"]

    assert written.keys() == {"type", "description"}
    assert written["description"].endswith(words)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {},
        {"description": "Anything."},
        {"type": "object", "additionalProperties": TEXT},
        {**an_object(), "additionalProperties": True},
        an_object(a={}),
        an_object(a=True),
        {"type": "array", "items": {}},
        {"type": "object", "properties": {}, "patternProperties": {"a": TEXT}},
        LIST,
        an_object(a={"allOf": [an_object(b=TEXT), an_object(c=TEXT)]}),
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://schemas.test/a.json"},
        an_object(a={"$ref": "#"}),
        {"$defs": 5, "type": "string"},
        an_object(**{f"p{number}": TEXT for number in range(25)}),
        an_object(**{f"p{number}": {"type": ["string", "null"]} for number in range(17)}),
        "x",
        None,
    ],
)
def test_a_schema_that_allows_more_is_no_closed_one(schema: object) -> None:
    """Any object, anything at all, a list of lists of lists: held to the subset, a model would leave something out."""
    with pytest.raises(OpenSchema):
        closed(schema)


def test_definitions_are_looked_at_once_each() -> None:
    """A chain of ten thousand is read in time in proportion to its length."""
    chain = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(10_000)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**chain, "d10000": TEXT}}

    assert schema == closed(schema)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"properties": {"a": TEXT}}, {"type": "object", "properties": {"a": TEXT}}),
        ({"type": ["object", "null"], "properties": {}}, {"type": "object", "properties": {}}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "required": ["a"]}}},
            {"type": "object", "required": ["a"], "$defs": {"A": {"type": "object", "required": ["a"]}}},
        ),
    ],
)
def test_the_input_of_a_tool_is_an_object(parameters: object, expected: Json) -> None:
    """Anthropic wants that said, at the top."""
    assert (expected, "") == tool_input(parameters)


def test_a_union_at_the_top_becomes_one_object_and_words() -> None:
    """All properties are allowed, what every form requires is required, and the words have the union itself."""
    one = {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a", "b"]}
    other = {"type": "object", "properties": {"a": TEXT, "c": TEXT}, "required": ["a"]}
    schema, words = tool_input({"anyOf": [one, other]})

    assert {"type": "object", "properties": {"a": TEXT, "b": TEXT, "c": TEXT}, "required": ["a"]} == schema
    assert words.startswith('The input must match this JSON Schema as well: {"anyOf":[')


def test_what_all_forms_add_up_to_requires_all_of_it() -> None:
    """`allOf` is no choice."""
    schema, _ = tool_input(
        {"type": "object", "properties": {"a": TEXT}, "allOf": [{"required": ["a"]}, {"required": ["b"]}]}
    )

    assert ["a", "b"] == schema["required"]
