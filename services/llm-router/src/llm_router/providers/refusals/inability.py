"""How vendors and engines say that a model, or the server itself, cannot do what a request asks."""

from __future__ import annotations

import re
from typing import NamedTuple

from llm_router.errors import TargetUnable

_MAX_QUOTED_CHARACTERS = 300


class Inability(NamedTuple):
    """Something that a target cannot do, and who says so in which words."""

    what: str
    """What it does not, as the end of a sentence that begins with the target."""
    param: str
    """The field of the request that asks for it."""
    words: tuple[tuple[str, str], ...]
    """Patterns and their sources."""


INABILITIES = (
    Inability(
        "takes no pictures",
        "messages",
        (
            (r"is not a multimodal model|At most 0 image\(s\) may be provided", "vLLM (studio-dots-ai/dots.ocr#61)"),
            (r"image input is not supported", "llama.cpp, tools/server, with 500 in older versions"),
            (r"image_url is only supported by certain models", "OpenAI, Azure"),
            (r"No endpoints found that support image input", "OpenRouter, 404 (nexu-io/nexu#875)"),
            (r"model does not support image|does not support images", "Ollama, LM Studio (ollama/ollama#17301)"),
            (r"does not support image input|image inputs? (?:is|are) not supported", "xAI, Fireworks, Together"),
            (r"missing data required for image input", "Ollama, a model without its vision part"),
            (r"messages?\[\d+\]\.content must be a string", "Groq (vercel/ai#2837)"),
            (r"unknown variant `image_url`, expected `text`", "DeepSeek, 400 and 422"),
            (r"Cannot preprocess image|image_ranges", "Fireworks (machine-theory/lm-council#14)"),
            (r"Image input (?:modality )?is not enabled", "Mistral, Gemini"),
            (r"doesn't support the image content block", "Amazon Bedrock"),
            (r"content type 'image_url' is not supported", "SGLang, Cerebras"),
            (r"allowed values: \['text'\]", "Z.ai, Moonshot"),
            (r"does not support vision", "gateways"),
        ),
    ),
    Inability(
        "takes no sound",
        "messages",
        (
            (r"audio input is not supported", "llama.cpp, tools/server"),
            (r"At most 0 audio\(s\) may be provided", "vLLM"),
            (r"No endpoints found that support (?:audio|input audio)", "OpenRouter, 404"),
        ),
    ),
    Inability(
        "takes no tools",
        "tools",
        (
            (r"tool choice requires --enable-auto-tool-choice", "vLLM without a tool parser, 400"),
            (
                r"requires --tool-call-parser|tool_call_parser (?:to be set|is not)",
                "vLLM, SGLang without a tool parser",
            ),
            (r"tools? (?:param|choice) requires --jinja", "llama.cpp, tools/server without --jinja"),
            (r"does not support tools", "Ollama (ollama/ollama#5793)"),
            (r"No endpoints found that support (?:tool use|the provided 'tool_choice')", "OpenRouter, 404"),
            (r"tool calling.{0,3} is not supported with this model", "Groq"),
            (r"does not support (?:tool|function)[ -]?(?:use|calling)", "Mistral, Bedrock, DeepSeek"),
            (r"tools? (?:is|are) not supported (?:in|for|by|with) (?:this|the) model", "Azure, Together"),
        ),
    ),
    Inability(
        "writes no answer as long as `max_tokens` allows",
        "max_tokens",
        (
            (r"max_(?:completion_)?tokens is too large: \d+\. This model supports at most", "OpenAI, Azure"),
            (r"max_tokens=\d+ cannot be greater than max_model_len", "vLLM 0.32, measured"),
            (r"which is the maximum allowed number of output tokens", "Anthropic"),
            (r"max_(?:completion_)?tokens.? must be less than or equal to", "Groq"),
            (
                r"valid range of max_tokens is|Range of max_tokens should be",
                "DeepSeek, Qwen (deepseek-ai/DeepSeek-V3#69)",
            ),
            (r"max tokens must be less than or equal to", "Cohere"),
            (r"maximum tokens you requested exceeds the model limit", "Amazon Bedrock"),
            (r"maxOutputTokens value of \d+ but the supported range", "Gemini on Vertex AI"),
        ),
    ),
    Inability(
        "takes no schema for its answer",
        "response_format",
        (
            (r"does not support response format", "Groq"),
            (r"'response_format' of type '\w+' is not supported with this model", "OpenAI, Azure"),
            (r"response_format type is unavailable", "DeepSeek"),
        ),
    ),
    Inability(
        "tells no probabilities",
        "logprobs",
        ((r"not allowed to request logprobs", "OpenAI, 403 for models that think"),),
    ),
    Inability(
        "gives one answer and no more",
        "n",
        (
            (r"only n = 1 is supported|Only one completion choice is allowed", "DeepSeek, llama.cpp"),
            (r"'n' : number must be at most 1", "Groq"),
        ),
    ),
    Inability(
        "does not think",
        "reasoning_effort",
        ((r"does not support thinking|thinking is not supported (?:on|by|for|with) this model", "Ollama, Anthropic"),),
    ),
    Inability(
        "has no embeddings",
        "model",
        (
            (
                r"model does not support (?:the )?embeddings?(?: API)?|does not support embeddings",
                "vLLM, llama.cpp, Ollama",
            ),
            (r"not allowed to generate embeddings", "OpenAI, 403"),
            (r"embeddings operation does not work with the specified model", "Azure, 400 OperationNotSupported"),
        ),
    ),
    Inability(
        "has no chat",
        "model",
        (
            (r"not a chat model|not supported in the v1/chat/completions endpoint", "OpenAI, 404"),
            (r"only supported in v1/responses", "OpenAI, 404"),
            (r"does not support (?:the )?Chat Completions API", "vLLM, a model that makes vectors"),
            (r"chatCompletion operation does not work with the specified model", "Azure, 400 OperationNotSupported"),
            (r"does not support chat", "Ollama, a model that makes vectors"),
        ),
    ),
)
_PATTERNS = [
    (re.compile("|".join(pattern for pattern, _ in inability.words), re.IGNORECASE), inability)
    for inability in INABILITIES
]


def read_inability(status: int, message: str) -> TargetUnable | None:
    """Return the error when a refusal says that the target cannot do something; None when it says something else.

    The provider's own sentence goes with it where the status says that the request is at fault.
    """
    for pattern, inability in _PATTERNS:
        if pattern.search(message):
            quoted = f": {message[:_MAX_QUOTED_CHARACTERS]}" if status < 500 else ""
            return TargetUnable(f"it {inability.what}", quoted, http_status=status, param=inability.param)
    return None
