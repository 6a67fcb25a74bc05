"""Embeddings: the targets of a route in order, until one has turned every input into a vector.

The rules are those of a chat before its first content. One is added: vectors of different models lie in different
spaces and must not be mixed, so only targets of one model may answer (ADR 9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import orjson
import structlog

from llm_router.breaker.breakers import Permit
from llm_router.chain.candidates import Line
from llm_router.chain.chain import Parts
from llm_router.chain.decision import LEAST_SECONDS, exhausted, pause_before_retry
from llm_router.chain.embed_attempt import EmbedAttempt
from llm_router.errors import (
    CompletionFailed,
    ContextTooLong,
    ProviderError,
    ProviderTimeout,
    callers_error,
    deadline_exceeded,
    no_embeddings,
)
from llm_router.providers.openai.embedder import Embedder
from llm_router.routes.file import Route, Target
from llm_router.strategies.balance import order_targets
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

Announce = Callable[[routerpb.Started], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The targets that may answer one request for vectors: those of the model of the first that has embeddings."""

    model: str
    in_order: Sequence[Target]
    """At least one."""
    embedders: Mapping[Target, Embedder]
    others: Sequence[Target]
    """They have embeddings too, of other models."""


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """What has to be done."""

    candidates: Candidates
    body: dict[str, Any]
    """An OpenAI embeddings body; the model and the encoding are set by the provider."""
    inputs: int
    input_tokens: int
    """An estimate, for providers that report none."""
    attempt_budget: int
    """At most this many attempts over all targets."""
    deadline: float
    """On the event loop's clock."""


def candidates_for(route: Route, providers: Mapping[Target, object], parts: Parts) -> Candidates:
    """Choose the targets of `route` that may answer; CompletionFailed when none of them has embeddings.

    The model is that of the first in the file, whatever the lot or the latencies say of their order.
    """
    embedders = {target: each for target in route.targets if isinstance(each := providers[target], Embedder)}
    if not embedders:
        raise no_embeddings(route.name)
    model = next(iter(embedders)).model
    in_order = [target for target in order_targets(route, parts.latencies, parts.chance) if target in embedders]
    return Candidates(
        model=model,
        in_order=[target for target in in_order if target.model == model],
        embedders=embedders,
        others=[target for target in in_order if target.model != model],
    )


def read_body(body: bytes) -> tuple[dict[str, Any], int]:
    """Return the body and how many inputs it has; CompletionFailed when it is no embeddings body."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_body("the body is not JSON") from error
    given = parsed.get("input") if isinstance(parsed, dict) else None
    if isinstance(given, str) or _are_tokens(given):
        return parsed, 1
    if isinstance(given, list) and given and all(isinstance(each, str) or _are_tokens(each) for each in given):
        return parsed, len(given)
    raise _bad_body("the input is neither text, nor tokens, nor a list of either")


class Embedding:
    """The way of one request along its targets; `attempts` holds the record of each call that has ended."""

    def __init__(self, task: EmbedTask, parts: Parts, announce: Announce) -> None:
        """`announce` is told of the first attempt before it begins."""
        self._task = task
        self._parts = parts
        self._announce = announce
        self._line = Line(task.candidates.in_order, parts.breakers, parts.metrics)
        self._loop = asyncio.get_running_loop()
        self._failures: list[tuple[str, ProviderError]] = []
        self.attempts: list[routerpb.Attempt] = []

    async def run(self) -> routerpb.EmbedResponse:
        """Return the answer of the first target that gives a good one; CompletionFailed when none does."""
        while (following := await self._line.next()) is not None:
            answer = await self._ask(*following)
            if answer is not None:
                return answer
            if len(self.attempts) >= self._task.attempt_budget:
                break
        raise self._exhausted()

    async def _ask(self, target: Target, permit: Permit | None) -> routerpb.EmbedResponse | None:
        """Try `target` until it answers or is given up (None); CompletionFailed when no other could do better."""
        tries = 0
        while permit is not None:
            tries += 1
            answer = await self._attempt(target, permit)
            if isinstance(answer, routerpb.EmbedResponse):
                return answer
            if not answer.moves_on:
                raise callers_error(answer)
            if self._loop.time() + LEAST_SECONDS >= self._task.deadline:
                raise deadline_exceeded(self._failures)
            pause = self._pause_before_retry(answer, tries)
            if pause is None:
                self._line.leave(target, answer)
                return None
            self._parts.metrics.retries.labels(target.name, answer.code).inc()
            await asyncio.sleep(pause)
            permit = await self._line.again(target)
        return None

    async def _attempt(self, target: Target, permit: Permit) -> routerpb.EmbedResponse | ProviderError:
        """Make one attempt and report it to everyone who learns from it; return the answer or why there is none."""
        attempt = EmbedAttempt(
            len(self.attempts) + 1,
            target,
            deadline=self._task.deadline,
            inputs=self._task.inputs,
            input_tokens=self._task.input_tokens,
        )
        error: ProviderError | None = None
        self._parts.latencies.begin(target.name)
        try:
            with permit:
                if not self.attempts:
                    await self._announce(attempt.started())
                try:
                    await attempt.run(self._task.candidates.embedders[target], self._task.body)
                    permit.succeeded()
                except ProviderError as failure:
                    error = failure
                    if isinstance(error, ContextTooLong):
                        error.param = "input"  # a chat's prompt has another name
                    permit.failed(failure)
        finally:
            self._parts.latencies.end(target.name)
        record = attempt.record(error)
        self.attempts.append(record)
        self._observe(attempt, record, error)
        if error is not None:
            self._failures.append((target.name, error))
            return error
        return routerpb.EmbedResponse(
            vectors=attempt.answer.vectors,
            response_model=attempt.answer.response_model or target.model,
            usage=record.usage,
            usage_source=record.usage_source,
            attempts=self.attempts,
        )

    def _pause_before_retry(self, error: ProviderError, tries: int) -> float | None:
        if self._task.attempt_budget - len(self.attempts) <= self._line.waiting:
            return None  # what is left of the budget belongs to the targets that were not asked yet
        pause = pause_before_retry(error, tries, self._parts.chance)
        if pause is None or self._loop.time() + pause + LEAST_SECONDS >= self._task.deadline:
            return None
        return pause

    def _exhausted(self) -> CompletionFailed:
        """Say that nobody answered, and that others were not asked because their vectors are no substitute."""
        failure = exhausted(self._failures, self._line.passed_over)
        candidates = self._task.candidates
        if candidates.others:
            names = ", ".join(target.name for target in candidates.others)
            failure.detail.message += (
                f"; not asked, because vectors of {candidates.model!r} cannot be mixed with others: {names}"
            )
        return failure

    def _observe(self, attempt: EmbedAttempt, record: routerpb.Attempt, error: ProviderError | None) -> None:
        # Silence that was cut short tells how slow the target is at least.
        seconds = attempt.age if isinstance(error, ProviderTimeout) else attempt.time_to_first_chunk
        if seconds is not None:
            self._parts.latencies.observe(record.target, seconds)
        metrics = self._parts.metrics
        outcome = routerpb.Outcome.Name(record.outcome).removeprefix("OUTCOME_").lower()
        metrics.attempts.labels(record.provider, record.target, outcome).inc()
        if attempt.time_to_first_chunk is not None:
            metrics.time_to_first_chunk.labels(record.target).observe(attempt.time_to_first_chunk)
        if error is None:
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


def _are_tokens(given: object) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def _bad_body(message: str) -> CompletionFailed:
    detail = routerpb.CompletionError(code="invalid_request", message=message, param="input")
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)
