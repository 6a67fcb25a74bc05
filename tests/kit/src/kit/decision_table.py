"""The decision table of the router, row by row: what a provider does, and what has to come of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that a first target does; the second one of the route is well."""

    name: str
    model: str
    """At the fault provider; `!` in front: the target's timers are short."""
    outcome: str
    """Of the first target's attempts, as the ledger spells it."""
    code: str
    tries: int = 1
    distance: tuple[float, float] = (0, 0)
    """Least and most seconds between two tries."""
    is_billed: bool = False
    """Whether the first target's attempts are billed, as an estimate."""


# Nothing had been sent on: the second target answers and the reader sees nothing of it.
MOVED_ON = [
    *(Row(f"{status}", f"status-{status}?", "provider_error", "provider_unavailable", 2, (0.1, 2.0))
      for status in (500, 502, 503, 504, 529)),
    Row("reset", "reset?", "provider_error", "target_unreachable", 2, (0.1, 2.0)),
    Row("error-first", "error-frame?after=0&", "provider_error", "provider_unavailable", 2, (0.1, 2.0)),
    Row("429", "status-429?", "provider_error", "rate_limited"),
    Row("429-short", "status-429?retry_after=1&", "provider_error", "rate_limited", 2, (1.0, 4.0)),
    Row("429-long", "status-429?retry_after=30&", "provider_error", "rate_limited"),
    Row("quota", "insufficient-quota?", "provider_error", "credential_refused"),
    *(Row(f"{status}", f"status-{status}?", "provider_error", "credential_refused") for status in (401, 402, 403)),
    Row("context", "context-too-long?", "rejected", "context_length_exceeded"),
    Row("silence", "!silence?", "timeout", "timeout", is_billed=True),
    Row("silent-headers", "!silence?after_headers=1&", "timeout", "timeout", is_billed=True),
    Row("role-only", "!role-only?", "timeout", "timeout", is_billed=True),
    Row("pings-only", "!pings-only?interval_ms=50&", "timeout", "timeout", is_billed=True),
    Row("cut-first", "cut?after=0&", "provider_error", "stream_broken", is_billed=True),
    Row("malformed-first", "malformed?after=0&", "provider_error", "stream_broken", is_billed=True),
    Row("missing-end-first", "missing-end?chunks=0&", "provider_error", "stream_broken", is_billed=True),
    Row("unknown-finish-first", "unknown-finish?chunks=0&", "provider_error", "stream_broken", is_billed=True),
]  # fmt: skip

# The caller's own error: nobody else is asked.
REJECTED = [
    Row("400", "status-400?", "rejected", "invalid_request"),
    Row("422", "status-422?", "rejected", "invalid_request"),
    Row("404", "status-404?", "rejected", "target_model_not_found"),
]

# Words had been sent on: the stream ends with an error that says how much came.
INTERRUPTED = [
    Row("cut", "cut?after=3&", "interrupted", "stream_broken", is_billed=True),
    Row("stall", "!stall?after=3&", "interrupted", "timeout", is_billed=True),
    Row("malformed", "malformed?after=3&", "interrupted", "stream_broken", is_billed=True),
    Row("missing-end", "missing-end?", "interrupted", "stream_broken", is_billed=True),
    Row("unknown-finish", "unknown-finish?", "interrupted", "stream_broken", is_billed=True),
    Row("error-frame", "error-frame?after=3&", "interrupted", "provider_unavailable", is_billed=True),
]

ORDERS = (("openai", "anthropic"), ("anthropic", "openai"))


def table_routes() -> dict[str, list[tuple[str, str]]]:
    """Return a route for each row and each order of the vendors: its own targets, so that no breaker is shared."""
    return {
        f"table-{row.name}-{first}": [
            (first, f"{row.model}test=table-{row.name}-{first}"),
            (second, f"ok?test=table-{row.name}-{first}-next"),
        ]
        for row in (*MOVED_ON, *REJECTED, *INTERRUPTED)
        for first, second in ORDERS
    }
