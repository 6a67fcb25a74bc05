"""What vendors and engines say, in their own words, when a target cannot take a request that another one may."""

from __future__ import annotations

import time

import pytest

from llm_router.errors import (
    CredentialRefused,
    ModelMissing,
    ProviderUnavailable,
    RequestRejected,
    TargetUnable,
)
from llm_router.providers.refusal import read_refusal
from llm_router.providers.refusals.inability import INABILITIES
from llm_router.providers.refusals.unknown_fields import WORDS


def said(message: str, **more: object) -> object:
    """Write OpenAI's error body."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


PICTURES, TOOLS, LIMIT, VECTORS, CHAT = (
    ("messages", "takes no pictures"),
    ("tools", "takes no tools"),
    ("max_tokens", "writes no answer as long"),
    ("model", "has no embeddings"),
    ("model", "has no chat"),
)
UNABLE: dict[str, tuple[int, object, tuple[str, str]]] = {
    "vllm-pictures": (400, said("Qwen/Qwen3-8B is not a multimodal model", code=400), PICTURES),
    "vllm-no-pictures": (400, said("At most 0 image(s) may be provided in one prompt."), PICTURES),
    "llama.cpp-pictures": (
        500,
        said(
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", code=500
        ),
        PICTURES,
    ),
    "openai-pictures": (400, said("Invalid content type. image_url is only supported by certain models."), PICTURES),
    "openrouter-pictures": (404, said("No endpoints found that support image input", code=404), PICTURES),
    "ollama-pictures": (400, {"error": "this model does not support image input"}, PICTURES),
    "lmstudio-pictures": (400, {"error": "Model does not support images. Please use a model that does."}, PICTURES),
    "groq-pictures": (400, said("messages[0].content must be a string"), PICTURES),
    "deepseek-pictures": (
        422,
        said(
            "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, "
            "expected `text` at line 1 column 121"
        ),
        PICTURES,
    ),
    "fireworks-pictures": (
        400,
        said("Cannot preprocess image len(combined_imgs) = 1, len(image_ranges) = 0"),
        PICTURES,
    ),
    "mistral-pictures": (400, {"object": "error", "message": "Image input is not enabled for this model"}, PICTURES),
    "bedrock-pictures": (400, {"message": "This model doesn't support the image content block."}, PICTURES),
    "zai-pictures": (400, said("messages.content.type is invalid, allowed values: ['text']"), PICTURES),
    "vllm-required-tools": (
        400,
        said('tool_choice="required" requires --tool-call-parser to be set', type="BadRequestError", code=400),
        TOOLS,
    ),
    "vllm-tools": (
        400,
        said('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', code=400),
        TOOLS,
    ),
    "llama.cpp-tools": (500, said("tools param requires --jinja flag", code=500), TOOLS),
    "ollama-tools": (400, said("registry.ollama.ai/library/gemma:2b does not support tools"), TOOLS),
    "openrouter-tools": (404, said("No endpoints found that support tool use. To learn more", code=404), TOOLS),
    "openrouter-tool-choice": (
        404,
        said("No endpoints found that support the provided 'tool_choice' value.", code=404),
        TOOLS,
    ),
    "groq-tools": (400, said("`tool calling` is not supported with this model"), TOOLS),
    "openai-limit": (
        400,
        said(
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you "
            "provided "
            "100000.",
            param="max_tokens",
            code="invalid_value",
        ),
        LIMIT,
    ),
    "vllm-limit": (
        400,
        said(
            "max_tokens=9000 cannot be greater than max_model_len=4096. Please request fewer output tokens.",
            param="max_tokens",
            code=400,
        ),
        LIMIT,
    ),
    "anthropic-limit": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens "
                "for claude",
            },
        },
        LIMIT,
    ),
    "groq-limit": (400, said("`max_tokens` must be less than or equal to `8192`, the maximum value for it"), LIMIT),
    "deepseek-limit": (400, said("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"), LIMIT),
    "cohere-limit": (400, {"message": "too many tokens: max tokens must be less than or equal to 4096"}, LIMIT),
    "bedrock-limit": (400, {"message": "The maximum tokens you requested exceeds the model limit of 4096."}, LIMIT),
    "llama.cpp-sound": (500, said("audio input is not supported", code=500), ("messages", "takes no sound")),
    "groq-schema": (
        400,
        said("This model does not support response format `json_schema`."),
        ("response_format", "takes no schema"),
    ),
    "deepseek-schema": (
        400,
        said("This response_format type is unavailable now"),
        ("response_format", "takes no schema"),
    ),
    "openai-logprobs": (
        403,
        said("You are not allowed to request logprobs from this model"),
        ("logprobs", "tells no probabilities"),
    ),
    "deepseek-n": (400, said("Invalid n value (currently only n = 1 is supported)"), ("n", "gives one answer")),
    "ollama-thinking": (400, {"error": '"llama3" does not support thinking'}, ("reasoning_effort", "does not think")),
    "openai-responses": (
        404,
        said("This model is only supported in v1/responses and not in v1/chat/completions.", param="model"),
        CHAT,
    ),
    "vllm-embeddings": (400, said("The model does not support Embeddings API", code=400), VECTORS),
    "llama.cpp-embeddings": (
        501,
        said("This server does not support embeddings. Start it with `--embeddings`"),
        VECTORS,
    ),
    "openai-embeddings": (403, said("You are not allowed to generate embeddings from this model"), VECTORS),
    "azure-embeddings": (
        400,
        said("The embeddings operation does not work with the specified model, gpt-4o.", code="OperationNotSupported"),
        VECTORS,
    ),
    "openai-chat": (
        404,
        said("This is not a chat model and thus not supported in the v1/chat/completions endpoint.", param="model"),
        CHAT,
    ),
    "vllm-chat": (400, said("The model does not support Chat Completions API", code=400), CHAT),
}


@pytest.mark.parametrize(("status", "body", "expected"), UNABLE.values(), ids=UNABLE)
def test_what_a_target_cannot_do_is_not_the_callers_fault(status: int, body: object, expected: tuple[str, str]) -> None:
    """Nor the target's: the next one is asked, no breaker counts it, no operator is called."""
    error = read_refusal(status, body, {})

    assert isinstance(error, TargetUnable)
    assert (expected[0], status) == (error.param, error.http_status)
    assert expected[1] in str(error)
    assert expected[1] in error.cause
    assert (True, False, False, False) == (
        error.moves_on,
        error.blames_target,
        error.needs_operator,
        error.retries_same_target,
    )


