"""Examples of `/chat` for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from edge.examples import ATTEMPT, REQUEST_ID

_START = f'{{"request_id":"{REQUEST_ID}","model":"default","cache":"miss","economy":null}}'
_DONE: dict[str, Any] = {
    "finish_reason": "stop",
    "model": "smollm2-135m-instruct",
    "provider": "vllm",
    "usage": {"input_tokens": 37, "output_tokens": 8},
    "cost_usd": "0.000000000",
    "attempts": [ATTEMPT],
    "cache": {"status": "miss", "bypass_reason": None, "stored": True, "saved_cost_usd": None},
    "guardrails": {
        "policy": "2026-11-29",
        "input": [{"rule": "email", "version": 1, "action": "redact", "count": 1}],
        "marked": 0,
        "output": {"rules": ["email", "phone"], "checked_characters": 31, "stopped": False, "found": []},
    },
    "economy": None,
}
EVENTS = ("start", "delta", "continued", "tool_call", "done", "error")
STREAM = (
    f"event: start\nid: {REQUEST_ID}:1\ndata: {_START}\n\n"
    f'event: delta\nid: {REQUEST_ID}:2\ndata: {{"text":"The capital of France is Paris."}}\n\n'
    f'event: done\nid: {REQUEST_ID}:3\ndata: {{"finish_reason":"stop","model":"smollm2-135m-instruct",...}}\n\n'
)
WHOLE = {"request_id": REQUEST_ID, "text": "The capital of France is Paris.", "tool_calls": [], **_DONE}
