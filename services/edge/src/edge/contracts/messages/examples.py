"""Examples of `/v1/messages` for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from edge.examples import REQUEST_ID
from edge.problems import KINDS

MESSAGE = {
    "id": f"msg_{REQUEST_ID}",
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
EVENTS = (
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "ping", "error"),
)
STREAM = (
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
_ERROR = {
    "type": {"type": "string"},
    "message": {"type": "string"},
    "details": {"type": "object", "properties": {"error_code": {"type": "string", "enum": sorted(KINDS)}}},
}
_ERROR_PROPERTIES = {
    "type": {"const": "error"},
    "error": {"type": "object", "required": list(_ERROR), "properties": _ERROR},
    "request_id": {"type": "string"},
}
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": list(_ERROR_PROPERTIES),
    "properties": _ERROR_PROPERTIES,
}