PYDANTIC = [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]
NESTED = [{"type": "extra_forbidden", "msg": "x", "loc": ["body", "stream_options", "include_usage"], "input": True}]
UNKNOWN: dict[str, tuple[int, object, tuple[str, ...]]] = {
    "fastapi": (422, {"detail": PYDANTIC}, ("stream_options",)),
    "fastapi-1": (
        422,
        {
            "detail": [
                {"loc": ["body", "stream_options"], "msg": "extra fields not permitted", "type": "value_error.extra"}
            ]
        },
        ("stream_options",),
    ),
    "mistral": (
        422,
        {
            "object": "error",
            "message": {"detail": NESTED},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
        ("stream_options",),
    ),
    "mistral-list": (
        422,
        {"object": "Error", "detail": PYDANTIC, "message": PYDANTIC, "code": 3001},
        ("stream_options",),
    ),
    "mistral-text": (
        422,
        {
            "object": "error",
            "message": '{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"x"}]}',
            "type": "internal_error_proxy",
        },
        ("max_completion_tokens",),
    ),
    "vllm": (
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not "
            "permitted', 'input': {'include_usage': True}}]",
            "type": "BadRequestError",
            "code": 400,
        },
        ("stream_options",),
    ),
    "several": (
        422,
        {"detail": [*PYDANTIC, {"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "x"}]},
        ("stream_options", "max_completion_tokens"),
    ),
    "openai": (
        400,
        said(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
        ("max_tokens",),
    ),
    "openai-words": (
        400,
        said(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        ),
        ("max_tokens",),
    ),
    "openai-unknown": (400, said("Unknown parameter: 'foo'.", param="foo", code="unknown_parameter"), ("foo",)),
    "openai-older": (400, said("Unrecognized request argument supplied: stream_options"), ("stream_options",)),
    "openai-value": (
        400,
        said(
            "Unsupported value: 'temperature' does not support 0.7 with this model.",
            param="temperature",
            code="unsupported_value",
        ),
        (),
    ),
    "groq": (400, said("property 'stream_options' is unsupported, did you mean 'stream'?"), ("stream_options",)),
    "groq-field": (400, said("unknown field `store` in request body"), ("store",)),
    "xai": (400, {"code": "400", "error": "Argument not supported: stream_options"}, ("stream_options",)),
    "xai-model": (400, said("Model grok-4.6 does not support parameter presencePenalty."), ("presencePenalty",)),
    "cohere": (422, {"id": "1", "message": "unprocessable entity: n is not supported"}, ("n",)),
    "cohere-own": (
        400,
        {"message": "unknown field: parameter 'stream_options' is not a valid field"},
        ("stream_options",),
    ),
    "go": (400, {"error": 'json: unknown field "stream_options"'}, ("stream_options",)),
    "rust": (422, {"error": "unknown field `stream_options`, expected one of `model`, `stream`"}, ("stream_options",)),
    "google": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
                }
            }
        ],
        ("stream_options",),
    ),
    "bedrock": (400, {"message": "#: extraneous key [stream_options] is not permitted"}, ("stream_options",)),
    "schema": (
        400,
        said("Additional properties are not allowed ('stream_options' was unexpected)"),
        ("stream_options",),
    ),
    "python": (400, said("create() got an unexpected keyword argument 'stream_options'"), ("stream_options",)),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "thinking.foo: Extra inputs are not permitted"},
        },
        ("thinking",),
    ),
}


