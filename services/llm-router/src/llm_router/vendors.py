"""Who runs a target: where it is asked, and in what it differs from OpenAI, one row each.

A row is a `provider` of the routes file. Records, metrics and prices name the vendor that a target's address belongs
to, or that the file names: many speak OpenAI's wire at addresses of their own, and mean different things by its counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

Auth = Literal["bearer", "api-key", "none"]
AnswerLimit = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor or engine. What a row leaves out is as OpenAI has it.

    By OpenAI's own definition `completion_tokens` contains reasoning and `prompt_tokens` contains cached tokens.
    """

    name: str
    """In records, metrics and the price book, as `provider`."""
    hosts: tuple[str, ...] = ()
    """Hosts of its API; each also stands for its subdomains and its regions (`us-east5-HOST`); `*` is any text."""
    base_url: str | None = None
    """Its address on this wire; None: each customer has another one, which the target has to name."""
    wire: Literal["openai", "anthropic"] = "openai"
    auth: Auth = "bearer"
    """How a credential is sent: `Authorization: Bearer`, the header `api-key`, or not at all."""
    needs_credential: bool = True
    first_content_seconds: float | None = None
    """The default of this timer; None: that of all targets."""
    answer_limit: AnswerLimit | None = None
    """The one name that it knows for the most tokens of an answer; None: it knows the one that the client has used."""
    stream_options: bool = True
    """Whether it knows this field; what does not tells the usage without being asked, or not at all."""
    base64_vectors: bool = True
    """Whether embeddings may be asked for with `encoding_format: base64`."""
    refuses_marks: bool = False
    """Whether it refuses a request for what other vendors' clients and servers leave in messages and tools."""
    native_fields: frozenset[str] = frozenset()
    """Fields of the Messages API that it knows besides those of OpenAI."""
    reasoning_is_beside: bool = False
    """`completion_tokens` leaves reasoning out. Used when `total_tokens` does not show which it is."""
    total_has_reasoning: bool = False
    """What `total_tokens` has more than prompt and completion is reasoning, also where no field tells of it."""
    bills_by_use: bool = True
    """Whether units besides tokens, and service tiers, change what is paid. Not so for an engine of our own."""
    source: str = "OpenAI API reference, Chat: stream_options, max_completion_tokens, The chat completion object, usage"


def _engine(name: str, source: str, answer_limit: AnswerLimit | None = None) -> Vendor:
    """Return an engine of our own: the last target of a route, on which giving up early gains nothing."""
    return Vendor(
        name,
        needs_credential=False,
        first_content_seconds=30.0,
        answer_limit=answer_limit,
        native_fields=frozenset({"top_k", "stop_sequences"}),
        bills_by_use=False,
        source=source,
    )


