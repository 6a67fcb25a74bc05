"""Embeddings: the targets of a route in order, until one has turned every input into a vector.

The rules are those of a chat before its first content. One is added: vectors of different models lie in different
spaces and must not be mixed, so only targets of one model may answer (ADR 9).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_router.breaker.permit import Permit
from llm_router.chain.attempts import Attempts, ChainDependencies, Limits
from llm_router.chain.embed_attempt import EmbedAttempt
from llm_router.errors import ProviderError
from llm_router.failures import CompletionFailed, no_embeddings
from llm_router.providers.openai.embedder import Embedder
from llm_router.providers.provider import Provider
from llm_router.routes.file import Route
from llm_router.strategies.balance import order_targets
from llm_router.target import Target
from spillway.router.v1 import router_pb2 as routerpb

Announce = Callable[[routerpb.Started], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What has to be done."""

    route: Route
    body: dict[str, Any]
    """An OpenAI embeddings body; the model and the encoding are set by the provider."""
    inputs: int
    input_tokens: int
    """An estimate, for providers that report none."""
    limits: Limits


class Embedding:
    """Runs one request over the targets of its route."""

    def __init__(
        self,
        request: EmbedRequest,
        providers: Mapping[Target, Provider],
        dependencies: ChainDependencies,
        announce: Announce,
        records: list[routerpb.Attempt],
    ) -> None:
        """`announce` is called with the first attempt before it begins; `records` gets the record of each that ended.

        CompletionFailed when no target has embeddings.

        The model is that of the first target in the file that has embeddings, however they are balanced.
        """
        self._request = request
        self._announce = announce
        route = request.route
        self._embedders = {target: each for target in route.targets if isinstance(each := providers[target], Embedder)}
        if not self._embedders:
            raise no_embeddings(route.name)
        self._model = next(iter(self._embedders)).model
        targets = [
            target
            for target in order_targets(route, dependencies.latencies, dependencies.rng)
            if target in self._embedders and target.model == self._model
        ]
        self._records = records
        self._attempts: Attempts[EmbedAttempt] = Attempts(targets, request.limits, dependencies, records.append)

    async def run(self) -> routerpb.EmbedResponse:
        """Return the answer of the first target that gives a good one; CompletionFailed when none does."""
        try:
            answer = await self._attempts.find(self._ask)
        finally:
            self._attempts.end_running()  # only when cancelled
        if answer is None:
            raise self._exhausted()
        return answer

    async def _ask(self, target: Target, permit: Permit) -> routerpb.EmbedResponse | None:
        """Make one attempt; return its answer, None when it failed."""
        attempt = EmbedAttempt(
            self._attempts.count + 1,
            target,
            permit,
            deadline=self._request.limits.deadline,
            input_tokens=self._request.input_tokens,
            inputs=self._request.inputs,
        )
        self._attempts.start(attempt)
        if attempt.number == 1:
            await self._announce(attempt.started())
        try:
            await attempt.run(self._embedders[target], self._request.body)
        except ProviderError as error:
            self._attempts.fail(attempt, error)
            return None
        record = self._attempts.end(attempt, None)
        return routerpb.EmbedResponse(
            vectors=attempt.answer.vectors,
            response_model=record.response_model or target.model,
            usage=record.usage,
            usage_source=record.usage_source,
            attempts=self._records,
        )

    def _exhausted(self) -> CompletionFailed:
        """Return the error that no target answered; it names those that were not asked because of their model."""
        failure = self._attempts.exhausted()
        others = ", ".join(target.name for target in self._embedders if target.model != self._model)
        if others:
            failure.detail.message += (
                f"; not asked, because vectors of {self._model!r} cannot be mixed with others: {others}"
            )
        return failure
