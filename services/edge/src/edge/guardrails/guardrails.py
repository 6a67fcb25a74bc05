"""The guardrails of one edge: the policy in force, applied to requests before anything is spent."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import structlog

from edge.conversation import Content
from edge.facts import RequestFacts
from edge.fetch import Fetcher
from edge.guardrails.input import Inspected, inspect, size_of
from edge.guardrails.policy import Action, Policy, RuleSet
from edge.guardrails.webhooks import Webhooks
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()

# As much takes about two milliseconds with all rules; to have it done elsewhere takes one.
_LONG_BYTES = 16 * 1024

Elsewhere = Callable[[Content, RuleSet], Awaitable[Inspected]]
"""Does `inspect` beside the event loop."""


def _has_work(rules: RuleSet, content: Content) -> bool:
    """Tell whether a request has to be read: there is something to look for, or something to be known of the answer."""
    if rules.rules or rules.marking_key is not None:
        return True
    return bool(rules.output or rules.format is not Action.OFF) and b'"response_format"' in content.encoded_body


def _own_key(key: bytes, facts: RequestFacts) -> bytes:
    """Return the key for the marks of one user, which tell nothing of anybody else's."""
    return hmac.digest(key, f"{facts.identity.tenant}\n{facts.identity.user}".encode(), "sha256")


class HasPolicy(Protocol):
    """Follows the policy."""

    @property
    def policy(self) -> Policy:
        """The one in force."""


class Guardrails:
    """Looks at requests."""

    def __init__(self, watch: HasPolicy, elsewhere: Elsewhere, fetcher: Fetcher, metrics: Metrics) -> None:
        self._watch = watch
        self._elsewhere = elsewhere
        self._metrics = metrics
        self._webhooks = Webhooks(fetcher, metrics)

    async def inspect(
        self,
        facts: RequestFacts,
        content: Content,
        outside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Inspected:
        """Return the request as it may go on; Problem (400) when a rule that blocks has found something.

        Problem (503) when one did not answer without which the request may not go on. `outside` is for a block that
        waits for somebody else.
        """
        rules = self._watch.policy.for_request(facts.identity, facts.requested_model)
        if rules is None:
            return Inspected(content)
        inspected = Inspected(content, rules.policy)
        if _has_work(rules, content):
            key = None if rules.marking_key is None else _own_key(rules.marking_key, facts)
            own = replace(rules, output=(), webhooks=(), marking_key=key)
            is_long = size_of(content) > _LONG_BYTES
            inspected = await self._elsewhere(content, own) if is_long else inspect(content, own)
        if rules.webhooks and not any(finding.action is Action.BLOCK for finding in inspected.findings):
            async with outside():
                told = await self._webhooks.ask(rules.webhooks, facts, inspected.content)
            inspected = replace(inspected, findings=[*inspected.findings, *told])
        if inspected.findings:
            self._tell(facts, inspected)
        if inspected.marked:
            self._metrics.guardrail_data_marked.inc()
        action = Action.OFF if inspected.wanted is None else rules.format
        return replace(inspected, output=rules.output, format=action)

    def _tell(self, facts: RequestFacts, inspected: Inspected) -> None:
        for finding in inspected.findings:
            self._metrics.guardrail_findings.labels(finding.rule, finding.action, "input").inc()
        told = [f"{finding.rule}:{finding.action}" for finding in inspected.told]
        if told:
            log.info("guardrails_found", policy=inspected.policy, rules=told, tenant=facts.identity.tenant)
        blocking = [finding.rule for finding in inspected.findings if finding.action is Action.BLOCK]
        if blocking:
            names = ", ".join(blocking)
            raise Problem(
                "content_blocked",
                f"the request was not answered: the policy of this gateway blocks what its rule finds here ({names})",
            )
