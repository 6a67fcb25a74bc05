"""An error inside a stream decides as its HTTP status would have, whoever tells it in whatever form."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.errors import (
    ContextTooLong,
    CredentialRefused,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    RequestRejected,
    StreamBroken,
)
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.stream_error import read_stream_error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        # vLLM, now and before
        ({"error": {"message": "m", "type": "BadRequestError", "param": None, "code": 400}}, RequestRejected),
        ({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, RequestRejected),
        ({"error": {"message": "m", "type": "NotFoundError", "code": 404}}, ModelMissing),
        ({"error": {"message": "m", "type": "InternalServerError", "code": 500}}, ProviderUnavailable),
        # numbers as texts and floats; the number says more than the type
        ({"error": {"code": "400"}}, RequestRejected),
        ({"error": {"code": 422.0}}, RequestRejected),
        ({"error": {"code": "429", "type": "server_error"}}, ProviderRateLimited),
        ({"error": {"code": 529}}, ProviderUnavailable),
        ({"error": {"status": 503, "code": None}}, ProviderUnavailable),
        ({"error": {"code": 1301, "type": "invalid_request_error"}}, RequestRejected),
        # OpenAI's codes and types
        ({"error": {"code": "context_length_exceeded", "type": "invalid_request_error"}}, ContextTooLong),
        ({"error": {"code": "rate_limit_exceeded", "type": "tokens"}}, ProviderRateLimited),
        ({"error": {"code": "insufficient_quota"}}, CredentialRefused),
        ({"error": {"code": "invalid_api_key", "type": "invalid_request_error"}}, CredentialRefused),
        ({"error": {"code": "content_policy_violation"}}, RequestRejected),
        ({"error": {"code": None, "type": "server_error"}}, ProviderUnavailable),
        # Anthropic's
        ({"type": "error", "error": {"type": "overloaded_error"}}, ProviderUnavailable),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, ProviderRateLimited),
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}},
            ContextTooLong,
        ),
        # Google's, TGI's, the names of exceptions
        ({"error": {"code": 400, "status": "INVALID_ARGUMENT"}}, RequestRejected),
        ({"error": {"status": "RESOURCE_EXHAUSTED"}}, ProviderRateLimited),
        ({"error": "m", "error_type": "validation"}, RequestRejected),
        ({"error": "m", "error_type": "overloaded"}, ProviderUnavailable),
        ({"error": {"type": "RateLimitError"}}, ProviderRateLimited),
        ({"error": "this model's maximum context length is 8"}, ContextTooLong),
        ({"code": "InvalidParameter", "message": "m"}, RequestRejected),
        # nothing that says what it is
        ({"error": "m"}, StreamBroken),
        ({"error": {"message": "m"}}, StreamBroken),
        ({"error": {"code": 200}}, StreamBroken),
        ({"error": {"code": True, "type": ["x"]}}, StreamBroken),
        ({"error": ["m"]}, StreamBroken),
        ({"error": {"type": "odd_error"}}, StreamBroken),
    ],
)
def test_an_error_is_read_by_its_code_and_type(error: dict[str, Any], expected: type[ProviderError]) -> None:
    """As if they were the status."""
    with pytest.raises(expected) as caught:
        OpenAIWire(1).read(orjson.dumps(error))

    assert expected is type(caught.value)
    assert expected is type(read_stream_error(error))


def test_an_error_of_one_choice_is_read_too() -> None:
    """OpenRouter ends a choice with the finish reason `error` and tells the error beside it."""
    choice = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "m"}}
    with pytest.raises(ProviderRateLimited):
        OpenAIWire(1).read(orjson.dumps({"choices": [choice]}))


@given(
    st.dictionaries(
        st.sampled_from(["error", "code", "type", "status", "message", "param", "error_type"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["code", "type", "message"]), inner),
            max_leaves=6,
        ),
    )
)
def test_every_error_is_one_of_ours(error: dict[str, Any]) -> None:
    """Its cause can be logged, and its message sent on as UTF-8."""
    read = read_stream_error(error)

    assert isinstance(read, ProviderError)
    assert read.cause.encode()
    assert str(read).encode() is not None
