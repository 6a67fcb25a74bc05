"""Every error a client can get: one table, a shape for each vendor's contract, on the status line or in a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spillway.router.v1 import router_pb2 as routerpb


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means for a client: HTTP status, OpenAI error type, whether the same request may succeed later."""

    status: int
    type: str
    retryable: bool
    outcome: routerpb.Outcome.ValueType


_REJECTED = routerpb.OUTCOME_REJECTED
_FAILED = routerpb.OUTCOME_PROVIDER_ERROR

KINDS: Mapping[str, Kind] = {
    # the caller's errors
    "invalid_json": Kind(400, "invalid_request_error", False, _REJECTED),
    "invalid_request": Kind(400, "invalid_request_error", False, _REJECTED),
    "unknown_field": Kind(400, "invalid_request_error", False, _REJECTED),
    "unsupported_parameter": Kind(400, "invalid_request_error", False, _REJECTED),
    "prompt_too_long": Kind(400, "invalid_request_error", False, _REJECTED),
    "context_length_exceeded": Kind(400, "invalid_request_error", False, _REJECTED),
    "invalid_api_key": Kind(401, "authentication_error", False, _REJECTED),
    "not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "model_not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "request_not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "method_not_allowed": Kind(405, "invalid_request_error", False, _REJECTED),
    "body_too_large": Kind(413, "invalid_request_error", False, _REJECTED),
    # the providers' troubles
    "rate_limited": Kind(429, "rate_limit_error", True, _FAILED),
    "target_model_not_found": Kind(502, "upstream_error", False, _FAILED),
    "all_targets_failed": Kind(502, "upstream_error", True, _FAILED),
    "deadline_exceeded": Kind(504, "upstream_error", True, routerpb.OUTCOME_TIMEOUT),
    "stream_interrupted": Kind(502, "upstream_error", True, routerpb.OUTCOME_INTERRUPTED),
    # our own
    "internal_error": Kind(500, "server_error", True, _FAILED),
    "router_unavailable": Kind(503, "server_error", True, _FAILED),
    "ledger_unavailable": Kind(503, "server_error", True, _FAILED),
    "spend_unrecordable": Kind(503, "server_error", True, _REJECTED),
}

# How the Anthropic Messages API calls the same statuses.
_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class Problem(Exception):
    """An error that is told to the client. `code` is a key of KINDS; the message says what to do."""

    def __init__(
        self, code: str, message: str, *, param: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = KINDS[code]
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        """Return the JSON body: OpenAI's error object, and whether a retry can help."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind.type,
                "param": self.param,
                "code": self.code,
                "retryable": self.kind.retryable,
            }
        }

    def anthropic_body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body in the shape of the Messages API; our code is its `error_code`."""
        kind = _ANTHROPIC_TYPES.get(self.kind.status, "invalid_request_error")
        error = {"type": kind, "message": self.message, "details": {"error_code": self.code}}
        return {"type": "error", "error": error, "request_id": request_id}

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this error."""
        headers = {}
        if self.kind.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_seconds is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_seconds)))
        elif self.kind.status == 503:
            headers["retry-after"] = "1"
        return headers


def from_completion_error(detail: routerpb.CompletionError) -> Problem:
    """Turn the router's error into ours; a code that this table does not know is our own error."""
    if detail.code not in KINDS:
        return Problem("internal_error", "the llm-router reported an error that this edge does not know")
    retry_after = detail.retry_after.ToMilliseconds() / 1000 if detail.HasField("retry_after") else None
    return Problem(detail.code, detail.message, param=detail.param or None, retry_after_seconds=retry_after)
