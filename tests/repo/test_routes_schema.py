"""The chart's schema of a target and a route against the router's own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llm_router.routes.file import RouteEntry, TargetEntry

CHART = Path(__file__).parents[2] / "charts/spillway"
# They restrict nothing.
IGNORED = {"title", "description", "default", "format"}


def router_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of `model` in the chart's form: no references, absent instead of null."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def simplified(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return simplified(definitions[node["$ref"].rpartition("/")[2]])
        if "anyOf" in node:
            (alternative,) = [each for each in node["anyOf"] if each != {"type": "null"}]
            return simplified(alternative)
        if "enum" in node:
            return {"enum": node["enum"]}
        return {key: simplified(value) for key, value in node.items() if key not in IGNORED}

    properties = {name: simplified(node) for name, node in schema["properties"].items()}
    return {"required": schema["required"], "properties": properties}


def chart_schema(name: str) -> dict[str, Any]:
    """Return what the chart allows for a `target` or a `route`."""
    schema = json.loads((CHART / "values.schema.json").read_text())["$defs"][name]
    return {"required": schema["required"], "properties": schema["properties"]}


@pytest.mark.parametrize(("name", "model"), [("target", TargetEntry), ("route", RouteEntry)])
def test_the_chart_allows_what_the_router_allows(name: str, model: type[BaseModel]) -> None:
    """Keys, types and bounds are the same, so that what Helm installs is what the router starts with."""
    router, chart = router_schema(model), chart_schema(name)
    if name == "route":
        references = chart["properties"].pop("targets")
        assert references["minItems"] == router["properties"].pop("targets")["minItems"]

    assert router == chart
