"""The OpenAPI document: what the code cannot say of bodies that are read by hand, streams, examples and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from edge.cache.policy import MODE_HEADER, MODES
from edge.contracts.contract import Contract
from edge.examples import REQUEST_ID
from edge.problems import CONNECTION_ERRORS, KINDS, Problem

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
API_KEY: list[dict[str, list[str]]] = [{"api_key": []}, {"anthropic_key": []}, {"azure_key": []}]
"""The headers that a key may come in: any of them, at every endpoint."""


def json_answer(description: str, example: Any) -> Json:
    """Describe an answer that is a JSON object."""
    schema = {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def errors(*codes: str) -> dict[int | str, Json]:
    """Describe the errors with these codes, by status, in OpenAI's shape."""
    return _errors(codes, lambda problem: problem.body(), _REF.format(model="Error"))


def _errors(codes: Sequence[str], write: Callable[[Problem], Json], schema: str) -> dict[int | str, Json]:
    by_status: dict[int | str, Json] = {}
    for code in codes:
        known = by_status.setdefault(
            KINDS[code].status, {"description": "", "content": {"application/json": {"schema": {"$ref": schema}}}}
        )
        known["description"] = ", ".join(filter(None, (known["description"], code)))
        examples = known["content"]["application/json"].setdefault("examples", {})
        examples[code] = {"value": write(Problem(code, "..."))}
    return by_status


def contract_route(contract: Contract) -> Json:
    """Return what FastAPI is to know of the endpoint of a contract."""
    documentation = contract.documentation
    answer = json_answer("The answer.", documentation.whole)
    if documentation.stream:
        answer["description"] = "The answer: a stream by default or on request, else one object."
        answer["content"]["text/event-stream"] = {
            "itemSchema": _event_schema(documentation.events),
            "example": documentation.stream,
        }
    answer["headers"] = {
        "x-request-id": {"description": "Names the request in receipts and logs.", "schema": {"type": "string"}},
        "x-client-request-id": {
            "description": "The `x-request-id` that the client sent, when it sent one; finds the request in lists.",
            "schema": {"type": "string"},
        },
        "cache-status": {
            "description": "RFC 9211: `edge; hit`, `edge; fwd=miss`, `edge; fwd=bypass`.",
            "schema": {"type": "string"},
        },
        "x-guardrails": {
            "description": "What the guardrails found in the request: `email;action=redact, jwt;action=flag`.",
            "schema": {"type": "string"},
        },
        "x-max-output-tokens": {
            "description": "How long the answer may be by the limits, where the request allowed more or did not say.",
            "schema": {"type": "string"},
        },
        "x-guardrails-output": {
            "description": "To which character an answer in one piece was looked at, and what was found: "
            "`checked=1204, email;action=redact`. Streams have it as a comment before their end.",
            "schema": {"type": "string"},
        },
        "server-timing": {"description": "Milliseconds spent in each step.", "schema": {"type": "string"}},
    }
    schema = {"$ref": _REF.format(model=documentation.body.__name__)}
    error_schema = _REF.format(model=documentation.error_schema_name)
    return {
        "summary": documentation.summary,
        "description": documentation.description,
        "tags": [documentation.tag],
        "responses": {
            200: answer,
            **_errors(documentation.errors, lambda problem: contract.error(problem, REQUEST_ID), error_schema),
        },
        "openapi_extra": {
            "security": API_KEY,
            "parameters": [_IDEMPOTENCY_KEY, _CACHE_MODE],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        },
    }


_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key is run once in 24 hours, and then answered with the same bytes.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

_CACHE_MODE: Json = {
    "name": MODE_HEADER,
    "in": "header",
    "description": "Whether the response cache may answer, and keep the answer: always, only where nothing is drawn by "
    "chance (no temperature above 0, or a `seed`), or never. Unset: as the model's route says, else `always` at "
    "`/chat` and `deterministic` elsewhere.",
    "schema": {"type": "string", "enum": [*MODES]},
}


def _event_schema(names: Sequence[str]) -> Json:
    """Describe one event of a stream, as OpenAPI 3.2 does and FastAPI before it."""
    data: Json = {"type": "string", "contentMediaType": "application/json"}
    if not names:
        return {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
    event = {"type": "string", "enum": list(names)}
    return {"type": "object", "required": ["event", "data"], "properties": {"event": event, "data": data}}


LIVE: Json = {"responses": {200: json_answer("The process runs.", {"status": "ok"})}}
READY: Json = {
    "responses": {
        200: json_answer("It takes requests.", {"status": "ok"}),
        503: json_answer("It starts, or drains.", {"status": "draining"}),
    }
}
_HEALTH = {
    "status": "ok",
    "dependencies": {"llm-router": {"status": "ok"}, "cost-ledger": {"status": "ok"}, "redis": {"status": "ok"}},
    "spool_events": 0,
}
HEALTH: Json = {
    "responses": {
        200: json_answer("Requests can be answered, maybe with less around them.", _HEALTH),
        503: json_answer("No llm-router answers.", {**_HEALTH, "status": "unavailable"}),
    }
}
METRICS: Json = {
    "responses": {
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
}


def describe(app: FastAPI, contracts: Sequence[Contract]) -> None:
    """Make `app` serve the complete OpenAPI document."""
    documentations = [contract.documentation for contract in contracts]

    def document() -> Json:
        if app.openapi_schema is None:
            openapi = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components: Json = openapi.setdefault("components", {})
            bodies = [(each.body, "validation") for each in documentations]
            _, definitions = models_json_schema(bodies, ref_template=_REF)  # type: ignore[arg-type]
            shapes = {each.error_schema_name: each.error_schema for each in documentations if each.error_schema}
            components["schemas"] = {
                **_without_defaults(components),
                **definitions.get("$defs", {}),
                "Error": _error_schema(),
                **shapes,
            }
            components["securitySchemes"] = {
                "api_key": {"type": "http", "scheme": "bearer"},
                "anthropic_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "azure_key": {"type": "apiKey", "in": "header", "name": "api-key"},
            }
            for operations in openapi["paths"].values():
                for operation in operations.values():
                    responses = operation["responses"]
                    if "HTTPValidationError" in str(responses.get("422")):
                        del responses["422"]  # FastAPI's own: this edge answers 400
                    for status, answer in errors(*CONNECTION_ERRORS).items():
                        responses.setdefault(str(status), answer)
            app.openapi_schema = openapi
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _without_defaults(components: Mapping[str, Any]) -> Json:
    """Drop the schemas of FastAPI's own validation errors, which this edge never sends."""
    schemas: Json = components.get("schemas", {})
    return {name: schema for name, schema in schemas.items() if name not in {"HTTPValidationError", "ValidationError"}}


def _error_schema() -> Json:
    error = {
        "message": {"type": "string"},
        "type": {"type": "string", "enum": sorted({kind.type for kind in KINDS.values()})},
        "param": {"type": ["string", "null"]},
        "code": {"type": "string", "enum": sorted(KINDS)},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
    }
    inner = {"type": "object", "required": list(error), "properties": error}
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}
