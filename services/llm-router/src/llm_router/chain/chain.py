"""Step 5 of the request path: the targets of a route in order, until one answers.

Before the commit point, the first content that is sent on, a failure leads to a retry or to the next target. After
it the stream ends with an honest error, unless the caller allows another target to carry on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from llm_router.breaker.breakers import Breakers, Permit
from llm_router.chain.attempt import Attempt
from llm_router.chain.candidates import Line
from llm_router.chain.decision import LEAST_SECONDS, exhausted, pause_before_retry
from llm_router.chain.outbox import Outbox
from llm_router.errors import (
    CallerGone,
    CompletionFailed,
    HedgeLost,
    ProviderError,
    ProviderTimeout,
    callers_error,
    deadline_exceeded,
    interrupted,
)
from llm_router.metrics import Metrics
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.provider import Provider
from llm_router.routes.file import Route, Target
from llm_router.strategies.balance import order_targets
from llm_router.strategies.continuation import MOST_SEAMS, Delivered, continuation_of
from llm_router.strategies.hedging import HedgeAllowances, hedge_delay
from llm_router.strategies.latency import Latencies
from llm_router.strategies.splice import Seam
from pricing.estimate import estimate_tokens
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the chain needs to know of a request."""

    route: Route
    chat: ChatBody
    input_tokens: int
    """An estimate, for providers that report none."""
    attempt_budget: int
    """At most this many attempts over all targets."""
    deadline: float
    """On the event loop's clock; the chain is over by then."""
    may_continue: bool
    """Whether another target may carry on an answer that broke off."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What chains are made of; the same for all of them."""

    breakers: Breakers
    latencies: Latencies
    allowances: HedgeAllowances
    metrics: Metrics
    chance: random.Random
    frame_interval_seconds: float
    """After the first content a target is read once in this time."""
    router_address: str
    """Where this router takes the request to stop a chain; empty when it does not know."""


