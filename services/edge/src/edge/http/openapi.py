"""What the OpenAPI document says beyond the code: bodies that are read by hand, streams, examples, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from edge.contracts.chat.frames import ChatRequest
from edge.contracts.completions.frames import CompletionRequest
from edge.contracts.embeddings.request import EmbeddingRequest
from edge.contracts.messages.frames import MessagesRequest
from edge.problems import KINDS, Problem

Json = dict[str, Any]

_SCHEMAS: tuple[type[BaseModel], ...] = (ChatRequest, CompletionRequest, EmbeddingRequest, MessagesRequest)
_REF = "#/components/schemas/{model}"
_REQUEST_ID = "019aa3c4-6f1e-7cc2-9d0a-2f7d7c1b8e55"
_BEARER: list[dict[str, list[str]]] = [{"api_key": []}]

_ATTEMPT = {
    "attempt_number": 1,
    "target": "local-smollm2",
    "provider": "vllm",
    "target_model": "smollm2-135m-instruct",
    "response_model": "smollm2-135m-instruct",
    "outcome": "ok",
    "error_code": None,
    "http_status": 200,
    "duration_seconds": 0.31,
    "time_to_first_chunk_seconds": 0.12,
    "usage": {"input_tokens": 37, "output_tokens": 8},
    "usage_source": "reported",
    "cost_usd": "0.000000000",
}
_DONE = {
    "finish_reason": "stop",
    "model": "smollm2-135m-instruct",
    "provider": "vllm",
    "usage": {"input_tokens": 37, "output_tokens": 8},
    "cost_usd": "0.000000000",
    "attempts": [_ATTEMPT],
    "cache": {"status": "miss", "bypass_reason": None, "stored": True, "saved_cost_usd": None},
}
_CHAT_STREAM = (
    f'event: start\nid: {_REQUEST_ID}:1\ndata: {{"request_id":"{_REQUEST_ID}","model":"default","cache":"miss"}}\n\n'
    f'event: delta\nid: {_REQUEST_ID}:2\ndata: {{"text":"The capital of France is Paris."}}\n\n'
    f'event: done\nid: {_REQUEST_ID}:3\ndata: {{"finish_reason":"stop","model":"smollm2-135m-instruct",...}}\n\n'
)
_COMPLETION = {
    "id": f"chatcmpl-{_REQUEST_ID}",
    "object": "chat.completion",
    "created": 1795219200,
    "model": "smollm2-135m-instruct",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45},
}
_COMPLETION_STREAM = (
    'data: {"id":"chatcmpl-...","object":"chat.completion.chunk","created":1795219200,"model":"smollm2-135m-instruct",'
    '"choices":[{"index":0,"delta":{"content":"Paris"},"logprobs":null,"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
_MESSAGE = {
    "id": f"msg_{_REQUEST_ID}",
    "type": "message",
    "role": "assistant",
    "model": "smollm2-135m-instruct",
    "content": [{"type": "text", "text": "The capital of France is Paris."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 37,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
        "output_tokens": 8,
    },
}
_MESSAGE_STREAM = (
    'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_...","content":[],...}}\n\n'
    "event: content_block_start\n"
    'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    "event: content_block_delta\n"
    'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Paris"}}\n\n'
    'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    "event: message_delta\n"
    'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{...}}\n\n'
    'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_FIGURES = {
    "requests": 2,
    "attempts": 1,
    "input_tokens": 37,
    "output_tokens": 8,
    "cost_usd": "0.000000000",
    "unpriced_attempts": 0,
    "cache_hits": 1,
    "cache_misses": 1,
    "cache_bypasses": 0,
    "saved_cost_usd": "0.000000000",
}
_RECEIPT = {
    "request_id": _REQUEST_ID,
    "state": "settled",
    "tenant": "local",
    "user": "developer",
    "key_id": "3f2a9c1e",
    "endpoint": "/chat",
    "requested_model": "default",
    "template": None,
    "is_streaming": True,
    "admitted_at": "2026-11-21T08:00:00.000Z",
    "settled_at": "2026-11-21T08:00:00.310Z",
    "outcome": "ok",
    "finish_reason": "stop",
    "error_code": None,
    "cache_status": "miss",
    "cache_bypass_reason": None,
    "duration_seconds": 0.31,
    "time_to_first_token_seconds": 0.13,
    "cost_usd": "0.000000000",
    "saved_cost_usd": None,
    "client_request_id": "order-17",
    "attempts": [
        {
            "event_id": "5b0c8f5e-3d5f-5a55-8a39-6a3d8c8f0e11",
            **_ATTEMPT,
            "price_version": "vllm/smollm2-135m-instruct@2026-01-01",
            "corrections": [],
        }
    ],
}


def _json(description: str, example: Any) -> Json:
    schema = {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _errors(*codes: str) -> dict[int | str, Json]:
    """Describe the errors with these codes, by status."""
    by_status: dict[int | str, Json] = {}
    for code in codes:
        kind = KINDS[code]
        error = {"message": "...", "type": kind.type, "param": None, "code": code, "retryable": kind.retryable}
        known = by_status.setdefault(
            kind.status, {"description": "", "content": {"application/json": {"schema": {"$ref": _error_ref()}}}}
        )
        known["description"] = ", ".join(filter(None, (known["description"], code)))
        known["content"]["application/json"].setdefault("examples", {})[code] = {"value": {"error": error}}
    return by_status


def _error_ref() -> str:
    return _REF.format(model="Error")


def _in_anthropics_shape(endpoint: Json) -> Json:
    """Return the endpoint with the keys and errors of Anthropic's contract."""
    responses = dict(endpoint["responses"])
    for status, response in responses.items():
        if status != 200:
            examples = response["content"]["application/json"]["examples"]
            told = {code: {"value": Problem(code, "...").anthropic_body(_REQUEST_ID)} for code in examples}
            content = {"schema": {"$ref": _REF.format(model="AnthropicError")}, "examples": told}
            responses[status] = {**response, "content": {"application/json": content}}
    extra = {**endpoint["openapi_extra"], "security": [{"anthropic_key": []}, *_BEARER]}
    return {"responses": responses, "openapi_extra": extra}


