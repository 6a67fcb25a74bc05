"""Which web pages may read answers: none, until the operator names their origins."""

from __future__ import annotations

from collections.abc import Sequence

_METHODS = "GET, HEAD, POST"
# What the contracts and the official clients send.
_REQUEST_HEADERS = (
    *("authorization", "content-type", "accept", "cache-control", "x-api-key", "api-key", "x-request-id"),
    *("traceparent", "tracestate", "content-encoding", "x-spillway-cache"),
    *("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"),
    *("openai-organization", "openai-project", "idempotency-key"),
)
# Official clients tell of themselves in headers that begin so.
_CLIENT_HEADERS = "x-stainless-"
_MAX_CLIENT_HEADERS = 32
_ANSWER_HEADERS = ", ".join(
    (
        *("x-request-id", "x-client-request-id", "request-id", "cache-status", "server-timing", "retry-after"),
        *("retry-after-ms", "x-should-retry", "x-guardrails", "x-max-output-tokens", "idempotency-replayed"),
        *(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")),
    )
)
_MAX_AGE_SECONDS = "600"


class Cors:
    """Answers for the origins that there are; `*` stands for all of them.

    Credentials that a browser adds by itself (cookies, certificates) are allowed to none: a page that asks has a key,
    and says so in `Authorization`. So a page can read what its key can, and nothing because of where it is opened.
    """

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._is_open = "*" in self._origins

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return what any answer says about who may read it."""
        if not self._origins:
            return {}
        # A copy kept for a page of one origin must not be shown to one of another.
        told = {} if self._is_open else {"vary": "origin"}
        if (allowed := self._allowed(origin)) is not None:
            told |= {"access-control-allow-origin": allowed, "access-control-expose-headers": _ANSWER_HEADERS}
        return told

    def preflight(self, origin: str, asked_headers: str) -> dict[str, str] | None:
        """Return what else the answer says to a browser that asks whether it may ask; None: this page may not."""
        if self._allowed(origin) is None:
            return None
        asked = (name.strip().lower() for name in asked_headers.split(","))
        clients = [name for name in asked if name.startswith(_CLIENT_HEADERS)][:_MAX_CLIENT_HEADERS]
        return {
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": ", ".join((*_REQUEST_HEADERS, *clients)),
            "access-control-max-age": _MAX_AGE_SECONDS,
        }

    def _allowed(self, origin: str | None) -> str | None:
        if self._is_open:
            return "*"
        return origin if origin in self._origins else None
