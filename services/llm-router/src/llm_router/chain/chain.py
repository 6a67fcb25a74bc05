"""Step 5 of the request path: the targets of a route in order, until one answers.

Before the commit point, the first content that is sent on, a failure leads to a retry or to the next target. After
it the stream ends with an honest error, unless the caller allows another target to continue the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from llm_router.breaker.permit import Permit
from llm_router.chain.abilities import able_targets
from llm_router.chain.attempts import Attempts, ChainDependencies, Limits
from llm_router.chain.chat_attempt import ChatAttempt
from llm_router.chain.outbox import Outbox
from llm_router.chain.recordable import recordable_text
from llm_router.errors import HedgeLost, ProviderError
from llm_router.failures import CompletionFailed, interrupted
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.provider import Provider
from llm_router.quotable import without_keys
from llm_router.routes.file import Route
from llm_router.strategies.balance import order_targets
from llm_router.strategies.continuation import MAX_CONTINUATIONS, Delivered, continuation_of
from llm_router.strategies.hedging import hedge_delay
from llm_router.strategies.splice import Splice
from llm_router.target import Target
from pricing.estimate import estimate_tokens
from pricing.usage import FIELDS, TEXT_FIELDS, Usage
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the chain needs to know of a request."""

    route: Route
    chat: ChatBody
    input_tokens: int
    """An estimate, for providers that report none."""
    limits: Limits
    may_continue: bool
    """Whether another target may continue an answer that broke off."""


