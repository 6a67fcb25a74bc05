"""Embeddings: the targets of a route in order, until one has turned every input into a vector.

The rules are those of a chat before its first content. One is added: vectors of different models lie in different
spaces and must not be mixed, so only targets with the model of the first one may answer (ADR 9).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import orjson
import structlog

from llm_router.decision import LEAST_SECONDS, exhausted, may_be_larger, pause_before_retry
from llm_router.embed_attempt import EmbedAttempt
from llm_router.errors import (
    CompletionFailed,
    ContextTooLong,
    ProviderError,
    callers_error,
    deadline_exceeded,
    no_embeddings,
)
from llm_router.metrics import Metrics
from llm_router.providers.embedding import Embedder
from llm_router.routes import Target
from pricing.usage import estimate_input_tokens
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

Announce = Callable[[routerpb.Started], Awaitable[None]]


@dataclass(frozen=True)
class Candidates:
    """The targets that may answer one request for vectors."""

    in_order: Sequence[tuple[Target, Embedder]]
    """At least one; all of one model."""
    left_out: Sequence[Target]
    """They have embeddings of another model."""


@dataclass(frozen=True)
class EmbedCall:
    """What has to be done."""

    candidates: Candidates
    body: dict[str, Any]
    """An OpenAI embeddings body; the model and the encoding are set by the provider."""
    inputs: int
    attempt_budget: int
    """At most this many attempts over all targets."""
    deadline: float
    """On the event loop's clock."""


def candidates_among(route: str, targets: Sequence[tuple[Target, object]]) -> Candidates:
    """Choose from (target, its provider) those that may answer; CompletionFailed when nobody has embeddings."""
    able = [(target, provider) for target, provider in targets if isinstance(provider, Embedder)]
    if not able:
        raise no_embeddings(route)
    model = able[0][0].model
    return Candidates(
        in_order=[(target, embedder) for target, embedder in able if target.model == model],
        left_out=[target for target, _ in able if target.model != model],
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

    def __init__(self, call: EmbedCall, metrics: Metrics, *, jitter: random.Random, announce: Announce) -> None:
        """`announce` is told of the first attempt before it begins."""
        self._call = call
        self._metrics = metrics
        self._jitter = jitter
        self._announce = announce
        self._input_tokens = estimate_input_tokens(call.body["input"])
        self._loop = asyncio.get_running_loop()
        self._failures: list[tuple[str, ProviderError]] = []
        self.attempts: list[routerpb.Attempt] = []

    async def run(self) -> routerpb.EmbedResponse:
        """Return the answer of the first target that gives a good one; CompletionFailed when none does."""
        candidates = list(self._call.candidates.in_order)
        while candidates:
            target, embedder = candidates.pop(0)
            answer = await self._ask(target, embedder, targets_left=len(candidates))
            if isinstance(answer, routerpb.EmbedResponse):
                return answer
            if not answer.moves_on:
                raise callers_error(answer)
            if isinstance(answer, ContextTooLong):
                candidates = [other for other in candidates if may_be_larger(other[0], target)]
            if self._loop.time() + LEAST_SECONDS >= self._call.deadline:
                raise deadline_exceeded(self._failures)
            if len(self.attempts) >= self._call.attempt_budget:
                break
            if candidates:
                self._metrics.fallbacks.labels(target.name, candidates[0][0].name, answer.code).inc()
        raise self._exhausted()

    # The place of the circuit breakers: `_ask` is where a target is admitted, or passed over for the next candidate.
    async def _ask(
        self, target: Target, embedder: Embedder, targets_left: int
    ) -> routerpb.EmbedResponse | ProviderError:
        """Try `target` until it answers or is given up; then return its last error."""
        tries = 0
        while True:
            tries += 1
            answer = await self._attempt(target, embedder)
            if isinstance(answer, routerpb.EmbedResponse):
                return answer
            pause = self._pause_before_retry(answer, tries, targets_left)
            if pause is None:
                return answer
            self._metrics.retries.labels(target.name, answer.code).inc()
            await asyncio.sleep(pause)

    async def _attempt(self, target: Target, embedder: Embedder) -> routerpb.EmbedResponse | ProviderError:
        """Make one attempt and record it; return the answer or why there is none."""
        attempt = EmbedAttempt(
            len(self.attempts) + 1,
            target,
            deadline=self._call.deadline,
            inputs=self._call.inputs,
            input_tokens=self._input_tokens,
        )
        if not self.attempts:
            await self._announce(attempt.started())
        error: ProviderError | None = None
        try:
            await attempt.run(embedder, self._call.body)
        except ProviderError as failure:
            error = failure
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

    def _pause_before_retry(self, error: ProviderError, tries: int, targets_left: int) -> float | None:
        if self._call.attempt_budget - len(self.attempts) <= targets_left:
            return None  # what is left of the budget belongs to the targets that were not asked yet
        pause = pause_before_retry(error, tries, self._jitter)
        if pause is None or self._loop.time() + pause + LEAST_SECONDS >= self._call.deadline:
            return None
        return pause

    def _exhausted(self) -> CompletionFailed:
        """Say that nobody answered, and that others were not asked because their vectors are no substitute."""
        failure = exhausted(self._failures)
        left_out = self._call.candidates.left_out
        if left_out:
            model = self._call.candidates.in_order[0][0].model
            names = ", ".join(target.name for target in left_out)
            failure.detail.message += f"; not asked, because vectors of {model!r} cannot be mixed with others: {names}"
        return failure

    def _observe(self, attempt: EmbedAttempt, record: routerpb.Attempt, error: ProviderError | None) -> None:
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


def _are_tokens(given: object) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


def _bad_body(message: str) -> CompletionFailed:
    detail = routerpb.CompletionError(code="invalid_request", message=message, param="input")
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)
