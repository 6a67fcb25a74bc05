"""How vendors and engines say that a prompt is too long, and how we say it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from llm_router.errors import ContextTooLong
from llm_router.providers.numbers import whole_number

# As codes or types.
_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, Groq, Cerebras, xAI
        "exceed_context_size_error",  # llama.cpp
        "request_too_large",  # Anthropic, with 413
        "string_above_max_length",  # OpenAI, of one text
        "1261",  # Z.ai: "Prompt exceeds max length"
    }
)
_MAX_QUOTED_CHARACTERS = 300


class Words(NamedTuple):
    """Words for it: a pattern whose groups `prompt`, `answer`, `total` and `most` are numbers of tokens."""

    pattern: str
    source: str


# The order counts: the first whose words are there gives the numbers.
WORDS = (
    Words(
        r"input length and `max_tokens` exceed context limit: (?P<prompt>\d+) \+ (?P<answer>\d+) > (?P<most>\d+)",
        "Anthropic, Messages API, 400 invalid_request_error",
    ),
    Words(
        r"prompt is too long: (?P<prompt>\d+) tokens > (?P<most>\d+) maximum",
        "Anthropic, Messages API, 400 invalid_request_error (stackblitz/bolt.new#2449)",
    ),
    Words(
        r"prompt is too long: (?P<prompt>\d+), model maximum context length: (?P<most>\d+)",
        "Fireworks, 400 invalid_request_error",
    ),
    Words(
        r"maximum context length is (?P<most>\d+) tokens and your request has (?P<prompt>\d+) input tokens"
        r"(?: \((?P<answer>\d+) >)?",
        "vLLM, entrypoints: max_tokens that are more than the prompt leaves room for",
    ),
    Words(
        r"maximum context length is (?P<most>\d+) tokens\. However, you requested (?P<answer>\d+) output tokens "
        r"and your prompt contains at least (?P<prompt>\d+) input tokens",
        "vLLM from 0.11 on (AIDotNet/OpenCowork#82)",
    ),
    Words(
        r"maximum context length is (?P<most>\d+) tokens\. However, your prompt contains at least (?P<prompt>\d+) "
        r"input tokens",
        "vLLM 0.32, measured",
    ),
    Words(
        r"maximum context length is (?P<most>\d+) tokens[.,] however,? you requested (?:about )?(?P<total>\d+) tokens"
        r"(?: \((?P<prompt>\d+) in (?:the|your) (?:messages|prompt)[,;] (?P<answer>\d+) (?:in|for) the completion)?",
        "OpenAI, Azure, vLLM up to 0.10 (vllm-project/vllm#20409), OpenRouter, DeepSeek",
    ),
    Words(
        r"maximum context length of (?P<most>\d+) tokens\. You requested a total of (?P<total>\d+) tokens: "
        r"(?P<prompt>\d+) tokens from the input messages and (?P<answer>\d+) tokens for the completion",
        "SGLang, tokenizer_manager: Requested token count exceeds the model's maximum context length",
    ),
    Words(
        r"maximum context length is (?P<most>\d+) tokens(?:\. However, your (?:messages|input) (?:resulted|results) in "
        r"(?P<prompt>\d+) tokens)?",
        "OpenAI, Azure, 400 context_length_exceeded",
    ),
    Words(
        r"Prompt contains (?P<prompt>\d+) tokens.{0,80}?too large for model with (?P<most>\d+) maximum context length",
        "Mistral, 400 (badlogic/pi-mono, overflow.ts)",
    ),
    Words(r"maximum context length", "any other that speaks like OpenAI"),
    Words(
        r"exceeds the context window|Input tokens exceed the configured limit of (?P<most>\d+) tokens\. Your messages "
        r"resulted in (?P<prompt>\d+) tokens",
        "OpenAI, newer models, 400 context_length_exceeded",
    ),
    Words(
        r"input token count \(?(?P<prompt>\d+)\)? exceeds the maximum number of tokens allowed \(?(?P<most>\d+)",
        "Gemini, 400 INVALID_ARGUMENT",
    ),
    Words(
        r"input token count is (?P<prompt>\d+) but (?:the )?model only supports up to (?P<most>\d+)",
        "Gemini on Vertex AI, 400 INVALID_ARGUMENT",
    ),
    Words(
        r"Input is too long for (?:the )?requested model|Number of input tokens exceeds maximum length",
        "Amazon Bedrock, 400 ValidationException",
    ),
    Words(
        r"maximum prompt length is (?P<most>\d+) but the request contains (?P<prompt>\d+) tokens",
        "xAI, 400",
    ),
    Words(
        r"reduce the length of the messages or completion(?:\. Current length is (?P<prompt>\d+) while limit is "
        r"(?P<most>\d+))?",
        "Groq and Cerebras, 400 context_length_exceeded",
    ),
    Words(
        r"Request too large for model.{0,300}?Limit (?P<most>\d+), Requested (?P<prompt>\d+)",
        "Groq, 413: more than an account may send in a minute, however long it waits",
    ),
    Words(
        r"`inputs` tokens \+ `max_new_tokens` must be <= (?P<most>\d+)(?:\. Given: (?P<prompt>\d+) `inputs` tokens and "
        r"(?P<answer>\d+) `max_new_tokens`)?",
        "TGI and Together, 422 validation",
    ),
    Words(
        r"`inputs` must have less than (?P<most>\d+) tokens\. Given: (?P<prompt>\d+)",
        "TGI and Together, 422 validation",
    ),
    Words(
        r"too many tokens:.{0,120}?cannot exceed (?P<most>\d+) - received (?P<prompt>\d+)"
        r"|too many tokens: size limit exceeded",
        "Cohere, 400 (cohere-ai/sandbox-topically#4)",
    ),
    Words(
        r"prompt \((?:total )?length (?P<prompt>\d+)\) is (?:longer than the maximum model length of"
        r"|too long to fit into the model \(context length) (?P<most>\d+)",
        "vLLM (google/tunix#222, vllm-project/vllm#12165)",
    ),
    Words(
        r"input \((?P<prompt>\d+) tokens\) is longer than the model's context length \((?P<most>\d+) tokens\)",
        "SGLang (QwenLM/Qwen3#1321)",
    ),
    Words(
        r"Input length \((?P<prompt>\d+) tokens\) exceeds the maximum allowed length \((?P<most>\d+) tokens\)",
        "SGLang (sgl-project/sglang#4048)",
    ),
    Words(
        r"(?:request \((?P<prompt>\d+) tokens\)|the request) exceeds the available context size"
        r"(?: \((?P<most>\d+) tokens\))?",
        "llama.cpp, tools/server, exceed_context_size_error",
    ),
    Words(
        r"input \((?P<prompt>\d+) tokens\) is too large to process|input is too large to process",
        "llama.cpp, tools/server, embeddings",
    ),
    Words(
        r"prompt too long; exceeded (?:max )?context length|input length exceeds (?:the |maximum )?context length",
        "Ollama, which otherwise cuts a prompt without a word",
    ),
    Words(
        r"keep the first (?P<prompt>\d+) tokens when context the overflows\. However, the model is loaded with context "
        r"length of only (?P<most>\d+) tokens",
        "LM Studio (lmstudio-ai/lmstudio-bug-tracker#546)",
    ),
    Words(
        r"is greater than the context length|Context size has been exceeded"
        r"|Reached context length of (?P<most>\d+) tokens",
        "LM Studio (lmstudio-ai/lmstudio-bug-tracker#2339, #1251)",
    ),
    Words(
        r"exceeded model token limit: (?P<most>\d+) \(requested: (?P<prompt>\d+)\)|context window exceeds limit"
        r"|Prompt exceeds max length",
        "Moonshot, MiniMax, Z.ai (badlogic/pi-mono, overflow.ts)",
    ),
    Words(
        r"prompt token count of (?P<prompt>\d+) exceeds the limit of (?P<most>\d+)",
        "GitHub Copilot (badlogic/pi-mono, overflow.ts)",
    ),
    Words(r"prompt is too long", "any other that speaks like Anthropic"),
)
_PATTERNS = [re.compile(words.pattern, re.IGNORECASE | re.DOTALL) for words in WORDS]


class _Counts(NamedTuple):
    prompt: int | None = None
    answer: int | None = None
    most: int | None = None


def read_too_long(status: int, message: str, names: frozenset[str], details: dict[str, Any]) -> ContextTooLong | None:
    """Return the error when a refusal says that the prompt is too long; None when it says something else.

    `names` are its code and type, `details` its error object.
    """
    found = next(filter(None, (pattern.search(message) for pattern in _PATTERNS)), None)
    if found is None and not _CODES & names and status != 413:
        return None
    counts = _counts(found, details)
    return ContextTooLong(_sentence(counts, message), http_status=status, max_tokens=counts.most)


def _counts(found: re.Match[str] | None, details: dict[str, Any]) -> _Counts:
    """Return the numbers that the words have; llama.cpp has them as fields too."""
    groups = found.groupdict() if found is not None else {}
    numbers = {name: whole_number(text) for name, text in groups.items()}
    return _Counts(
        numbers.get("prompt") or numbers.get("total") or whole_number(details.get("n_prompt_tokens")),
        numbers.get("answer"),
        numbers.get("most") or whole_number(details.get("n_ctx")),
    )


def _sentence(counts: _Counts, message: str) -> str:
    """Say it in the words on which clients of both contracts act.

    Claude Code reads the numbers of Anthropic's two sentences and shortens the conversation or the answer; clients of
    OpenAI's contract look for the code or for "maximum context length".
    """
    prompt, answer, most = counts
    if most is None:
        return f"prompt is too long for the maximum context length of this model: {message[:_MAX_QUOTED_CHARACTERS]}"
    end = f"the maximum context length is {most} tokens"
    if prompt is None:
        return f"prompt is too long: {end}"
    if answer is not None and prompt < most:
        sentence = f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {most}"
        return f"{sentence}, decrease input length or `max_tokens` and try again: {end}"
    return f"prompt is too long: {prompt} tokens > {most} maximum: {end}"
