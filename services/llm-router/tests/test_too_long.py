"""A prompt that is too long, in everybody's words."""

from __future__ import annotations

import pytest

from llm_router.errors import ContextTooLong
from llm_router.providers.refusal import read_refusal
from llm_router.providers.refusals.too_long import WORDS


def said(message: str, **more: object) -> object:
    """Write OpenAI's error body."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


# Who says it: status, body, the tokens of prompt and answer if they are told, the most that the target takes.
TOO_LONG: dict[str, tuple[int, object, tuple[int | None, int | None, int | None]]] = {
    "openai": (
        400,
        said(
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130011 tokens. "
            "Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        ),
        (130011, None, 128000),
    ),
    "openai-newer": (
        400,
        said("Your input exceeds the context window of this model.", code="context_length_exceeded"),
        (None, None, None),
    ),
    "openai-embeddings": (
        400,
        said(
            "This model's maximum context length is 8191 tokens, however you requested 10346 tokens (10346 in your "
            "prompt; 0 for the completion). Please reduce your prompt; or completion length."
        ),
        (10346, None, 8191),
    ),
    "azure": (
        400,
        said(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300001 tokens.",
            code="context_length_exceeded",
        ),
        (300001, None, 272000),
    ),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        },
        (208310, None, 200000),
    ),
    "anthropic-with-answer": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
                "decrease input "
                "length or `max_tokens` and try again",
            },
        },
        (190000, 20000, 200000),
    ),
    "anthropic-bytes": (
        413,
        {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
        (None, None, None),
    ),
    "gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed "
                    "(1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        (1200000, None, 1048576),
    ),
    "vertex": (
        400,
        said("The input token count is 1200000 but model only supports up to 1048576."),
        (1200000, None, 1048576),
    ),
    "bedrock": (400, {"message": "Input is too long for requested model."}, (None, None, None)),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40035 tokens and 0 draft tokens, too large for model with 32768 maximum "
            "context "
            "length",
            "type": "invalid_request_error",
            "code": "3051",
        },
        (40035, None, 32768),
    ),
    "groq": (
        400,
        said("Please reduce the length of the messages or completion.", code="context_length_exceeded"),
        (None, None, None),
    ),
    "groq-per-minute": (
        413,
        said(
            "Request too large for model `llama-3.3-70b-versatile` in organization `org_1` service tier `on_demand` on "
            "tokens per minute (TPM): Limit 6000, Requested 7123, please reduce your message size and try again.",
            code="rate_limit_exceeded",
        ),
        (7123, None, 6000),
    ),
    "cerebras": (
        400,
        said("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"),
        (9000, None, 8192),
    ),
    "cerebras-bare": (413, None, (None, None, None)),
    "deepseek": (
        400,
        said(
            "This model's maximum context length is 65536 tokens. However, you requested 70100 tokens (62100 in the "
            "messages, 8000 in the completion). Please reduce the length of the messages or completion."
        ),
        (62100, 8000, 65536),
    ),
    "xai": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
        (537812, None, 131072),
    ),
    "openrouter": (
        400,
        said(
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 200000 "
            "tokens (150000 "
            "of text input, 50000 in the output). Please reduce the length of either one.",
            code=400,
        ),
        (200000, None, 131072),
    ),
    "together": (
        422,
        said(
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8000 `inputs` "
            "tokens and "
            "2000 `max_new_tokens`"
        ),
        (8000, 2000, 8193),
    ),
    "fireworks": (
        400,
        said("The prompt is too long: 140000, model maximum context length: 131071"),
        (140000, None, 131071),
    ),
    "cohere": (
        400,
        {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292."},
        (4292, None, 4081),
    ),
    "moonshot": (
        400,
        said("Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)"),
        (291351, None, 262144),
    ),
    "zai": (400, said("Prompt exceeds max length", code="1261"), (None, None, None)),
    "vllm-old": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 16384 tokens. However, you requested 122946 "
            "tokens (112946 "
            "in the messages, 10000 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        (112946, 10000, 16384),
    ),
    "vllm-new": (
        400,
        said(
            "This model's maximum context length is 131072 tokens. However, you requested 102400 output tokens "
            "and your "
            "prompt contains at least 28673 input tokens, for a total of at least 131073 tokens. Please reduce "
            "the length "
            "of the input prompt or the number of requested output tokens.",
            type="BadRequestError",
            code=400,
        ),
        (28673, 102400, 131072),
    ),
    "vllm-0.32": (
        400,
        said(
            "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=4097)",
            type="BadRequestError",
            param="input_tokens",
            code=400,
        ),
        (4097, None, 4096),
    ),
    "vllm-answer": (
        400,
        said(
            "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 8192 "
            "tokens and your request has 12 input tokens (9000 > 8192 - 12)."
        ),
        (12, 9000, 8192),
    ),
    "vllm-decoder": (
        400,
        said("The decoder prompt (length 21535) is longer than the maximum model length of 16384."),
        (21535, None, 16384),
    ),
    "vllm-total": (
        400,
        said("The prompt (total length 25938) is too long to fit into the model (context length 4096)."),
        (25938, None, 4096),
    ),
    "sglang": (
        400,
        {
            "object": "error",
            "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        (61709, None, 40960),
    ),
    "sglang-memory": (
        400,
        said("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."),
        (160062, None, 59862),
    ),
    "sglang-answer": (
        400,
        said(
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
            "9100 tokens: 5100 tokens from the input messages and 4000 tokens for the completion."
        ),
        (5100, 4000, 8192),
    ),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` "
            "tokens and 100 `max_new_tokens`",
            "error_type": "validation",
        },
        (5000, 100, 4096),
    ),
    "tgi-inputs": (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",
            "error_type": "validation",
        },
        (1500, None, 1024),
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 2511,
                "n_ctx": 2048,
            }
        },
        (2511, None, 2048),
    ),
    "llama.cpp-newer": (
        400,
        said("request (2511 tokens) exceeds the available context size (2048 tokens), try increasing it"),
        (2511, None, 2048),
    ),
    "llama.cpp-500": (
        500,
        said("the request exceeds the available context size. try increasing the context size", code=500),
        (None, None, None),
    ),
    "ollama": (400, said("prompt too long; exceeded max context length by 4 tokens"), (None, None, None)),
    "ollama-embeddings": (400, said("the input length exceeds the context length"), (None, None, None)),
    "lmstudio": (
        400,
        {
            "error": "Trying to keep the first 15857 tokens when context the overflows. However, the model is "
            "loaded with "
            "context length of only 4096 tokens, which is not enough."
        },
        (15857, None, 4096),
    ),
    "lmstudio-mlx": (400, {"error": "Context size has been exceeded."}, (None, None, None)),
}


@pytest.mark.parametrize(("status", "body", "counts"), TOO_LONG.values(), ids=TOO_LONG)
def test_too_long_is_known_in_everybodys_words(
    status: int, body: object, counts: tuple[int | None, int | None, int | None]
) -> None:
    """With the numbers it has, and said again so that clients of both contracts act on it."""
    error = read_refusal(status, body, {})
    prompt, answer, most = counts

    assert isinstance(error, ContextTooLong)
    assert (status, "messages", most) == (error.http_status, error.param, error.max_tokens)
    if answer is not None and prompt is not None and most is not None and prompt < most:
        assert f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {most}" in str(error)
    elif prompt is not None:
        assert f"prompt is too long: {prompt} tokens > {most} maximum" in str(error)
    else:
        assert "prompt is too long" in str(error)
    assert (f"maximum context length is {most} tokens" if most else "maximum context length") in str(error)


def test_all_words_have_a_source() -> None:
    """Somebody has said so."""
    assert all(words.pattern and words.source for words in WORDS)
