"""Examples of `/v1/responses` for the OpenAPI document."""

from __future__ import annotations

from edge.examples import REQUEST_ID

_SUFFIX = REQUEST_ID.replace("-", "")
RESPONSE = {
    "id": f"resp_{_SUFFIX}",
    "object": "response",
    "created_at": 1795219200,
    "completed_at": 1795219201,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "model": "smollm2-135m-instruct",
    "output": [
        {
            "type": "message",
            "id": f"msg_{_SUFFIX}_0",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "The capital of France is Paris.", "annotations": [], "logprobs": []}
            ],
        }
    ],
    "usage": {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 45,
    },
    "store": True,
}
DELETED = {"id": f"resp_{_SUFFIX}", "object": "response", "deleted": True}
INPUT_ITEMS = {
    "object": "list",
    "data": [
        {
            "type": "message",
            "id": f"msg_{_SUFFIX}_in0",
            "role": "user",
            "content": [{"type": "input_text", "text": "What is the capital of France?"}],
        }
    ],
    "first_id": f"msg_{_SUFFIX}_in0",
    "last_id": f"msg_{_SUFFIX}_in0",
    "has_more": False,
}
EVENTS = (
    *("response.created", "response.in_progress", "response.output_item.added", "response.output_item.done"),
    *("response.content_part.added", "response.content_part.done", "response.output_text.delta"),
    *("response.output_text.done", "response.output_text.annotation.added", "response.refusal.delta"),
    *("response.refusal.done", "response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
    *("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
    *("response.function_call_arguments.delta", "response.function_call_arguments.done"),
    *("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"),
    *("response.completed", "response.incomplete", "response.failed"),
)
STREAM = (
    'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{...}}\n\n'
    "event: response.output_text.delta\n"
    'data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_...","output_index":0,'
    '"content_index":0,"delta":"Paris","logprobs":[]}\n\n'
    'event: response.completed\ndata: {"type":"response.completed","sequence_number":9,"response":{...}}\n\n'
)
