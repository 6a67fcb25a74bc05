"""One call to one target for vectors: its timers, its facts, its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from llm_router.errors import AnswerTooLarge, DeadlineReached, ProviderError, ProviderTimeout
from llm_router.providers.openai.embedder import Embedder, EmbeddingsReply
from llm_router.providers.openai.embeddings import EmbeddingsAnswer
from llm_router.routes.file import Target
from pricing.usage import Usage
from servicekit.rpc import MAX_MESSAGE_BYTES
from spillway.router.v1 import router_pb2 as routerpb

# All vectors travel to the edge in one message, which holds the records of the attempts too.
_MOST_VECTOR_BYTES = MAX_MESSAGE_BYTES - 1024 * 1024
# As base64 the most vectors fit in well; as decimal numbers half of them do.
_LONGEST_REPLY_BYTES = 64 * 1024 * 1024


class EmbedAttempt:
    """Runs once, by `run`; `record` tells of it afterwards."""

    def __init__(self, number: int, target: Target, *, deadline: float, inputs: int, input_tokens: int) -> None:
        """`deadline` is on the loop's clock; `input_tokens` is the estimate for a provider that does not count."""
        self._number = number
        self._target = target
        self._deadline = deadline
        self._inputs = inputs
        self._input_tokens = input_tokens
        self._loop = asyncio.get_running_loop()
        self._started_wall = time.time_ns()
        self._started = self._loop.time()
        self._first_bytes: float | None = None
        self._reply: EmbeddingsReply | None = None
        self.answer = EmbeddingsAnswer()
        """What the provider told; empty before it answered."""

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return self._loop.time() - self._started

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the start to the first bytes of the vectors; None when none came."""
        return None if self._first_bytes is None else self._first_bytes - self._started

    def started(self) -> routerpb.Started:
        """Return what announces this attempt."""
        started = routerpb.Started(
            attempt_number=self._number,
            target=self._target.name,
            provider=self._target.provider,
            target_model=self._target.model,
        )
        started.started_at.FromNanoseconds(self._started_wall)
        return started

    async def run(self, embedder: Embedder, body: dict[str, Any]) -> None:
        """Call the target; `answer` has good vectors when this returns. ProviderError when it fails."""
        first_bytes_due = self._started + self._target.timeouts.first_content_seconds
        async with AsyncExitStack() as opening:
            async with self._until(first_bytes_due, "no answer began in time"):
                self._reply = await opening.enter_async_context(embedder.open_embeddings(body))
            reply = await self._read(self._reply, first_bytes_due)
        await asyncio.to_thread(self.answer.read, reply, self._inputs)
        vectors = self.answer.vectors
        if len(vectors) * len(vectors[0]) > _MOST_VECTOR_BYTES:
            raise self._too_large()

    async def _read(self, reply: EmbeddingsReply, first_bytes_due: float) -> bytes:
        """Read the reply to its end, each part within its timer."""
        body = bytearray()
        due = first_bytes_due
        while True:
            async with self._until(due, "it stalled" if body else "no content in time"):
                chunk = await reply.read()
            if chunk is None:
                return bytes(body)
            if self._first_bytes is None:
                self._first_bytes = self._loop.time()
            body += chunk
            if len(body) > _LONGEST_REPLY_BYTES:
                raise self._too_large()
            due = self._loop.time() + self._target.timeouts.gap_seconds

    @asynccontextmanager
    async def _until(self, due: float, message: str) -> AsyncIterator[None]:
        """Bound what is done inside by the timer that is `due`, the target's stream timer and the deadline of all."""
        stream_due = self._started + self._target.timeouts.stream_seconds
        if stream_due < due:
            due, message = stream_due, "the answer took longer than this target may take"
        try:
            async with asyncio.timeout_at(min(due, self._deadline)):
                yield
        except TimeoutError as error:
            # The request's own clock is no fault of the target's.
            raise (DeadlineReached if self._deadline < due else ProviderTimeout)(message) from error

    def _too_large(self) -> AnswerTooLarge:
        message = f"the vectors of {self._inputs} inputs are too large to be sent at once; send fewer inputs"
        return AnswerTooLarge(message, http_status=200, param="input")

    def record(self, error: ProviderError | None) -> routerpb.Attempt:
        """Return the record of this attempt, which ended now, well when `error` is None."""
        record = routerpb.Attempt(
            attempt_number=self._number,
            target=self._target.name,
            provider=self._target.provider,
            target_model=self._target.model,
            response_model=self.answer.response_model,
            outcome=error.outcome if error else routerpb.OUTCOME_OK,
            error_code=error.code if error else "",
            http_status=self._http_status(error),
            provider_request_id=self._reply.provider_request_id if self._reply else "",
            finish_reason=routerpb.FINISH_REASON_ERROR if error else routerpb.FINISH_REASON_UNSPECIFIED,
        )
        record.started_at.FromNanoseconds(self._started_wall)
        record.duration.FromNanoseconds(int(self.age * 1e9))
        if self.time_to_first_chunk is not None:
            record.time_to_first_chunk.FromNanoseconds(int(self.time_to_first_chunk * 1e9))
        self._record_usage(record, error)
        return record

    def _http_status(self, error: ProviderError | None) -> int:
        if self._reply is not None:
            return self._reply.http_status
        return error.http_status if error else 0

    def _record_usage(self, record: routerpb.Attempt, error: ProviderError | None) -> None:
        """Fill in what is billed: what the provider counted, an estimate where it did not, nothing when it refused."""
        if self.answer.usage is not None:
            record.usage.CopyFrom(self.answer.usage.to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_REPORTED
        elif error is None or error.was_billable:
            record.usage.CopyFrom(Usage(input_tokens=self._input_tokens, output_tokens=0).to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_ESTIMATED
