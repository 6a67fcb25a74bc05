"""What the OpenAPI document says of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.examples import ATTEMPT, REQUEST_ID
from edge.http.openapi import API_KEY, errors, json_answer

Json = dict[str, Any]

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
    "request_id": REQUEST_ID,
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
    "economy": None,
    "attempts": [
        {
            "event_id": "5b0c8f5e-3d5f-5a55-8a39-6a3d8c8f0e11",
            **ATTEMPT,
            "price_version": "vllm/smollm2-135m-instruct@2026-01-01",
            "corrections": [],
        }
    ],
}


_ANYWHERE = ("invalid_request", "invalid_api_key", "permission_denied")


def _report(description: str, example: Any, *codes: str) -> Json:
    return {
        "responses": {200: json_answer(description, example), **errors(*_ANYWHERE, *codes)},
        "openapi_extra": {"security": API_KEY},
    }


def _with_csv(report: Json, example: str, headers: Mapping[str, str]) -> Json:
    """Return the report as one that is also available as CSV."""
    answer = report["responses"][200]
    answer["content"]["text/csv"] = {"schema": {"type": "string"}, "example": example}
    answer["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {**report, "response_model": None}


_MODEL = {
    "id": "default",
    "object": "model",
    "created": 1767225600,
    "owned_by": "spillway",
    "type": "model",
    "display_name": "default",
    "created_at": "2026-01-01T00:00:00Z",
}
_PAGE = {"has_more": False, "first_id": "default", "last_id": "default"}
MODELS = _report(
    "All models and their aliases, in one page: each has the fields of OpenAI's contract and those of Anthropic's.",
    {"object": "list", "data": [_MODEL], **_PAGE},
    "router_unavailable",
)
MODEL = _report("The model.", _MODEL, "model_not_found", "router_unavailable")
COSTS = _with_csv(
    _report(
        "Figures; money is a decimal string in USD. With `group_by`, `groups` instead of `by_user`, `by_model` and "
        "`by_day`: the most expensive first, or day by day, at most 10,000; `truncated` says whether there are more.",
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
        "ledger_unavailable",
    ),
    f"user,{','.join(_FIGURES)}\r\ndeveloper,{','.join(map(str, _FIGURES.values()))}\r\n",
    {"x-truncated": "CSV: `true` when there are more groups than rows."},
)
_REQUEST = {name: value for name, value in _RECEIPT.items() if name != "attempts"}
REQUESTS = _with_csv(
    _report(
        "Requests, newest first. `next_cursor` is set while there may be more: a page can be shorter than `limit`, or "
        "empty, when few of many requests match. CSV without `limit` has all that match, up to 100,000; when there are "
        "more, the last row says so.",
        {"object": "list", "data": [_REQUEST], "next_cursor": None},
        "ledger_unavailable",
    ),
    f"{','.join(_REQUEST)}\r\n{REQUEST_ID},settled,local,...\r\n",
    {"x-next-cursor": "CSV with `limit`: the cursor of the next page, if there may be one."},
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
