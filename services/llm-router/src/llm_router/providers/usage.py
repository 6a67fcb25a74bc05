"""What a provider says it counted, read as inclusive totals."""

from __future__ import annotations

from typing import Any

from pricing.usage import Usage

_MAX_COUNT = 10**12
# A larger token count is invalid, and would not fit into the attempt's record.
_MAX_ANTHROPIC_COUNT = 2**53


def read_usage(usage: dict[str, Any]) -> Usage | None:
    """Read a `usage` object of OpenAI's wire; its totals are inclusive already. None when it has no counts."""
    if _count(usage, "prompt_tokens") is None:
        return None
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        provider_cache_read_input_tokens=_count(prompt, "cached_tokens"),
        provider_cache_write_input_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_output_tokens=_count(completion, "reasoning_tokens"),
    )


class AnthropicUsage:
    """The counts of one message of Anthropic's wire, whose events repeat and complete them."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, usage: dict[str, Any]) -> Usage:
        """Keep the newest of each count, for those of later events are cumulative; return what is known so far."""
        counts = {**usage, "reasoning": (usage.get("output_tokens_details") or {}).get("thinking_tokens")}
        self._counts |= {name: count for name, count in counts.items() if _is_count(count, _MAX_ANTHROPIC_COUNT)}
        return self._inclusive()

    def _inclusive(self) -> Usage:
        """Add cache reads and writes to the input, which Anthropic counts apart."""
        counts = self._counts
        read, written = counts.get("cache_read_input_tokens"), counts.get("cache_creation_input_tokens")
        input_tokens = counts.get("input_tokens")
        if input_tokens is not None:
            input_tokens += (read or 0) + (written or 0)
        return Usage(
            input_tokens=input_tokens,
            output_tokens=counts.get("output_tokens"),
            provider_cache_read_input_tokens=read,
            provider_cache_write_input_tokens=written,
            reasoning_output_tokens=counts.get("reasoning"),
        )


def _count(counts: object, name: str) -> int | None:
    """Return a count of tokens; None when it is missing or no count."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if _is_count(value, _MAX_COUNT) else None


def _is_count(value: object, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum
