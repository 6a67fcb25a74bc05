"""Usage on Anthropic's wire: cache reads and writes stand beside the input, and Anthropic's own tools are counted."""

from __future__ import annotations

import re

from llm_router.providers.events import MAX_NAME_CHARACTERS
from llm_router.providers.usage import Counts, Json, is_empty, joined, tier_name
from pricing.usage import Usage

# Claude API docs, Messages, Usage. Fetches of pages, and searches for tools, cost their tokens and nothing else.
_KNOWN = frozenset(
    {
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens"),
        *("output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"),
        *("server_tool_use.web_search_requests", "server_tool_use.web_fetch_requests"),
        *("server_tool_use.tool_search_requests", "server_tool_use.code_execution_requests"),
    }
)
_TOTALS = _KNOWN - {"cache_creation.ephemeral_1h_input_tokens", "server_tool_use.web_search_requests"}
_CACHE_KINDS = ("cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens")
# What is billed as usual. `not_available` is the region of models without a choice of it.
_STANDARD = frozenset({"standard", "standard_only", "auto", "default", "global", "not_available"})
_TIER_FIELDS = ("service_tier", "speed", "inference_geo")
# Asked for and not confirmed, they are believed, for they are dearer than the standard.
_DEARER = frozenset({"fast", "us"})
# An entry of any other kind was another model's, or a call of its own, and is not in the totals.
_ITERATION_OF_THE_ANSWER = "message"
_MAX_OTHER_WORK = 20

_CODE_EXECUTION = frozenset({"code_execution", "bash_code_execution", "text_editor_code_execution"})
# Claude API docs, Code execution tool: billed by the time of its container, five minutes at least.
_MIN_CODE_EXECUTION_SECONDS = 300
# The same page: free in a request that has one of these tools, from this version on.
_WEB_TOOL = re.compile(r"web_(?:search|fetch)_(\d{8})")
_FREE_CODE_EXECUTION_SINCE = "20260209"


class AnthropicUsage:
    """The counts of one message, whose events repeat and complete them."""

    def __init__(self, body: Json | None = None) -> None:
        """`body` is what the target was asked: what it wishes is believed until an event says what was done."""
        body = body or {}
        self._counts = Counts()
        self._was_reported = False
        self.total_disagrees: tuple[int, int] | None = None
        """Anthropic has no total to compare with."""
        self._tiers = {name: tier for name in _TIER_FIELDS if (tier := tier_name(body.get(name))) in _DEARER}
        self._searches = 0
        self._code_execution_is_free = _has_web_tool(body.get("tools"))
        self._ran_code = False
        self._other_work: list[str] = []

    def add(self, usage: Json) -> None:
        """Take a `usage` object."""
        self._was_reported = True
        self._counts.add(usage)
        self._tiers |= {name: tier for name in _TIER_FIELDS if (tier := tier_name(usage.get(name)))}
        self._note_iterations(usage.get("iterations"))

    def note_block(self, block: Json) -> None:
        """Take the start of a content block: before the end only blocks tell of tools."""
        kind = block.get("type")
        if kind == "server_tool_use" and block.get("name") in _CODE_EXECUTION:
            self._ran_code = True
        elif kind == "web_search_tool_result" and isinstance(block.get("content"), list):
            self._searches += 1  # a search that failed has an object there, and is not billed

    def note_container(self) -> None:
        """Note that there was a container, which is billed also when no code ran in it."""
        self._ran_code = True

    def known(self) -> Usage | None:
        """Return inclusive totals of what is known so far, None when that is nothing."""
        counts = self._counts
        read = counts.first("cache_read_input_tokens")
        written, hour = self._written()
        input_tokens = counts.first("input_tokens")
        if input_tokens is not None:
            input_tokens += (read or 0) + (written or 0)
        searches = counts.first("server_tool_use.web_search_requests")
        usage = Usage(
            input_tokens=input_tokens,
            output_tokens=counts.first("output_tokens"),
            provider_cache_read_input_tokens=read,
            provider_cache_write_input_tokens=written,
            reasoning_output_tokens=counts.first(
                "output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"
            ),
            provider_cache_write_1h_input_tokens=hour,
            web_search_requests=max(searches or 0, self._searches) or None,
            code_execution_seconds=self._code_execution_seconds(),
            service_tier="+".join(tier for tier in self._tiers.values() if tier not in _STANDARD) or None,
            unpriced_units=joined([*counts.unknown_units(_KNOWN, _TOTALS), *self._other_work]),
        )
        return None if is_empty(usage) and not self._was_reported else usage

    def _written(self) -> tuple[int | None, int | None]:
        """Return all cache writes, and those of one hour among them."""
        written = self._counts.first("cache_creation_input_tokens")
        kinds = [count for name in _CACHE_KINDS if (count := self._counts.first(name)) is not None]
        if kinds:
            written = max(written or 0, sum(kinds))
        return written, self._counts.first("cache_creation.ephemeral_1h_input_tokens") or None

    def _code_execution_seconds(self) -> int | None:
        has_run = self._ran_code or self._counts.first("server_tool_use.code_execution_requests")
        return _MIN_CODE_EXECUTION_SECONDS if has_run and not self._code_execution_is_free else None

    def _note_iterations(self, iterations: object) -> None:
        for each in iterations if isinstance(iterations, list) else ():
            kind = each.get("type") if isinstance(each, dict) else None
            if kind is not None and kind != _ITERATION_OF_THE_ANSWER and len(self._other_work) < _MAX_OTHER_WORK:
                self._other_work.append(f"iterations.{kind if isinstance(kind, str) else ''}"[:MAX_NAME_CHARACTERS])


def _has_web_tool(tools: object) -> bool:
    for tool in tools if isinstance(tools, list) else ():
        found = _WEB_TOOL.fullmatch(str(tool.get("type"))) if isinstance(tool, dict) else None
        if found is not None and found[1] >= _FREE_CODE_EXECUTION_SINCE:
            return True
    return False