class Chain:
    """The way of one request along its targets."""

    def __init__(
        self, request: ChatRequest, providers: Mapping[Target, Provider], outbox: Outbox, parts: Parts
    ) -> None:
        """`providers` has an entry for each target of the route; the events of the request go into `outbox`."""
        self._request = request
        self._providers = providers
        self._outbox = outbox
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        in_order = order_targets(request.route, parts.latencies, parts.chance)
        self._line = Line(in_order, parts.breakers, parts.metrics)
        self._attempts = 0
        self._running: set[Attempt] = set()
        self._failures: list[tuple[Target, ProviderError]] = []
        self._delivered = Delivered(keeps_text=request.may_continue)
        self._answering: list[routerpb.Attempt] = []  # the records of the attempts whose content was sent on

    async def run(self) -> None:
        """Run to the end: the last event is `finished`, or CompletionFailed says why there is none.

        When it is cancelled, the last events are the records of the attempts that were open.
        """
        hedge = self._request.route.hedge
        if hedge is not None:
            self._parts.allowances.add_request(self._request.route.name, hedge)
        try:
            attempt = await self._find_answer(self._request.chat)
            while (error := await self._pass_on(attempt)) is not None:
                attempt = await self._carry_on(attempt, error)
            self._outbox.put_event(self._finished(attempt))
        finally:
            # Only when cancelled. What was spent is told first: closing takes time, and may be cancelled as well.
            stopped = tuple(self._running)
            for attempt in stopped:
                self._conclude(attempt, CallerGone())
            for attempt in stopped:
                await attempt.close()

    async def _find_answer(self, chat: ChatBody) -> Attempt:
        """Ask target after target; return the first attempt that has content to send on, or a whole answer."""
        while self._attempts < self._request.attempt_budget and (following := await self._line.next()) is not None:
            attempt = await self._ask(*following, chat)
            if attempt is not None:
                return attempt
        raise exhausted(self._named_failures(), self._line.passed_over)

    async def _ask(self, target: Target, permit: Permit | None, chat: ChatBody) -> Attempt | None:
        """Try `target` until it answers or is given up (None); CompletionFailed when no other could do better."""
        tries = 0
        while permit is not None:
            tries += 1
            found = await self._open(self._start(target, permit), chat)
            if found is not None:
                return found
            failed, error = self._failures[-1]  # of two that raced each other, the one that failed last
            if not error.moves_on:
                raise callers_error(error)
            self._check_deadline()
            pause = self._pause_before_retry(error, tries) if failed is target else None
            if pause is None:
                break
            self._parts.metrics.retries.labels(target.name, error.code).inc()
            await asyncio.sleep(pause)
            permit = await self._line.again(target)
        self._line.leave(*self._failures[-1])
        return None

    def _start(self, target: Target, permit: Permit) -> Attempt:
        """Begin an attempt and announce it."""
        self._attempts += 1
        attempt = Attempt(
            self._attempts,
            target,
            permit,
            deadline=self._request.deadline,
            input_tokens=self._request.input_tokens + estimate_tokens(len(self._delivered.text.encode())),
            # A seam of its own for each attempt: what one has repeated, the next one repeats again.
            seam=Seam(self._delivered.text) if self._answering else None,
            frame_interval=self._parts.frame_interval_seconds,
        )
        self._running.add(attempt)
        self._parts.latencies.begin(target.name)
        self._outbox.put_event(attempt.started(self._parts.router_address))
        return attempt

    async def _open(self, attempt: Attempt, chat: ChatBody) -> Attempt | None:
        """Bring `attempt`, or one that hedges it, to its first content; None when that fails."""
        hedge = self._request.route.hedge
        if hedge is not None and attempt.number == 1:
            return await self._race(attempt, hedge_delay(hedge, attempt.target.name, self._parts.latencies))
        try:
            await self._call(attempt, chat)
        except ProviderError as error:
            self._fail(attempt, error)
            return None
        return attempt

    async def _race(self, first: Attempt, delay: float) -> Attempt | None:
        """Open `first`; when it is silent for `delay` seconds, the next target too. The first content wins.

        The winner's content is sent on before the loser is cancelled and recorded.
        """
        contenders = {self._opening(first): first}
        second: Attempt | None = None
        try:
            done, _ = await asyncio.wait(contenders, timeout=delay)
            if not done and (second := await self._start_hedge(first)) is not None:
                contenders[self._opening(second)] = second
            winner = await self._first_content(contenders)
            if winner is not None:
                await winner.commit(self._outbox, self._delivered)
        finally:
            await _stop(contenders)
        for task, loser in contenders.items():
            error = None if task.cancelled() else task.exception()
            self._conclude(loser, error if isinstance(error, ProviderError) else HedgeLost())
        if second is not None:
            self._parts.metrics.hedges.labels(second.target.name, "won" if winner is second else "lost").inc()
        return winner

    def _opening(self, attempt: Attempt) -> asyncio.Task[None]:
        return asyncio.create_task(self._call(attempt, self._request.chat))

    async def _call(self, attempt: Attempt, chat: ChatBody) -> None:
        """Open `attempt` once its announcement is on its way: if this process is killed, the edge knows of it."""
        await self._outbox.sent()
        await attempt.open(self._providers[attempt.target], chat)

    async def _start_hedge(self, first: Attempt) -> Attempt | None:
        """Begin an attempt at the next target whose breaker is closed, if budget and allowance permit one."""
        route, allowances = self._request.route.name, self._parts.allowances
        if self._attempts >= self._request.attempt_budget or not self._line.waiting or not allowances.take(route):
            return None
        following = await self._line.next(insists=False)
        if following is None:
            allowances.put_back(route)
            return None
        target, permit = following
        log.info("hedge_started", target=target.name, silent_target=first.target.name)
        return self._start(target, permit)

    async def _first_content(self, contenders: dict[asyncio.Task[None], Attempt]) -> Attempt | None:
        """Wait for the first that is opened, take it out and return it; those that fail are taken out as well."""
        while contenders:
            done, _ = await asyncio.wait(contenders, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in contenders if task in done]:
                contender = contenders.pop(task)
                error = task.exception()
                if error is None:
                    return contender
                if not isinstance(error, ProviderError):
                    raise error
                self._fail(contender, error)
                if not error.moves_on:
                    return None
        return None

    async def _pass_on(self, attempt: Attempt) -> ProviderError | None:
        """Send on what `attempt` says until its end; return why it broke off, None when the answer is whole."""
        error: ProviderError | None = None
        try:
            await attempt.pass_on(self._outbox, self._delivered)
        except ProviderError as failure:
            error = failure
        self._answering.append(self._conclude(attempt, error))
        return error

    async def _carry_on(self, broken: Attempt, error: ProviderError) -> Attempt:
        """Find a target that carries on where `broken` broke off; CompletionFailed when there is none."""
        end = interrupted(broken.target.name, error, self._delivered.characters)
        is_joinable = self._request.may_continue and self._delivered.is_plain and error.moves_on
        if not is_joinable or len(self._answering) > MOST_SEAMS or self._attempts >= self._request.attempt_budget:
            raise end
        self._line.leave(broken.target, error)
        text, characters = self._delivered.text, self._delivered.characters
        try:
            self._check_deadline()
            attempt = await self._find_answer(continuation_of(self._request.chat, text))
        except CompletionFailed as failure:
            raise end from failure
        self._outbox.put_event(_continued(attempt, error, characters))
        self._parts.metrics.continuations.labels(broken.target.name, attempt.target.name).inc()
        return attempt

    def _fail(self, attempt: Attempt, error: ProviderError) -> None:
        self._failures.append((attempt.target, error))
        self._conclude(attempt, error)

    def _conclude(self, attempt: Attempt, error: ProviderError | None) -> routerpb.Attempt:
        """Report an attempt that ended now, to everyone who learns from it."""
        self._running.remove(attempt)
        name = attempt.target.name
        self._parts.latencies.end(name)
        # Silence that was cut short tells how slow the target is at least.
        is_silent = isinstance(error, ProviderTimeout | HedgeLost)
        seconds = attempt.age if is_silent and not attempt.is_committed else attempt.time_to_first_chunk
        if seconds is not None:
            self._parts.latencies.observe(name, seconds)
        if error is None:
            attempt.permit.succeeded()
        else:
            attempt.permit.failed(error)
        record = attempt.record(error)
        self._observe(attempt, record, error)
        finished = routerpb.AttemptFinished(attempt=record)
        self._outbox.put_event(routerpb.StreamCompletionResponse(attempt_finished=finished))
        return record

    def _pause_before_retry(self, error: ProviderError, tries: int) -> float | None:
        """Return how long to wait before the same target is tried again; None: it is not."""
        if self._request.attempt_budget - self._attempts <= self._line.waiting:
            return None  # what is left of the budget belongs to the targets that were not asked yet
        pause = pause_before_retry(error, tries, self._parts.chance)
        if pause is None or self._loop.time() + pause + LEAST_SECONDS >= self._request.deadline:
            return None
        return pause

    def _check_deadline(self) -> None:
        if self._loop.time() + LEAST_SECONDS >= self._request.deadline:
            raise deadline_exceeded(self._named_failures())

    def _named_failures(self) -> list[tuple[str, ProviderError]]:
        return [(target.name, error) for target, error in self._failures]

    def _finished(self, last: Attempt) -> routerpb.StreamCompletionResponse:
        answer = last.answer
        sources = {record.usage_source for record in self._answering}
        is_estimated = routerpb.USAGE_SOURCE_ESTIMATED in sources
        return routerpb.StreamCompletionResponse(
            finished=routerpb.Finished(
                finish_reasons=[answer.finish_reasons[index] for index in sorted(answer.finish_reasons)],
                response_model=answer.response_model or last.target.model,
                usage=_sum([Usage.from_proto(record.usage) for record in self._answering]).to_proto(),
                usage_source=routerpb.USAGE_SOURCE_ESTIMATED if is_estimated else routerpb.USAGE_SOURCE_REPORTED,
                system_fingerprint=answer.system_fingerprint,
            )
        )

    def _observe(self, attempt: Attempt, record: routerpb.Attempt, error: ProviderError | None) -> None:
        outcome = routerpb.Outcome.Name(record.outcome).removeprefix("OUTCOME_").lower()
        metrics = self._parts.metrics
        metrics.attempts.labels(record.provider, record.target, outcome).inc()
        if attempt.time_to_first_chunk is not None:
            metrics.time_to_first_chunk.labels(record.target).observe(attempt.time_to_first_chunk)
        if error is None or isinstance(error, HedgeLost | CallerGone):
            return
        if error.needs_operator:
            metrics.target_refusals.labels(record.target, error.code).inc()
        log.warning(
            "attempt_failed",
            attempt_number=record.attempt_number,
            target=record.target,
            outcome=outcome,
            reason=error.code,
            http_status=record.http_status,
            cause=type(error.__cause__).__name__ if error.__cause__ else None,
        )


async def _stop(contenders: Mapping[asyncio.Task[None], Attempt]) -> None:
    """Cancel attempts that are being opened and close those that were opened at the very same moment."""
    for task in contenders:
        task.cancel()
    if contenders:
        await asyncio.wait(contenders)
    for attempt in contenders.values():
        await attempt.close()


def _sum(usages: list[Usage]) -> Usage:
    """Add up the counts of several attempts; a count that one of them does not know is unknown."""
    if len(usages) == 1:
        return usages[0]
    totals: dict[str, int | None] = {}
    for name in Usage.__slots__:
        counts = [getattr(usage, name) for usage in usages]
        totals[name] = None if None in counts else sum(counts)
    return Usage(**totals)


def _continued(attempt: Attempt, error: ProviderError, characters: int) -> routerpb.StreamCompletionResponse:
    return routerpb.StreamCompletionResponse(
        continued=routerpb.Continued(
            attempt_number=attempt.number,
            target=attempt.target.name,
            provider=attempt.target.provider,
            target_model=attempt.target.model,
            after_characters=characters,
            reason=error.code,
        )
    )
