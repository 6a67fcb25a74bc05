"""Usage on OpenAI's wire, as the vendor of a target counts: `vendors.py` says which counts contain which."""

from __future__ import annotations

import re
from typing import NamedTuple

from llm_router.providers.usage import Counts, Json, is_empty, joined, tier_name
from llm_router.vendors import Vendor, vendor_of
from pricing.usage import Usage

_OPENAI = vendor_of("openai", None, None)

# The same counts by the names that vendors give them; the first one counts.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
# DeepSeek says prompt_cache_hit_tokens; Moonshot and Together cached_tokens; Mistral num_cached_tokens; proxies before
# Anthropic the last one.
_CACHE_READ = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cache_read_input_tokens",
)
_CACHE_WRITE = (
    "prompt_tokens_details.cache_write_tokens",
    "input_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "cache_creation_input_tokens",
)
_HOUR_WRITE = (
    "cache_creation.ephemeral_1h_input_tokens",
    "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
)
_REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",
)
_AUDIO_INPUT = ("prompt_tokens_details.audio_tokens", "input_tokens_details.audio_tokens")
_AUDIO_OUTPUT = ("completion_tokens_details.audio_tokens", "output_tokens_details.audio_tokens")
_IMAGE_INPUT = ("prompt_tokens_details.image_tokens", "input_tokens_details.image_tokens")
_IMAGE_OUTPUT = ("completion_tokens_details.image_tokens", "output_tokens_details.image_tokens")
# OpenRouter has Anthropic's name; Perplexity counts queries.
_SEARCHES = ("server_tool_use.web_search_requests", "num_search_queries", "web_search_requests")
# Text is the rest; predictions are billed as output, in which they are; the others are free or said otherwise.
_NOT_BILLED = (
    *("total_tokens", "text_tokens", "prompt_cache_miss_tokens", "server_tool_use.web_fetch_requests"),
    *(f"{side}_tokens_details.text_tokens" for side in ("prompt", "completion", "input", "output")),
    *("completion_tokens_details.accepted_prediction_tokens", "completion_tokens_details.rejected_prediction_tokens"),
    *("cache_creation.ephemeral_5m_input_tokens",),
    "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens",
)
_KNOWN = frozenset(
    (
        *_INPUT,
        *_OUTPUT,
        *_CACHE_READ,
        *_CACHE_WRITE,
        *_HOUR_WRITE,
        *_REASONING,
        *_AUDIO_INPUT,
        *_AUDIO_OUTPUT,
        *_IMAGE_INPUT,
        *_IMAGE_OUTPUT,
        *_SEARCHES,
        *_NOT_BILLED,
    )
)
_TOTALS = frozenset((*_INPUT, *_OUTPUT, *_CACHE_READ, *_CACHE_WRITE, *_REASONING, *_NOT_BILLED))
# OpenAI says default; Groq on_demand; others standard. `auto` is a wish and no tier.
_STANDARD_TIERS = frozenset({"default", "standard", "on_demand", "auto"})
# Asked for and not confirmed, they are believed, for they are dearer than the standard. A cheaper one is not.
_DEARER_TIERS = frozenset({"priority", "fast"})
# OpenAI, Web search: in Chat Completions these models search once before each answer, and no count tells of it.
_SEARCH_MODEL = re.compile(r"gpt-.*-search-(?:preview|api)(?:-\d{4}-\d\d-\d\d)?")
_FREE_TOOLS = frozenset({"function", "custom"})


