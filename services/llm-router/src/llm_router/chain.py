"""Step 5 of the request path: the targets of a route in order, until one answers.

Before the commit point, the first content that is sent on, a failure leads to a retry or to the next target; after
it the stream ends with an honest error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from llm_router.attempt import Attempt
from llm_router.errors import (
    CompletionFailed,
    ContextTooLong,
    ProviderError,
    ProviderRateLimited,
    all_targets_failed,
    callers_error,
    deadline_exceeded,
    interrupted,
)
from llm_router.metrics import Metrics
from llm_router.outbox import Outbox
from llm_router.providers.answer import Provider
from llm_router.routes import Target
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

# A rate limit that ends within this time is worth waiting for; the next target is nearer than a longer one.
_LONGEST_RETRY_AFTER_SECONDS = 2.0
_FIRST_BACKOFF_SECONDS = 0.1
_TRIES_PER_TARGET = 2
# With less time left no attempt can end well; the cause of the last failure is worth more than another one.
_LEAST_SECONDS = 0.05


@dataclass(frozen=True)
class ChatRequest:
    """What the chain needs to know of a request."""

    targets: Sequence[Target]
    """In the order they are tried; at least one."""
    body: dict[str, Any]
    """An OpenAI chat body; the model and the stream options are set by the provider."""
    prompt_bytes: int
    """What an estimate of the input tokens goes by."""
    attempt_budget: int
    """At most this many attempts over all targets."""
    deadline: float
    """On the event loop's clock; the chain is over by then."""


class Chain:
    """The way of one request along its targets."""

    def __init__(
        self,
        request: ChatRequest,
        providers: Mapping[Target, Provider],
        outbox: Outbox,
        metrics: Metrics,
        *,
        jitter: random.Random,
        frame_interval_seconds: float,
    ) -> None:
        """`providers` has an entry for each target; the events of the request go into `outbox`.

        After the first content the provider is read once in `frame_interval_seconds`.
        """
        self._request = request
        self._providers = providers
        self._outbox = outbox
        self._metrics = metrics
        self._jitter = jitter
        self._frame_interval = frame_interval_seconds
        self._loop = asyncio.get_running_loop()
        self._attempts = 0
        self._failures: list[tuple[str, ProviderError]] = []

    async def run(self) -> None:
        """Run to the end: the last event is `finished`, or CompletionFailed says why there is none."""
        targets = list(self._request.targets)
        while targets:
            target = targets.pop(0)
            error = await self._ask(target, targets_left=len(targets))
            if error is None:
                return
            if not error.moves_on:
                raise callers_error(error)
            if isinstance(error, ContextTooLong):
                targets = [other for other in targets if _may_be_larger(other, target)]
            self._check_deadline()
            if self._attempts >= self._request.attempt_budget:
                break
            if targets:
                self._metrics.fallbacks.labels(target.name, targets[0].name, error.code).inc()
        raise self._exhausted()

    async def _ask(self, target: Target, targets_left: int) -> ProviderError | None:
        """Try `target` until it answers (None) or is given up (its last error)."""
        for tries in range(1, _TRIES_PER_TARGET + 1):
            error = await self._attempt(target)
            if error is None or tries == _TRIES_PER_TARGET:
                return error
            pause = self._pause_before_retry(error, tries, targets_left)
            if pause is None:
                return error
            self._metrics.retries.labels(target.name, error.code).inc()
            await asyncio.sleep(pause)
        return None

    async def _attempt(self, target: Target) -> ProviderError | None:
        """Make one attempt and report it; return why it failed, None when the request is answered."""
        self._attempts += 1
        attempt = Attempt(
            self._attempts,
            target,
            deadline=self._request.deadline,
            prompt_bytes=self._request.prompt_bytes,
            frame_interval_seconds=self._frame_interval,
        )
        self._outbox.put_event(attempt.started())
        error: ProviderError | None = None
        try:
            await attempt.run(self._providers[target], self._request.body, self._outbox)
        except ProviderError as failure:
            error = failure
        record = attempt.record(error)
        self._observe(attempt, record, error)
        finished = routerpb.AttemptFinished(attempt=record)
        self._outbox.put_event(routerpb.StreamCompletionResponse(attempt_finished=finished))
        if error is None:
            self._outbox.put_event(_finished(attempt, record))
        else:
            self._failures.append((target.name, error))
            if attempt.is_committed:
                raise interrupted(target.name, error, attempt.delivered_characters)
        return error

    def _pause_before_retry(self, error: ProviderError, tries: int, targets_left: int) -> float | None:
        """Return how long to wait before the same target is tried again; None: it is not."""
        if self._request.attempt_budget - self._attempts <= targets_left:
            return None  # what is left of the budget belongs to the targets that were not asked yet
        if isinstance(error, ProviderRateLimited):
            if error.retry_after is None or error.retry_after > _LONGEST_RETRY_AFTER_SECONDS:
                return None
            pause = error.retry_after + self._jitter.uniform(0, _FIRST_BACKOFF_SECONDS)
        elif error.retries_same_target:
            pause = _FIRST_BACKOFF_SECONDS * 2 ** (tries - 1) * self._jitter.uniform(1, 2)
        else:
            return None
        return pause if self._loop.time() + pause + _LEAST_SECONDS < self._request.deadline else None

    def _check_deadline(self) -> None:
        if self._loop.time() + _LEAST_SECONDS >= self._request.deadline:
            raise deadline_exceeded(self._failures)

    def _exhausted(self) -> CompletionFailed:
        """Say that nobody answered: the caller's error when every target found fault with the request itself."""
        rejections = [error for _, error in self._failures if error.outcome == routerpb.OUTCOME_REJECTED]
        if len(rejections) == len(self._failures):
            return callers_error(rejections[0])
        return all_targets_failed(self._failures)

    def _observe(self, attempt: Attempt, record: routerpb.Attempt, error: ProviderError | None) -> None:
        outcome = routerpb.Outcome.Name(record.outcome).removeprefix("OUTCOME_").lower()
        self._metrics.attempts.labels(record.provider, record.target, outcome).inc()
        if attempt.time_to_first_chunk is not None:
            self._metrics.time_to_first_chunk.labels(record.target).observe(attempt.time_to_first_chunk)
        if error is None:
            return
        if error.needs_hand:
            self._metrics.needs_hand.labels(record.target, error.code).inc()
        log.warning(
            "attempt_failed",
            attempt_number=record.attempt_number,
            target=record.target,
            outcome=outcome,
            reason=error.code,
            http_status=record.http_status,
            cause=type(error.__cause__).__name__ if error.__cause__ else None,
        )


def _may_be_larger(other: Target, target: Target) -> bool:
    """Tell whether `other` may take a prompt that was too long for `target`; unknown sizes may."""
    if other.context_tokens is None or target.context_tokens is None:
        return True
    return other.context_tokens > target.context_tokens


def _finished(attempt: Attempt, record: routerpb.Attempt) -> routerpb.StreamCompletionResponse:
    answer = attempt.answer
    return routerpb.StreamCompletionResponse(
        finished=routerpb.Finished(
            finish_reasons=[answer.finish_reasons[index] for index in sorted(answer.finish_reasons)],
            response_model=answer.response_model or record.target_model,
            usage=record.usage,
            usage_source=record.usage_source,
            system_fingerprint=answer.system_fingerprint,
        )
    )