def _chat_endpoint(body: type[BaseModel], whole: Json, stream: str) -> Json:
    answer = _json("The answer: a stream by default or on request, else one object.", whole)
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}, "example": stream}
    answer["headers"] = {
        "x-request-id": {"description": "Names the request in receipts and logs.", "schema": {"type": "string"}},
        "x-client-request-id": {
            "description": "The `x-request-id` that the client sent, when it sent one; finds the request in lists.",
            "schema": {"type": "string"},
        },
        "cache-status": {"description": "RFC 9211: `edge; hit`, `edge; fwd=miss`, `edge; fwd=bypass`.", "schema": {}},
        "server-timing": {"description": "Milliseconds spent in guard and cache.", "schema": {"type": "string"}},
    }
    schema = {"$ref": _REF.format(model=body.__name__)}
    errors = _errors(
        "invalid_json", "invalid_request", "unknown_field", "unsupported_parameter", "prompt_too_long",
        "context_length_exceeded",
        "invalid_api_key", "model_not_found", "body_too_large", "rate_limited", "all_targets_failed",
        "deadline_exceeded", "router_unavailable", "spend_unrecordable",
    )  # fmt: skip
    return {
        "responses": {200: answer, **errors},
        "openapi_extra": {
            "security": _BEARER,
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        },
    }


def _report(description: str, example: Any, *codes: str) -> Json:
    return {
        "responses": {200: _json(description, example), **_errors("invalid_api_key", *codes)},
        "openapi_extra": {"security": _BEARER},
    }


def _with_csv(report: Json, example: str, headers: Mapping[str, str]) -> Json:
    """Return the report as one that there is as a file as well."""
    answer = report["responses"][200]
    answer["content"]["text/csv"] = {"schema": {"type": "string"}, "example": example}
    answer["headers"] = {name: {"description": told, "schema": {"type": "string"}} for name, told in headers.items()}
    return {**report, "response_model": None}


