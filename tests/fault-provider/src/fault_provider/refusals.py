"""The vendors' error bodies: for a status, for what a behaviour refuses, for a request that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fault_provider.plan import Plan, Wire

# status: (type, code, message)
_OPENAI: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Invalid value for a parameter of the request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("invalid_request_error", "billing_not_active", "Your account is not active, please check your billing."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to sample from this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    422: ("invalid_request_error", None, "The request was well-formed but could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "Gateway timeout."),
    529: ("server_error", None, "The service is overloaded."),
}
_ANTHROPIC: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "There was an issue with the format or content of your request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "model: not found"),
    422: ("invalid_request_error", "The request could not be processed."),
    429: ("rate_limit_error", "This request would exceed your account's rate limit."),
    500: ("api_error", "Internal server error"),
    502: ("api_error", "Bad gateway"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "The request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def error_body(wire: Wire, kind: str, message: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in the shape of the wire; Anthropic has no codes."""
    if wire == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fault"}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def status_body(wire: Wire, status: int) -> dict[str, Any]:
    """Return what the vendor says with `status`, one of plan.STATUSES."""
    if wire == "anthropic":
        return error_body(wire, *_ANTHROPIC[status])
    kind, code, message = _OPENAI[status]
    return error_body(wire, kind, message, code)


def wrong_key(plan: Plan, wire: Wire, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]] | None:
    """Return the refusal of a credential that does not end as the plan wants it; it quotes it, as a vendor may."""
    credential = (headers.get("authorization") or headers.get("x-api-key") or "").removeprefix("Bearer ")
    if credential.endswith(plan.accepts):
        return None
    message = f"Incorrect API key provided: {credential}."
    kind, code = ("authentication_error", None) if wire == "anthropic" else ("invalid_request_error", "invalid_api_key")
    return 401, error_body(wire, kind, message, code)


def refusal(plan: Plan, wire: Wire) -> tuple[int, dict[str, Any]] | None:
    """Return status and body when the plan's behaviour is to refuse, else None; `flaky` is counted by the caller."""
    if plan.behaviour.startswith("status-"):
        status = int(plan.behaviour.removeprefix("status-"))
        return status, status_body(wire, status)
    if plan.behaviour == "insufficient-quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        if wire == "anthropic":
            return 402, status_body(wire, 402)
        return 429, error_body(wire, "insufficient_quota", message, "insufficient_quota")
    if plan.behaviour == "context-too-long":
        if wire == "anthropic":
            return 400, error_body(wire, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
        message = "This model's maximum context length is 128000 tokens. However, your messages resulted in more."
        return 400, error_body(wire, "invalid_request_error", message, "context_length_exceeded")
    return None
