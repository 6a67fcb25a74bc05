"""Every error a client can get: one table; each contract writes it in its own shape."""

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
    # errors of the caller
    "invalid_json": Kind(400, "invalid_request_error", False, _REJECTED),
    "invalid_request": Kind(400, "invalid_request_error", False, _REJECTED),
    "unknown_field": Kind(400, "invalid_request_error", False, _REJECTED),
    "unsupported_parameter": Kind(400, "invalid_request_error", False, _REJECTED),
    "content_blocked": Kind(400, "invalid_request_error", False, _REJECTED),
    "context_length_exceeded": Kind(400, "invalid_request_error", False, _REJECTED),
    "invalid_api_key": Kind(401, "authentication_error", False, _REJECTED),
    "permission_denied": Kind(403, "permission_error", False, _REJECTED),
    "not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "model_not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "request_not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "previous_response_not_found": Kind(404, "invalid_request_error", False, _REJECTED),
    "conflict": Kind(409, "invalid_request_error", False, _REJECTED),
    "capture_unreadable": Kind(409, "invalid_request_error", False, _REJECTED),
    "request_in_progress": Kind(409, "invalid_request_error", True, _REJECTED),
    "idempotency_key_reused": Kind(422, "invalid_request_error", False, _REJECTED),
    "method_not_allowed": Kind(405, "invalid_request_error", False, _REJECTED),
    "request_timeout": Kind(408, "invalid_request_error", True, _REJECTED),
    "body_too_large": Kind(413, "invalid_request_error", False, _REJECTED),
    "unsupported_encoding": Kind(415, "invalid_request_error", False, _REJECTED),
    "misdirected_request": Kind(421, "invalid_request_error", False, _REJECTED),
    "rate_limit_exceeded": Kind(429, "rate_limit_error", True, _REJECTED),
    "too_many_requests": Kind(429, "rate_limit_error", True, _REJECTED),
    "headers_too_large": Kind(431, "invalid_request_error", False, _REJECTED),
    "spend_limit_reached": Kind(429, "rate_limit_error", False, _REJECTED),
    # failures of providers
    "rate_limited": Kind(429, "rate_limit_error", True, _FAILED),
    "target_model_not_found": Kind(502, "upstream_error", False, _FAILED),
    "all_targets_failed": Kind(502, "upstream_error", True, _FAILED),
    "deadline_exceeded": Kind(504, "upstream_error", True, routerpb.OUTCOME_TIMEOUT),
    "stream_interrupted": Kind(502, "upstream_error", True, routerpb.OUTCOME_INTERRUPTED),
    "answer_too_long": Kind(502, "upstream_error", False, routerpb.OUTCOME_INTERRUPTED),
    # failures of the gateway
    "internal_error": Kind(500, "server_error", True, _FAILED),
    "router_unavailable": Kind(503, "server_error", True, _FAILED),
    "guardrail_unavailable": Kind(503, "server_error", True, _REJECTED),
    "overloaded": Kind(503, "server_error", True, _REJECTED),
    "keys_unavailable": Kind(503, "server_error", True, _REJECTED),
    "responses_unavailable": Kind(503, "server_error", True, _REJECTED),
    "ledger_unavailable": Kind(503, "server_error", True, _FAILED),
    "too_many_connections": Kind(503, "server_error", True, _REJECTED),
    "spend_unrecordable": Kind(503, "server_error", True, _REJECTED),
}

# What any request may end with, in OpenAI's shape, before it is known whose it is.
CONNECTION_ERRORS = ("request_timeout", "misdirected_request", "headers_too_large", "too_many_connections")
# What a request may end with before or after it runs; the order is that of the documentation.
EMBEDDING_ERRORS = (
    *("invalid_json", "invalid_request", "content_blocked", "context_length_exceeded"),
    *("invalid_api_key", "permission_denied", "model_not_found", "body_too_large", "unsupported_encoding"),
    *("too_many_requests", "request_in_progress", "conflict", "idempotency_key_reused"),
    *("rate_limit_exceeded", "rate_limited", "spend_limit_reached", "internal_error", "all_targets_failed"),
    *(
        "target_model_not_found",
        "router_unavailable",
        "keys_unavailable",
        "guardrail_unavailable",
        "overloaded",
        "spend_unrecordable",
        "deadline_exceeded",
        "unsupported_parameter",
    ),
)
CHAT_ERRORS = (
    *EMBEDDING_ERRORS,
    *("unknown_field", "stream_interrupted", "answer_too_long"),
)


class Problem(Exception):
    """An error for the client. `code` is a key of KINDS; the message says what to do."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        retryable: bool = True,
        provider_code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`retryable=False` says that a retry cannot help although it often does after such an error.

        `provider_code` is what the provider calls its fault with the request: clients know the vendor's codes.
        `headers` go with the error besides those of its kind.
        """
        super().__init__(message)
        self.code = code
        self.kind = KINDS[code]
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.retryable = retryable and self.kind.retryable
        self.client_code = provider_code or code
        self._headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body: OpenAI's error object, and whether a retry can help."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind.type,
                "param": self.param,
                "code": self.client_code,
                "retryable": self.retryable,
            }
        }

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this error."""
        # The vendors' own clients read this; without it they retry after every 429 and 5xx.
        headers = {"x-should-retry": "true" if self.retryable else "false", **self._headers}
        if self.kind.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_seconds is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_seconds)))
        elif self.kind.status == 503:
            headers["retry-after"] = "1"
        return headers


def from_completion_error(detail: routerpb.CompletionError) -> Problem:
    """Turn the router's error into ours; a code that this table does not know is our own error.

    The edge does not ask for the error of a call that it has stopped itself.
    """
    if detail.code == "stopped":
        return Problem("stream_interrupted", "the answer was stopped by somebody else; it is incomplete")
    if detail.code not in KINDS:
        return Problem("internal_error", "the llm-router reported an error that this edge does not know")
    retry_after = detail.retry_after.ToMilliseconds() / 1000 if detail.HasField("retry_after") else None
    return Problem(
        detail.code,
        detail.message,
        param=detail.param or None,
        retry_after_seconds=retry_after,
        retryable=detail.retryable,
        provider_code=detail.provider_code,
    )
