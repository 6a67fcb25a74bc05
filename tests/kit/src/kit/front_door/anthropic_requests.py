"""Requests in Anthropic's contract, and what becomes of them."""

from __future__ import annotations

import uuid
from typing import Any

from fault_provider.answers import TOOL_NAME
from kit.front_door.edge_client import Provider

Json = dict[str, Any]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
# For requests that an earlier run has made in the same words.
UNCACHED = {"cache-control": "no-store"}
WEATHER: Json = {
    "name": TOOL_NAME,
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TALK: list[Json] = [
    {"role": "user", "content": "What is the weather in Paris and in Rome?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": TOOL_NAME, "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": TOOL_NAME, "input": {"city": "Rome"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True},
            {"type": "text", "text": "And tomorrow?"},
        ],
    },
]


def asked(**fields: Any) -> Any:
    """Write a request that was not made before, unless its messages are given."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": f"hello {uuid.uuid4()}"}], **fields}


async def last_body(provider: Provider, test: str) -> Json:
    """Return what the provider was asked last, apart from what each target is told for itself."""
    body: Json = (await provider.attempts(test))[-1]["body"]
    return {name: value for name, value in body.items() if name not in {"model", "stream", "stream_options"}}
