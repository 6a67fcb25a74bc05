"""The vectors of an embeddings request on their way from the llm-router.

They come in one piece and soon, so the call goes on to its end although its client may have left.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from edge.answer import Answer
from edge.conversation import EmbeddingInput
from edge.exchange.attempt_log import AttemptLog
from edge.exchange.completion import Reader
from edge.facts import RequestFacts
from edge.problems import Problem
from edge.router.client import RouterClient, attempts_of, problem_of
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb


class Embedding:
    """Made for one request; `fetch` it once."""

    first_content: float | None = None
    """Vectors have no first token."""

    def __init__(
        self, router: RouterClient, facts: RequestFacts, inputs: EmbeddingInput, has_begun: Callable[[], None]
    ) -> None:
        """`has_begun` is called when the router begins with an attempt."""
        self._router = router
        self._facts = facts
        self._inputs = inputs
        self._has_begun = has_begun
        self.log = AttemptLog(inputs.estimated_input_tokens)
        self.answer = Answer()
        self.continuations: list[routerpb.Continued] = []
        self.is_whole = False
        self.is_filtered = False

    async def replay(self, stored: Answer, _reader: Reader) -> None:
        """Take a stored answer."""
        self.answer, self.is_whole = stored, True

    def abandon(self) -> None:
        """Go on: what has begun is paid for."""

    async def fetch(self, _reader: Reader) -> None:
        """Ask the router; Problem when there is no answer."""
        try:
            await self._fetch()
        except Problem as problem:
            if problem.code != "overloaded":
                raise
            await self._fetch()  # the next router has its turn; the first one has done nothing

    async def _fetch(self) -> None:
        call = self._router.embed(self._facts, self._inputs)
        try:
            started = await call.started()
            self._has_begun()
            if started is not None:
                # If the router is lost, it may be at a later target; all targets of one request have one model.
                self.log.start(started)
            response = await call.answer()
        except grpc.aio.AioRpcError as error:
            self.log.report(attempts_of(error))
            raise problem_of(error) from error
        finally:
            call.cancel()
        self.log.report(response.attempts)
        last = response.attempts[-1] if response.attempts else routerpb.Attempt()
        self.answer = Answer(
            provider=last.provider,
            target_model=last.target_model,
            response_model=response.response_model,
            usage=Usage.from_proto(response.usage),
            vectors=response.vectors,
        )
        self.is_whole = True