VENDORS = (
    Vendor("openai", ("api.openai.com",), "https://api.openai.com/v1", refuses_marks=True),
    Vendor(
        "anthropic",
        ("api.anthropic.com",),
        "https://api.anthropic.com",
        wire="anthropic",
        source="Claude API docs, Messages, Usage: cache counts beside the input",
    ),
    _engine("vllm", "vLLM, OpenAI-compatible server: Extra parameters, UsageInfo; nobody bills for it"),
    _engine("sglang", "SGLang, OpenAI-compatible APIs: ChatCompletionRequest has max_completion_tokens and top_k"),
    _engine("llamacpp", "llama.cpp, tools/server/README: max_tokens, max_completion_tokens, top_k"),
    _engine(
        "ollama",
        "Ollama, OpenAI compatibility: max_tokens; it ignores the other name (ollama/ollama#7125)",
        "max_tokens",
    ),
    _engine("lmstudio", "LM Studio docs, OpenAI compatibility: Chat Completions, supported fields", "max_tokens"),
    _engine("tgi", "TGI, Messages API: ChatRequest, which ignores what it lacks", "max_tokens"),
    Vendor(
        "azure",
        ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
        auth="api-key",
        refuses_marks=True,
        source="Azure OpenAI in Foundry Models, v1 API: /openai/v1, `api-key` or a token of Entra ID as Bearer",
    ),
    Vendor(
        "gemini",
        ("generativelanguage.googleapis.com", "aiplatform.googleapis.com"),
        "https://generativelanguage.googleapis.com/v1beta/openai",
        reasoning_is_beside=True,
        total_has_reasoning=True,
        source="Gemini API, OpenAI compatibility; UsageMetadata: thoughtsTokenCount is beside candidatesTokenCount and "
        "in totalTokenCount",
    ),
    Vendor(
        "bedrock",
        ("bedrock-runtime*.amazonaws.com", "bedrock-mantle*.api.aws"),
        source="Amazon Bedrock User Guide, OpenAI Chat Completions API: /openai/v1, a Bedrock API key as Bearer",
    ),
    Vendor(
        "mistral",
        ("api.mistral.ai",),
        "https://api.mistral.ai/v1",
        answer_limit="max_tokens",
        stream_options=False,
        source="Mistral API, ChatCompletionRequest, UsageInfo; 422 extra_forbidden for stream_options "
        "(dnakov/anon-kode#53) and max_completion_tokens (editor-code-assistant/eca#231); usage comes unasked",
    ),
    Vendor("groq", ("api.groq.com",), "https://api.groq.com/openai/v1", source="Groq API reference, Chat, usage"),
    Vendor(
        "deepseek",
        ("api.deepseek.com",),
        "https://api.deepseek.com/v1",
        answer_limit="max_tokens",
        source="DeepSeek API, Create chat completion: max_tokens; it ignores the other name (earendil-works/pi#8018); "
        "Context caching: prompt_tokens is prompt_cache_hit_tokens and prompt_cache_miss_tokens",
    ),
    Vendor(
        "xai",
        ("api.x.ai",),
        "https://api.x.ai/v1",
        reasoning_is_beside=True,
        source="xAI docs, Consumption and rate limits: reasoning is apart from completion_tokens, and in total_tokens",
    ),
    Vendor(
        "openrouter",
        ("openrouter.ai",),
        "https://openrouter.ai/api/v1",
        answer_limit="max_tokens",
        source="OpenRouter docs, Parameters: max_tokens; Usage accounting: the native counts, as OpenAI's",
    ),
    Vendor(
        "together",
        ("api.together.xyz", "api.together.ai"),
        "https://api.together.xyz/v1",
        answer_limit="max_tokens",
        source="Together API, ChatCompletionRequest: max_tokens; UsageData",
    ),
    Vendor(
        "fireworks",
        ("api.fireworks.ai",),
        "https://api.fireworks.ai/inference/v1",
        answer_limit="max_tokens",
        source="Fireworks API, Create Chat Completion: max_tokens; UsageInfo",
    ),
    Vendor(
        "cohere",
        ("api.cohere.ai", "api.cohere.com"),
        "https://api.cohere.ai/compatibility/v1",
        answer_limit="max_tokens",
        source="Cohere docs, Compatibility API, Supported parameters",
    ),
    Vendor(
        "moonshot",
        ("api.moonshot.ai", "api.moonshot.cn"),
        "https://api.moonshot.ai/v1",
        answer_limit="max_tokens",
        source="Moonshot API, Chat: max_tokens, usage.cached_tokens",
    ),
    Vendor(
        "perplexity",
        ("api.perplexity.ai",),
        "https://api.perplexity.ai",
        answer_limit="max_tokens",
        source="Perplexity API, Chat Completions: max_tokens; usage: num_search_queries, citation_tokens",
    ),
    Vendor("cerebras", ("api.cerebras.ai",), "https://api.cerebras.ai/v1", source="Cerebras API, usage"),
    Vendor(
        "zai",
        ("api.z.ai", "open.bigmodel.cn"),
        "https://api.z.ai/api/paas/v4",
        answer_limit="max_tokens",
        source="Z.ai API, Chat Completion: max_tokens; usage.prompt_tokens_details",
    ),
    Vendor(
        "voyageai",
        ("api.voyageai.com",),
        "https://api.voyageai.com/v1",
        source="Voyage API, Embeddings: total_tokens alone",
    ),
)
PROVIDERS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in VENDORS}


@lru_cache(maxsize=1024)
def vendor_of(provider: str, base_url: str | None, name: str | None) -> Vendor:
    """Return the vendor called `name`, else the one whose host is in `base_url`, else the row of `provider`.

    One that is called by a name that no row has is as the provider that it is reached by, and sends bills.
    """
    row = PROVIDERS.get(provider) or Vendor(provider)
    if name is not None:
        return PROVIDERS.get(name) or replace(row, name=name, bills_by_use=True)
    host = (urlsplit(base_url).hostname or "") if base_url else ""
    return next((vendor for vendor in VENDORS if any(_is_at(host, each) for each in vendor.hosts)), row)


def _is_at(host: str, own: str) -> bool:
    return fnmatchcase(host, own) if "*" in own else host == own or host.endswith((f".{own}", f"-{own}"))