class OpenAIUsage:
    """The counts of one answer, whose chunks may repeat and complete them."""

    def __init__(self, vendor: Vendor = _OPENAI, model: str = "", body: Json | None = None) -> None:
        """`body` is what the target was asked: some work is billed that no count tells of."""
        self._vendor = vendor
        self._counts = Counts()
        self._searches = 1 if _SEARCH_MODEL.fullmatch(model) else 0
        self._asked = _billed_work(body or {}, model) if vendor.bills_by_use and not self._searches else []
        wish = tier_name((body or {}).get("service_tier"))
        self._tier = wish if wish in _DEARER_TIERS else None
        self.total_disagrees: tuple[int, int] | None = None
        """The vendor's own total and the sum of its parts, when they are not the same."""

    def add(self, usage: object) -> None:
        """Take a `usage` object."""
        if isinstance(usage, dict):
            self._counts.add(usage)

    def note_tier(self, tier: object) -> None:
        """Take the tier that served the answer."""
        name = tier_name(tier)
        self._tier = None if name in _STANDARD_TIERS else name or self._tier

    def known(self) -> Usage | None:
        """Return what is known so far, None when that is nothing."""
        totals = self._totals()
        searches = self._counts.first(*_SEARCHES)
        # What is told to be 0 of units that few answers have is not worth a place in every record.
        usage = Usage(
            input_tokens=totals.input_tokens,
            output_tokens=totals.output_tokens,
            provider_cache_read_input_tokens=self._counts.first(*_CACHE_READ),
            provider_cache_write_input_tokens=self._counts.first(*_CACHE_WRITE),
            reasoning_output_tokens=totals.reasoning,
            provider_cache_write_1h_input_tokens=self._counts.first(*_HOUR_WRITE) or None,
            audio_input_tokens=self._counts.first(*_AUDIO_INPUT) or None,
            audio_output_tokens=self._counts.first(*_AUDIO_OUTPUT) or None,
            image_input_tokens=self._counts.first(*_IMAGE_INPUT) or None,
            image_output_tokens=self._counts.first(*_IMAGE_OUTPUT) or None,
            web_search_requests=max(searches or 0, self._searches) or None,
            service_tier=self._tier if self._vendor.bills_by_use else None,
            unpriced_units=self._unpriced(searches),
        )
        return None if is_empty(usage) else usage

    def _totals(self) -> _Inclusive:
        """Make inclusive totals of the counts, and compare them with the vendor's own total."""
        counts, total = self._counts, self._counts.first("total_tokens")
        prompt, completion = counts.first(*_INPUT), counts.first(*_OUTPUT)
        if prompt is None:
            # Embeddings of some vendors have a total only.
            prompt = None if total is None else max(total - (completion or 0), 0)
            return _Inclusive(prompt, completion, counts.first(*_REASONING))
        cached = (counts.first(*_CACHE_READ) or 0) + (counts.first(*_CACHE_WRITE) or 0)
        reasoning = counts.first(*_REASONING)
        if completion is None:
            return _Inclusive(prompt, None, reasoning)
        # A part that is larger than its whole is none.
        if cached > prompt or (cached and total == prompt + cached + completion):
            prompt += cached
        output = completion
        if reasoning and self._is_beside(reasoning, prompt, completion, total):
            output += reasoning
        if total is not None and self._vendor.total_has_reasoning and total > prompt + output:
            reasoning = (reasoning or 0) + total - prompt - output
            output = total - prompt
        disagrees = total is not None and total != prompt + output
        self.total_disagrees = (total, prompt + output) if disagrees and total is not None else None
        return _Inclusive(prompt, output, reasoning)

    def _is_beside(self, reasoning: int, prompt: int, completion: int, total: int | None) -> bool:
        """Tell whether `completion` leaves reasoning out: by the total if that decides, else as the vendor does."""
        if reasoning > completion or total == prompt + completion + reasoning:
            return True
        return self._vendor.reasoning_is_beside and total != prompt + completion

    def _unpriced(self, searches: int | None) -> str | None:
        if not self._vendor.bills_by_use:
            return None
        asked = [name for name in self._asked if searches is None or "search" not in name]
        return joined([*self._counts.unknown_units(_KNOWN, _TOTALS), *asked])


class _Inclusive(NamedTuple):
    input_tokens: int | None
    output_tokens: int | None
    reasoning: int | None


def _billed_work(body: Json, model: str) -> list[str]:
    """Return what a body asks for that its vendor bills by use, by the names of its fields."""
    asked = []
    if body.get("web_search_options") is not None:
        asked.append("web_search_options")
    search = body.get("search_parameters")  # xAI's live search
    if search is not None and not (isinstance(search, dict) and search.get("mode") == "off"):
        asked.append("search_parameters")
    if body.get("plugins") or model.endswith(":online"):  # OpenRouter's
        asked.append("web_search_plugin")
    for tool in body.get("tools") or ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind not in _FREE_TOOLS:
            asked.append(f"tools.{kind}")
    return asked
