"""Who runs a target, and how that vendor counts what it bills.

`provider` in the routes file is a wire format; many vendors speak OpenAI's. They mean different things by its counts,
and have prices of their own: records name the vendor. It is known by the host of `base_url`, or named by `vendor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor, and where its counts are another thing than OpenAI's.

    By OpenAI's own definition `completion_tokens` contains reasoning and `prompt_tokens` contains cached tokens.
    """

    name: str
    """In records, metrics and the price book, as `provider`."""
    hosts: tuple[str, ...] = ()
    """Hosts of its API; each also stands for its subdomains and its regions (`us-east5-HOST`)."""
    reasoning_is_beside: bool = False
    """`completion_tokens` leaves reasoning out. Used when `total_tokens` does not show which it is."""
    total_has_reasoning: bool = False
    """What `total_tokens` has more than prompt and completion is reasoning, also where no field tells of it."""
    bills_by_use: bool = True
    """Whether units besides tokens, and service tiers, change what is paid. Not so for an engine of our own."""
    source: str = "OpenAI API reference, The chat completion object, usage"


VENDORS = (
    Vendor("openai", ("api.openai.com",)),
    Vendor(
        "anthropic", ("api.anthropic.com",), source="Claude API docs, Messages, Usage: cache counts beside the input"
    ),
    Vendor("vllm", bills_by_use=False, source="vLLM, OpenAI-compatible server: UsageInfo; nobody bills for it"),
    Vendor(
        "gemini",
        ("generativelanguage.googleapis.com", "aiplatform.googleapis.com"),
        reasoning_is_beside=True,
        total_has_reasoning=True,
        source="Gemini API, UsageMetadata: thoughtsTokenCount is beside candidatesTokenCount and in totalTokenCount",
    ),
    Vendor(
        "xai",
        ("api.x.ai",),
        reasoning_is_beside=True,
        source="xAI docs, Consumption and rate limits: reasoning is apart from completion_tokens, and in total_tokens",
    ),
    Vendor(
        "deepseek",
        ("api.deepseek.com",),
        source="DeepSeek API, Context caching: prompt_tokens is prompt_cache_hit_tokens and prompt_cache_miss_tokens",
    ),
    Vendor("mistral", ("api.mistral.ai",), source="Mistral API, UsageInfo"),
    Vendor("groq", ("api.groq.com",), source="Groq API reference, Chat, usage"),
    Vendor(
        "openrouter", ("openrouter.ai",), source="OpenRouter docs, Usage accounting: the native counts, as OpenAI's"
    ),
    Vendor("together", ("api.together.xyz", "api.together.ai"), source="Together API, UsageData"),
    Vendor("fireworks", ("api.fireworks.ai",), source="Fireworks API, UsageInfo"),
    Vendor("cohere", ("api.cohere.ai", "api.cohere.com"), source="Cohere docs, Compatibility API"),
    Vendor("moonshot", ("api.moonshot.ai", "api.moonshot.cn"), source="Moonshot API, usage.cached_tokens"),
    Vendor("perplexity", ("api.perplexity.ai",), source="Perplexity API, usage: num_search_queries, citation_tokens"),
    Vendor("cerebras", ("api.cerebras.ai",), source="Cerebras API, usage"),
    Vendor("zai", ("api.z.ai", "open.bigmodel.cn"), source="Z.ai API, usage.prompt_tokens_details"),
    Vendor("voyageai", ("api.voyageai.com",), source="Voyage API, Embeddings: total_tokens alone"),
)
_BY_NAME = {vendor.name: vendor for vendor in VENDORS}


@lru_cache(maxsize=1024)
def vendor_of(provider: str, base_url: str | None, name: str | None) -> Vendor:
    """Return the vendor called `name`, else the one whose host is in `base_url`, else the one of the wire format.

    A vendor that is not in the table counts as OpenAI does.
    """
    if name is not None:
        return _BY_NAME.get(name) or Vendor(name)
    host = (urlsplit(base_url).hostname or "") if base_url else ""
    for vendor in VENDORS:
        if any(host == each or host.endswith((f".{each}", f"-{each}")) for each in vendor.hosts):
            return vendor
    return _BY_NAME.get(provider) or Vendor(provider)
