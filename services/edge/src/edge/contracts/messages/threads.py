"""Threads: conversations that Anthropic holds, of which a client sends only the newest turn.

They are refused. Only the target that holds a thread could carry it on, neither limits nor guardrails would see the
prompt that is billed, and an id of ours in place of Anthropic's would lead nowhere. Anthropic's SDKs send the whole
conversation when they get this error (`thread_unsupported_request`).
"""

from __future__ import annotations

from typing import Any

from edge.problems import Problem


def refuse_thread(body: dict[str, Any]) -> None:
    """Raise a Problem (400) when `body` begins or continues a thread."""
    if body.get("thread") is not None:
        raise Problem(
            "unsupported_parameter",
            "thread: this gateway holds no conversations; send all its messages, without `thread`",
            param="thread",
            provider_code="thread_unsupported_request",
        )
