"""One call to one target for vectors."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from llm_router.breaker.permit import Permit
from llm_router.chain.attempt import Attempt
from llm_router.errors import AnswerTooLarge, ContextTooLong, ProviderError, StreamBroken
from llm_router.providers.openai.embedder import Embedder, EmbeddingsReply
from llm_router.providers.openai.embeddings import EmbeddingsAnswer
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.target import Target
from pricing.usage import Usage
from servicekit.rpc import MAX_MESSAGE_BYTES
from spillway.router.v1 import router_pb2 as routerpb

# All vectors travel to the edge in one message, which holds the records of the attempts too.
_MAX_VECTOR_BYTES = MAX_MESSAGE_BYTES - 1024 * 1024
# As base64 the largest set of vectors fits in well; as decimal numbers half of it does.
_MAX_REPLY_BYTES = 64 * 1024 * 1024
# What is more than this for each input is no vector: 16,000 decimal numbers are less.
_MAX_BYTES_PER_INPUT = 512 * 1024
_MAX_OTHER_BYTES = 1024 * 1024
# One after the other: the largest takes a second, and a quarter of a gigabyte meanwhile.
_replies = ThreadPoolExecutor(1, "embeddings")


class EmbedAttempt(Attempt):
    """Runs once, by `run`."""

    def __init__(
        self, number: int, target: Target, permit: Permit, *, deadline: float, input_tokens: int, inputs: int
    ) -> None:
        """`inputs` is how many vectors are expected."""
        super().__init__(number, target, permit, timeouts=target.timeouts, deadline=deadline, input_tokens=input_tokens)
        self._inputs = inputs
        self._reply: EmbeddingsReply | None = None
        self.answer = EmbeddingsAnswer(OpenAIUsage(target.billed_by, target.model))
        """What the provider answered; empty before that."""

    @property
    def reply(self) -> EmbeddingsReply | None:
        """See `Attempt.reply`."""
        return self._reply

    @property
    def response_model(self) -> str:
        """See `Attempt.response_model`."""
        return self.answer.response_model

    @property
    def finish_reason(self) -> routerpb.FinishReason.ValueType:
        """Vectors have none."""
        return routerpb.FINISH_REASON_UNSPECIFIED

    async def run(self, embedder: Embedder, body: dict[str, Any]) -> None:
        """Call the target; `answer` has good vectors when this returns. ProviderError when it fails."""
        try:
            async with AsyncExitStack() as opening:
                entering = opening.enter_async_context(embedder.open_embeddings(body))
                self._reply = await self.timers.limit(entering, "no answer began in time")
                reply = await self._read(self._reply)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(_replies, self.answer.read, reply, self._inputs)
        except ContextTooLong as error:
            error.param = "input"  # the prompt of a chat has another name
            raise
        vectors = self.answer.vectors
        if len(vectors) * len(vectors[0]) > _MAX_VECTOR_BYTES:
            raise self._too_large()

    async def _read(self, reply: EmbeddingsReply) -> bytes:
        """Read the reply to its end, each part within its timer."""
        body = bytearray()
        while (chunk := await self.timers.limit(reply.read())) is not None:
            self.timers.mark_first_content()
            self.timers.received()
            body += chunk
            if len(body) > _MAX_REPLY_BYTES:
                raise self._too_large()
            if len(body) > _MAX_OTHER_BYTES + self._inputs * _MAX_BYTES_PER_INPUT:
                raise StreamBroken("the reply is longer than its vectors can be")
        return bytes(body)

    def _too_large(self) -> AnswerTooLarge:
        message = f"the vectors of {self._inputs} inputs are too large to be sent at once; send fewer inputs"
        return AnswerTooLarge(message, http_status=200, param="input")

    @property
    def total_disagrees(self) -> tuple[int, int] | None:
        """See `Attempt.total_disagrees`."""
        return self.answer.counting.total_disagrees

    def reported_usage(self, error: ProviderError | None) -> Usage | None:
        """What was billed is known also when the vectors are of no use."""
        return self.answer.usage

    def estimated_usage(self) -> Usage:
        """Vectors have no output tokens."""
        return Usage(input_tokens=self.input_tokens, output_tokens=0)
