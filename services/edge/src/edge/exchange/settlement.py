"""The end of a request: its settled event, the stored answer, the receipt, the metrics and the one log line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from edge.answer import Answer
from edge.cache.cache import Hit, LookUp, ResponseCache
from edge.events.cost_event import settled_event
from edge.events.emitter import Emitter
from edge.events.redis import Command
from edge.events.reservation import Reservation, Used
from edge.expectation import Expectation
from edge.facts import RequestFacts
from edge.ledger.quotes import Quotes
from edge.metrics import Metrics
from edge.problems import Problem
from edge.receipt_json import cache_status_name, money, outcome_name
from pricing.cost import FREE, total_of
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

_NANO_USD = 10**9
_MAX_LOGGED_NAME = 100


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended."""

    outcome: routerpb.Outcome.ValueType
    problem: Problem | None
    answer: Answer
    """Whole when the outcome is OK, else what there is of it."""
    attempts: list[routerpb.Attempt]
    continuations: list[routerpb.Continued]
    """Where the answer broke off and another target carried on."""
    first_content: float | None
    """On the monotonic clock."""
    is_filtered: bool = False
    """Whether the guardrails have ended the answer."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How an exchange ended, with its costs."""

    ending: Ending
    costs: list[Decimal | None]
    """Of each attempt, in USD; None: unpriced."""
    price_versions: list[str]
    """By which each attempt is priced; empty: by none."""
    stored: bool
    """Whether the answer is in the response cache now because of this request."""
    saved_cost_usd: Decimal | None
    """What a cache hit would have cost."""
    is_kept: bool = False
    """Whether what a later request needs to go on from the answer is kept."""

    @property
    def problem(self) -> Problem | None:
        """Why there is no whole answer; None when there is one."""
        return self.ending.problem

    @property
    def answer(self) -> Answer:
        """Whole when `problem` is None."""
        return self.ending.answer

    @property
    def cost_usd(self) -> Decimal | None:
        """What the request cost; None when it is unpriced."""
        return total_of(self.costs)


class Settlement:
    """Settles requests of all kinds."""

    def __init__(self, emitter: Emitter, quotes: Quotes, expectation: Expectation, metrics: Metrics) -> None:
        self._emitter = emitter
        self._quotes = quotes
        self._expectation = expectation
        self._metrics = metrics

    async def settle(
        self,
        facts: RequestFacts,
        look_up: LookUp,
        ending: Ending,
        cache: ResponseCache,
        reservations: Sequence[Reservation] = (),
        kept: Sequence[Command] = (),
    ) -> Receipt:
        """Record how a request ended, store what may be stored, correct what was reserved, count and log.

        `kept` are the commands that keep what a later request needs to go on from the answer.
        """
        first_token_seconds = None if ending.first_content is None else ending.first_content - facts.accepted
        event = settled_event(
            facts,
            outcome=ending.outcome,
            problem=ending.problem,
            cache_status=look_up.status,
            bypass_reason=look_up.reason,
            attempts=ending.attempts,
            answer=ending.answer,
            time_to_first_token=first_token_seconds,
        )
        # A whole answer of one target: what two have written together is the answer of neither.
        is_one_answer = ending.outcome == routerpb.OUTCOME_OK and not ending.continuations and not ending.is_filtered
        entry = cache.store(look_up, ending.answer) if is_one_answer else None
        costs = self._quotes.attempt_costs(ending.attempts)
        used = _used_by(ending.attempts, costs)
        self._expectation.learn(facts.route, used)
        corrections = [command for reservation in reservations for command in reservation.settle(used)]
        is_recorded = await self._emitter.settle(event, [*([] if entry is None else [entry]), *kept, *corrections])
        answer = ending.answer
        receipt = Receipt(
            ending=ending,
            costs=costs or [FREE],
            price_versions=self._quotes.price_versions(ending.attempts),
            stored=is_recorded and entry is not None,
            saved_cost_usd=self._quotes.saved_cost(answer.provider, answer.target_model, answer.usage)
            if isinstance(look_up, Hit)
            else None,
            is_kept=is_recorded and bool(kept),
        )
        self._count(facts, look_up, ending, first_token_seconds)
        _log_end(facts, look_up, receipt, first_token_seconds)
        return receipt

    def _count(self, facts: RequestFacts, look_up: LookUp, ending: Ending, first_token_seconds: float | None) -> None:
        metrics, outcome, cache = self._metrics, outcome_name(ending.outcome), cache_status_name(look_up)
        metrics.requests.labels(facts.requested_model, outcome, cache).inc()
        metrics.duration.labels(outcome).observe(time.monotonic() - facts.accepted)
        if first_token_seconds is not None:
            metrics.time_to_first_token.labels(cache).observe(first_token_seconds)


def _used_by(attempts: Sequence[routerpb.Attempt], costs: Sequence[Decimal | None]) -> Used:
    """Return what all attempts have used."""
    usages = [Usage.from_proto(attempt.usage) for attempt in attempts if attempt.HasField("usage")]
    output_tokens = sum(usage.output_tokens or 0 for usage in usages)
    return Used(
        tokens=sum(usage.input_tokens or 0 for usage in usages) + output_tokens,
        output_tokens=output_tokens,
        cost_nano_usd=int(sum(cost for cost in costs if cost is not None) * _NANO_USD),
        is_priced=None not in costs,
    )


def _log_end(facts: RequestFacts, look_up: LookUp, receipt: Receipt, first_token_seconds: float | None) -> None:
    ending, answer = receipt.ending, receipt.answer
    last = ending.attempts[-1] if ending.attempts else routerpb.Attempt()
    usage = answer.usage or (Usage.from_proto(last.usage) if last.HasField("usage") else Usage())
    log.info(
        "request_finished",
        endpoint=facts.endpoint,
        tenant=facts.identity.tenant,
        key_id=facts.identity.key_id,
        requested_model=facts.requested_model,
        asked_model=facts.asked_model[:_MAX_LOGGED_NAME] or None,
        economy_model=facts.economy_model or None,
        provider=answer.provider or last.provider or None,
        target_model=answer.target_model or last.target_model or None,
        outcome=outcome_name(ending.outcome),
        reason=ending.problem.code if ending.problem else None,
        cache_status=cache_status_name(look_up),
        cache_bypass_reason=look_up.reason or None,
        stored=receipt.stored,
        attempts=len(ending.attempts),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=money(receipt.cost_usd),
        time_to_first_token_seconds=None if first_token_seconds is None else round(first_token_seconds, 6),
        duration_seconds=round(time.monotonic() - facts.accepted, 6),
    )
