"""The limits of one request: how long its prompt and its answer may be, by tier and whoever else a rule is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from edge.conversation import Content, Conversation
from edge.guard.check import Asked
from edge.guard.size import too_long
from edge.limits.rules import Rule, Rules
from edge.metrics import Metrics
from servicekit.log_limit import LimitedLog

Shorten = Callable[[Conversation, int], Awaitable[Conversation]]
"""Does `with_max_output`, a long one beside the event loop."""


class Sizes:
    """A check, and a change."""

    def __init__(self, rules: Rules, shorten: Shorten, metrics: Metrics) -> None:
        self._rules = rules
        self._shorten = shorten
        self._metrics = metrics
        self._log = LimitedLog()

    async def check(self, asked: Asked) -> Mapping[str, str]:
        """Problem (400) when the whole request has more tokens than allowed."""
        content = asked.content
        tokens = content.estimated_input_tokens
        for rule in self._rules.sizes_of(asked.facts):
            most = rule.max_input_tokens
            if most is None or tokens <= most:
                continue
            if rule.shadow:
                self._note_shadow(rule, "input_tokens")
                continue
            self._metrics.limits_exceeded.labels(rule.name, "input_tokens").inc()
            raise too_long(content.longest.what, tokens, most, content.longest.param, f"; limit {rule.name!r}")
        return {}

    async def change(self, asked: Asked) -> tuple[Content, Mapping[str, str]]:
        """Let the answer be as long as the tightest limit has it.

        A request that allows more is not refused: agents ask for 32,000 tokens and more whatever they need, and an
        answer that does not end within the limit says so (`length`).
        """
        content = asked.content
        if not isinstance(content, Conversation):
            return content, {}
        asked_for, most = content.max_output_tokens, None
        for rule in self._rules.sizes_of(asked.facts):
            allowed = rule.max_output_tokens
            if allowed is None or (asked_for is not None and asked_for <= allowed):
                continue
            if rule.shadow:
                self._note_shadow(rule, "output_tokens")
            else:
                most = allowed if most is None else min(most, allowed)
        if most is None:
            return content, {}
        return await self._shorten(content, most), {"x-max-output-tokens": str(most)}

    def _note_shadow(self, rule: Rule, unit: str) -> None:
        self._metrics.limits_exceeded_in_shadow.labels(rule.name, unit).inc()
        self._log.info("limit_exceeded_in_shadow", rule.name, unit=unit)