@pytest.mark.parametrize(("status", "body", "fields"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_field_that_a_server_does_not_know_is_named(status: int, body: object, fields: tuple[str, ...]) -> None:
    """However it says so; another target may know it. A value that it does not take is no unknown field."""
    error = read_refusal(status, body, {})

    assert isinstance(error, TargetUnable)
    assert fields == error.unknown_fields
    assert error.param


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, said("Invalid value for a parameter of the request."), RequestRejected),
        (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}, RequestRejected),
        (422, {"detail": [{"type": ["a"], "loc": {"a": 1}}, 7], "message": "x"}, RequestRejected),
        (400, said("x", code="unsupported_parameter", param=""), RequestRejected),
        (401, said("prompt is too long"), CredentialRefused),
        (500, said("Unknown parameter: 'foo'."), ProviderUnavailable),
        (503, said("image input is not supported"), ProviderUnavailable),
    ],
)
def test_other_refusals_stay_what_they_are(status: int, body: object, expected: type[Exception]) -> None:
    """A fault of the caller, of our credential, of the server: their words do not make them the target's limits."""
    assert expected is type(read_refusal(status, body, {}))


@pytest.mark.parametrize(
    ("body", "names_model"),
    [
        (said("The model `x` does not exist or you do not have access to it.", code="model_not_found"), True),
        (said('model "x" not found, try pulling it first', type="api_error"), True),
        ({"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}, True),
        ({"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}, True),
        ({"detail": "Not Found"}, False),
        ({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, False),
        (None, False),
    ],
)
def test_a_missing_model_is_told_from_a_missing_address(body: object, names_model: bool) -> None:
    """By whether the answer speaks of a model at all."""
    error = read_refusal(404, body, {})

    assert isinstance(error, ModelMissing)
    assert names_model is error.names_model


def test_all_words_have_a_source() -> None:
    """Somebody has said so."""
    pairs = [*WORDS, *(words for each in INABILITIES for words in each.words)]

    assert all(pattern and source for pattern, source in pairs)


@pytest.mark.parametrize(
    "text", ["a_" * 100_000, "'" * 200_000, "maximum context length is " + "1" * 200_000, "x: " * 70_000]
)
def test_no_refusal_takes_long_to_read(text: str) -> None:
    """Whatever it says: it is read on the event loop."""
    began = time.thread_time()
    for status in (400, 404, 422, 500):
        read_refusal(status, said(text), {})

    assert time.thread_time() - began < 0.1
