"""Examples of `/v1/chat/completions` for the OpenAPI document."""

from __future__ import annotations

from edge.examples import REQUEST_ID

COMPLETION = {
    "id": f"chatcmpl-{REQUEST_ID}",
    "object": "chat.completion",
    "created": 1795219200,
    "model": "smollm2-135m-instruct",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45},
}
STREAM = (
    'data: {"id":"chatcmpl-...","object":"chat.completion.chunk","created":1795219200,"model":"smollm2-135m-instruct",'
    '"choices":[{"index":0,"delta":{"content":"Paris"},"logprobs":null,"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