class Chain:
    """Runs one request over the targets of its route."""

    def __init__(
        self,
        request: ChatRequest,
        providers: Mapping[Target, Provider],
        outbox: Outbox,
        dependencies: ChainDependencies,
    ) -> None:
        """`providers` has an entry for each target of the route; the events of the request go into `outbox`.

        CompletionFailed when the routes file says of each target that it lacks what the request needs.
        """
        self._request = request
        self._providers = providers
        self._outbox = outbox
        self._dependencies = dependencies
        ordered = order_targets(request.route, dependencies.latencies, dependencies.rng)
        targets = able_targets(ordered, request.chat.openai)
        self._attempts: Attempts[ChatAttempt] = Attempts(targets, request.limits, dependencies, self._report)
        self._delivered = Delivered(keeps_text=request.may_continue)
        self._answering: list[routerpb.Attempt] = []  # the records of the attempts whose content was sent on

    async def run(self) -> None:
        """Run to the end: the last event is `finished`, or CompletionFailed says why there is none.

        When it is cancelled, the last events are the records of the attempts that were open.
        """
        hedge = self._request.route.hedge
        if hedge is not None:
            self._dependencies.allowances.add_request(self._request.route.name, hedge)
        try:
            attempt = await self._find_answer(self._request.chat)
            while (error := await self._pass_on(attempt)) is not None:
                attempt = await self._continue(attempt, error)
            self._outbox.put_event(self._finished(attempt))
        finally:
            # Only when cancelled. What was spent is reported first: closing takes time, and may be cancelled as well.
            for stopped in self._attempts.end_running():
                await stopped.close()

    async def _find_answer(self, chat: ChatBody) -> ChatAttempt:
        """Ask target after target; return the first attempt that has content to send on, or a whole answer."""

        async def ask(target: Target, permit: Permit) -> ChatAttempt | None:
            return await self._open(self._start(target, permit), chat)

        attempt = await self._attempts.find(ask)
        if attempt is None:
            raise self._attempts.exhausted()
        return attempt

    def _start(self, target: Target, permit: Permit) -> ChatAttempt:
        """Begin an attempt and announce it."""
        attempt = ChatAttempt(
            self._attempts.count + 1,
            target,
            permit,
            deadline=self._request.limits.deadline,
            input_tokens=self._request.input_tokens + estimate_tokens(len(self._delivered.text.encode())),
            # Each attempt has a splice of its own: what one has repeated, the next one repeats again.
            splice=Splice(self._delivered.text) if self._answering else None,
            thinks=self._request.chat.asks_for_thinking,
        )
        self._attempts.start(attempt)
        started = attempt.started(self._dependencies.router_address)
        self._outbox.put_event(routerpb.StreamCompletionResponse(started=started))
        return attempt

    async def _open(self, attempt: ChatAttempt, chat: ChatBody) -> ChatAttempt | None:
        """Bring `attempt`, or one that hedges it, to its first content; None when that fails."""
        hedge = self._request.route.hedge
        if hedge is not None and attempt.number == 1:
            return await self._race(attempt, hedge_delay(hedge, attempt.target.name, self._dependencies.latencies))
        try:
            await self._call(attempt, chat)
        except ProviderError as error:
            self._attempts.fail(attempt, error)
            return None
        return attempt

    async def _race(self, first: ChatAttempt, delay: float) -> ChatAttempt | None:
        """Open `first`; when it is silent for `delay` seconds, the next target too. The first content wins.

        The winner's content is sent on before the loser is cancelled and recorded.
        """
        contenders = {self._opening(first): first}
        second: ChatAttempt | None = None
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
            self._attempts.end(loser, error if isinstance(error, ProviderError) else HedgeLost())
        if second is not None:
            outcome = "won" if winner is second else "lost"
            self._dependencies.metrics.hedges.labels(second.target.name, outcome).inc()
        return winner

    def _opening(self, attempt: ChatAttempt) -> asyncio.Task[None]:
        return asyncio.create_task(self._call(attempt, self._request.chat))

    async def _call(self, attempt: ChatAttempt, chat: ChatBody) -> None:
        """Open `attempt` once its announcement is on its way: if this process is killed, the edge knows of it."""
        await self._outbox.sent()
        await attempt.open(self._providers[attempt.target], chat)

    async def _start_hedge(self, first: ChatAttempt) -> ChatAttempt | None:
        """Begin an attempt at the next target whose breaker is closed, if budget and allowance permit one."""
        route, allowances, candidates = (
            self._request.route.name,
            self._dependencies.allowances,
            self._attempts.candidates,
        )
        if self._attempts.remaining <= 0 or not candidates.waiting or not allowances.take(route):
            return None
        following = await candidates.next(insists=False)
        if following is None:
            allowances.put_back(route)
            return None
        target, permit = following
        log.info("hedge_started", target=target.name, silent_target=first.target.name)
        return self._start(target, permit)

    async def _first_content(self, contenders: dict[asyncio.Task[None], ChatAttempt]) -> ChatAttempt | None:
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
                self._attempts.fail(contender, error)
                if not error.moves_on:
                    return None
        return None

    async def _pass_on(self, attempt: ChatAttempt) -> ProviderError | None:
        """Send on the content of `attempt` to its end; return why it broke off, None when the answer is whole."""
        error: ProviderError | None = None
        try:
            await attempt.pass_on(self._outbox, self._delivered)
        except ProviderError as failure:
            error = failure
        self._answering.append(self._attempts.end(attempt, error))
        return error

    async def _continue(self, broken: ChatAttempt, error: ProviderError) -> ChatAttempt:
        """Find a target that continues where `broken` broke off; CompletionFailed when there is none."""
        end = interrupted(broken.target.name, error, self._delivered.characters)
        can_continue = self._request.may_continue and self._delivered.is_plain and error.moves_on
        if not can_continue or len(self._answering) > MAX_CONTINUATIONS or self._attempts.remaining <= 0:
            raise end
        self._attempts.candidates.leave(broken.target, error)
        text, characters = self._delivered.text, self._delivered.characters
        try:
            self._attempts.check_deadline()
            attempt = await self._find_answer(continuation_of(self._request.chat, text))
        except CompletionFailed as failure:
            raise end from failure
        self._outbox.put_event(_continued(attempt, error, characters))
        self._dependencies.metrics.continuations.labels(broken.target.name, attempt.target.name).inc()
        return attempt

    def _report(self, record: routerpb.Attempt) -> None:
        finished = routerpb.AttemptFinished(attempt=record)
        self._outbox.put_event(routerpb.StreamCompletionResponse(attempt_finished=finished))

    def _finished(self, last: ChatAttempt) -> routerpb.StreamCompletionResponse:
        answer, credential = last.answer, last.target.credential
        is_estimated = any(record.usage_source == routerpb.USAGE_SOURCE_ESTIMATED for record in self._answering)
        return routerpb.StreamCompletionResponse(
            finished=routerpb.Finished(
                finish_reasons=[answer.finish_reasons[index] for index in sorted(answer.finish_reasons)],
                response_model=recordable_text(without_keys(answer.response_model, credential)) or last.target.model,
                usage=_sum([Usage.from_proto(record.usage) for record in self._answering]).to_proto(),
                usage_source=routerpb.USAGE_SOURCE_ESTIMATED if is_estimated else routerpb.USAGE_SOURCE_REPORTED,
                system_fingerprint=recordable_text(without_keys(answer.system_fingerprint, credential)),
                response_fields=answer.encoded_fields(),
            )
        )


async def _stop(contenders: Mapping[asyncio.Task[None], ChatAttempt]) -> None:
    """Cancel attempts that are being opened and close those that were opened at the very same moment."""
    for task in contenders:
        task.cancel()
    if contenders:
        await asyncio.wait(contenders)
    for attempt in contenders.values():
        await attempt.close()


def _sum(usages: Sequence[Usage]) -> Usage:
    """Add up the counts of several attempts; a count of tokens that one of them does not know is unknown.

    Tiers, and units without a count, are those of any of them.
    """
    if len(usages) == 1:
        return usages[0]
    totals: dict[str, Any] = {}
    for name in FIELDS:
        values = [getattr(usage, name) for usage in usages]
        if name in TEXT_FIELDS:
            totals[name] = ",".join(dict.fromkeys(value for value in values if value)) or None
        elif name.endswith("tokens"):
            totals[name] = None if None in values else sum(values)
        else:
            totals[name] = sum(value for value in values if value is not None) or None
    return Usage(**totals)


def _continued(attempt: ChatAttempt, error: ProviderError, characters: int) -> routerpb.StreamCompletionResponse:
    return routerpb.StreamCompletionResponse(
        continued=routerpb.Continued(
            attempt_number=attempt.number,
            target=attempt.target.name,
            provider=attempt.target.billed_by.name,
            target_model=attempt.target.model,
            after_characters=characters,
            reason=error.code,
        )
    )