CHAT = _chat_endpoint(
    ChatRequest, {"request_id": _REQUEST_ID, "text": "Paris.", "tool_calls": [], **_DONE}, _CHAT_STREAM
)
COMPLETIONS = _chat_endpoint(CompletionRequest, _COMPLETION, _COMPLETION_STREAM)
MESSAGES = _in_anthropics_shape(_chat_endpoint(MessagesRequest, _MESSAGE, _MESSAGE_STREAM))
EMBEDDINGS: Json = {
    "responses": {
        200: _json(
            "The vectors, in the order of the inputs.",
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
                "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
            },
        ),
        **_errors(
            "invalid_json", "invalid_request", "prompt_too_long", "context_length_exceeded", "invalid_api_key",
            "model_not_found", "body_too_large", "rate_limited", "all_targets_failed", "deadline_exceeded",
            "router_unavailable", "spend_unrecordable",
        ),
    },
    "openapi_extra": {
        "security": _BEARER,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="EmbeddingRequest")}}},
        },
    },
}  # fmt: skip
_MODEL = {"id": "default", "object": "model", "created": 1767225600, "owned_by": "spillway"}
MODELS = _report("The models.", {"object": "list", "data": [_MODEL]}, "router_unavailable")
MODEL = _report("The model.", _MODEL, "model_not_found", "router_unavailable")
COSTS = _with_csv(
    _report(
        "Figures; money is a decimal string in USD. With `group_by`, `groups` instead of `by_user`, `by_model` and "
        "`by_day`: the dearest first, or day by day, at most 10,000; `truncated` tells whether there are more.",
        {
            "currency": "USD",
            "from": "2026-10-23",
            "to": "2026-11-21",
            "today": {"day": "2026-11-21", **_FIGURES},
            "total": _FIGURES,
            "by_user": [{"user": "developer", **_FIGURES}],
            "by_model": [{"model": "default", **_FIGURES}],
            "by_day": [{"day": "2026-11-21", **_FIGURES}],
        },
        "invalid_request",
        "ledger_unavailable",
    ),
    f"user,{','.join(_FIGURES)}\r\ndeveloper,{','.join(map(str, _FIGURES.values()))}\r\n",
    {"x-truncated": "CSV: `true` when there are more groups than rows."},
)
_REQUEST = {name: value for name, value in _RECEIPT.items() if name != "attempts"}
REQUESTS = _with_csv(
    _report(
        "Requests, newest first. `next_cursor` is there while there may be more: a page can be shorter than `limit`, "
        "or empty, where few of many requests match. As CSV without `limit` all that match, at most 100,000; the last "
        "row says so when there are more.",
        {"object": "list", "data": [_REQUEST], "next_cursor": None},
        "invalid_request",
        "ledger_unavailable",
    ),
    f"{','.join(_REQUEST)}\r\n{_REQUEST_ID},settled,local,...\r\n",
    {"x-next-cursor": "CSV with `limit`: the cursor of the next page, when there may be one."},
)
RECEIPT = _report("The receipt.", _RECEIPT, "request_not_found", "ledger_unavailable")
CACHE_STATS = _report(
    "Figures of the response cache.",
    {
        "from": "2026-10-23",
        "to": "2026-11-21",
        "hits": 1,
        "misses": 1,
        "bypasses": 0,
        "hit_ratio": 0.5,
        "saved_cost_usd": "0.000000000",
        "ttl_seconds": 86400,
    },
    "ledger_unavailable",
)
LIVE: Json = {"responses": {200: _json("The process runs.", {"status": "ok"})}}
READY: Json = {
    "responses": {
        200: _json("It takes requests.", {"status": "ok"}),
        503: _json("It drains.", {"status": "draining"}),
    }
}
_HEALTH = {
    "status": "ok",
    "dependencies": {"llm-router": {"status": "ok"}, "cost-ledger": {"status": "ok"}, "redis": {"status": "ok"}},
    "spool_events": 0,
}
HEALTH: Json = {
    "responses": {
        200: _json("Requests can be answered, maybe with less around them.", _HEALTH),
        503: _json("No llm-router answers.", {**_HEALTH, "status": "unavailable"}),
    }
}
METRICS: Json = {
    "responses": {
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
}


def describe(app: FastAPI) -> None:
    """Make `app` serve the complete OpenAPI document."""

    def document() -> Json:
        if app.openapi_schema is None:
            openapi = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components: Json = openapi.setdefault("components", {})
            _, definitions = models_json_schema([(model, "validation") for model in _SCHEMAS], ref_template=_REF)
            errors = {"Error": _error_schema(), "AnthropicError": _anthropic_error_schema()}
            components["schemas"] = {**_without_defaults(components), **definitions["$defs"], **errors}
            components["securitySchemes"] = {
                "api_key": {"type": "http", "scheme": "bearer"},
                "anthropic_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
            for operations in openapi["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)  # this edge answers 400
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


def _anthropic_error_schema() -> Json:
    code = {"type": "string", "enum": sorted(KINDS)}
    error = {
        "type": {"type": "string"},
        "message": {"type": "string"},
        "details": {"type": "object", "properties": {"error_code": code}},
    }
    properties = {
        "type": {"const": "error"},
        "error": {"type": "object", "required": list(error), "properties": error},
        "request_id": {"type": "string"},
    }
    return {"type": "object", "required": list(properties), "properties": properties}
