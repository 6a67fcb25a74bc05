"""What the examples of the OpenAPI document share: one request and its attempt."""

from __future__ import annotations

REQUEST_ID = "019aa3c4-6f1e-7cc2-9d0a-2f7d7c1b8e55"
ATTEMPT = {
    "attempt_number": 1,
    "target": "local-smollm2",
    "provider": "vllm",
    "target_model": "smollm2-135m-instruct",
    "response_model": "smollm2-135m-instruct",
    "outcome": "ok",
    "error_code": None,
    "http_status": 200,
    "duration_seconds": 0.31,
    "time_to_first_chunk_seconds": 0.12,
    "usage": {"input_tokens": 37, "output_tokens": 8},
    "usage_source": "reported",
    "cost_usd": "0.000000000",
    "dropped": ["messages.0.name"],
}
