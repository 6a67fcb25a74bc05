"""The attempts of one request for an answer or for vectors: which target is next, and what each attempt reports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from llm_router.breaker.breakers import Breakers
from llm_router.breaker.permit import Permit
from llm_router.chain.attempt import Attempt
from llm_router.chain.candidates import Candidates
from llm_router.chain.decision import MIN_ATTEMPT_SECONDS, exhausted, pause_before_retry
from llm_router.errors import CallerGone, ConnectionStale, HedgeLost, ProviderError, ProviderTimeout
from llm_router.failures import CompletionFailed, callers_error, deadline_exceeded
from llm_router.metrics import Metrics
from llm_router.strategies.hedging import HedgeAllowances
from llm_router.strategies.latency import Latencies
from llm_router.target import Target
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

AnyAttempt = TypeVar("AnyAttempt", bound=Attempt)
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ChainDependencies:
    """What all requests share."""

    breakers: Breakers
    latencies: Latencies
    allowances: HedgeAllowances
    metrics: Metrics
    rng: random.Random
    router_address: str
    """Where this router takes the request to stop a chain; empty when it does not know."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a request over all its attempts."""

    attempt_budget: int
    """The maximum number of attempts."""
    deadline: float
    """On the event loop's clock."""


class Attempts(Generic[AnyAttempt]):
    """Counts, starts and ends the attempts of one request, and finds the target that answers."""

    def __init__(
        self,
        targets: Iterable[Target],
        limits: Limits,
        dependencies: ChainDependencies,
        report: Callable[[routerpb.Attempt], None],
    ) -> None:
        """`targets` are asked in this order; `report` gets the record of each attempt that has ended."""
        self.candidates = Candidates(targets, dependencies.breakers, dependencies.metrics)
        self._limits = limits
        self._dependencies = dependencies
        self._report = report
        self._now = asyncio.get_running_loop().time
        self._failures: list[tuple[Target, ProviderError]] = []
        self._running: set[AnyAttempt] = set()
        self.count = 0
        """How many attempts have begun."""

    @property
    def remaining(self) -> int:
        """How many attempts the budget still allows."""
        return self._limits.attempt_budget - self.count

    async def find(self, ask: Callable[[Target, Permit], Awaitable[Found | None]]) -> Found | None:
        """Ask target after target; return the first answer, None when no target is left or the budget is used up.

        `ask` makes an attempt and returns its answer, or None when it has failed. CompletionFailed when no other target
        could do better.
        """
        while self.remaining > 0 and (following := await self.candidates.next()) is not None:
            answer = await self._ask(*following, ask)
            if answer is not None:
                return answer
        return None

    def start(self, attempt: AnyAttempt) -> None:
        """Note that `attempt`, whose number is one above `count`, has begun."""
        self.count += 1
        self._running.add(attempt)
        self._dependencies.latencies.begin(attempt.target.name)

    def fail(self, attempt: AnyAttempt, error: ProviderError) -> None:
        """End an attempt whose failure counts when the next one is chosen."""
        self._failures.append((attempt.target, error))
        self.end(attempt, error)

    def end(self, attempt: AnyAttempt, error: ProviderError | None) -> routerpb.Attempt:
        """End an attempt, successfully when `error` is None: update breaker, latencies, metrics; return its record."""
        self._running.remove(attempt)
        name, timers, latencies = attempt.target.name, attempt.timers, self._dependencies.latencies
        latencies.end(name)
        # Silence that was cut short is a lower bound of how slow the target is.
        is_silent = isinstance(error, ProviderTimeout | HedgeLost) and not attempt.is_committed
        seconds = timers.age if is_silent else timers.time_to_first_chunk
        if seconds is not None:
            latencies.observe(name, seconds)
        if error is None:
            attempt.permit.succeeded()
        else:
            error.clean(attempt.target.credential)
            attempt.permit.failed(error)
        record = attempt.record(error)
        self._count(record, timers.time_to_first_chunk)
        self._compare_total(attempt, record)
        if error is not None and not isinstance(error, HedgeLost | CallerGone):
            self._warn(record, error)
        self._report(record)
        return record

    def end_running(self) -> list[AnyAttempt]:
        """End the attempts that still run because the caller is gone; return them to be closed."""
        stopped = list(self._running)
        for attempt in stopped:
            self.end(attempt, CallerGone())
        return stopped

    def check_deadline(self) -> None:
        """CompletionFailed when there is no time for another attempt."""
        if self._now() + MIN_ATTEMPT_SECONDS >= self._limits.deadline:
            raise deadline_exceeded(self._named_failures())

    def exhausted(self) -> CompletionFailed:
        """Return the error that says that no target answered."""
        return exhausted(self._named_failures(), self.candidates.passed_over)

    async def _ask(
        self, target: Target, permit: Permit | None, ask: Callable[[Target, Permit], Awaitable[Found | None]]
    ) -> Found | None:
        """Try `target` until it answers or is given up (None); CompletionFailed when no other could do better."""
        tries = 0
        while permit is not None:
            answer = await ask(target, permit)
            if answer is not None:
                return answer
            failed, error = self._failures[-1]  # of two that raced each other, the one that failed last
            tries += not isinstance(error, ConnectionStale)  # that says nothing of the target; the budget bounds it
            if not error.moves_on:
                raise callers_error(error)
            self.check_deadline()
            pause = self._pause_before_retry(target, error, tries) if failed is target else None
            if pause is None:
                break
            await asyncio.sleep(pause)
            permit = await self.candidates.again(target)
            if permit is not None:
                self._dependencies.metrics.retries.labels(target.name, error.code).inc()
        self.candidates.leave(*self._failures[-1])
        return None

    def _pause_before_retry(self, target: Target, error: ProviderError, tries: int) -> float | None:
        """Return how long to wait before `target` is tried again; None: it is not."""
        if self.remaining <= self.candidates.waiting:
            return None  # what is left of the budget belongs to the targets that were not asked yet
        if not self.candidates.may_ask_again(target):
            return None
        pause = pause_before_retry(error, tries, self._dependencies.rng)
        if pause is None or self._now() + pause + MIN_ATTEMPT_SECONDS >= self._limits.deadline:
            return None
        return pause

    def _named_failures(self) -> list[tuple[str, ProviderError]]:
        return [(target.name, error) for target, error in self._failures]

    def _count(self, record: routerpb.Attempt, time_to_first_chunk: float | None) -> None:
        metrics = self._dependencies.metrics
        metrics.attempts.labels(record.provider, record.target, _outcome(record)).inc()
        if time_to_first_chunk is not None:
            metrics.time_to_first_chunk.labels(record.target).observe(time_to_first_chunk)

    def _compare_total(self, attempt: AnyAttempt, record: routerpb.Attempt) -> None:
        """Report that the provider's counts contradict each other: one of them may be billed and not be recorded."""
        if attempt.total_disagrees is None or record.usage_source != routerpb.USAGE_SOURCE_REPORTED:
            return
        total, parts = attempt.total_disagrees
        self._dependencies.metrics.usage_disagreements.labels(record.provider, record.target).inc()
        log.warning(
            "usage_total_disagrees",
            attempt_number=record.attempt_number,
            target=record.target,
            provider=record.provider,
            total_tokens=total,
            sum_of_parts=parts,
        )

    def _warn(self, record: routerpb.Attempt, error: ProviderError) -> None:
        if error.needs_operator:
            self._dependencies.metrics.target_refusals.labels(record.target, error.code).inc()
        log.warning(
            "attempt_failed",
            attempt_number=record.attempt_number,
            target=record.target,
            outcome=_outcome(record),
            reason=error.code,
            http_status=record.http_status,
            cause=error.cause,
        )


def _outcome(record: routerpb.Attempt) -> str:
    return routerpb.Outcome.Name(record.outcome).removeprefix("OUTCOME_").lower()
