"""One call to one target: its timers, its facts, its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from llm_router.breaker.breakers import Permit
from llm_router.chain.outbox import Outbox
from llm_router.errors import DeadlineReached, ProviderError, ProviderTimeout, StreamBroken
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.provider import Answer, AnswerStream, Content, Provider
from llm_router.routes.file import Target
from llm_router.strategies.continuation import Delivered
from llm_router.strategies.splice import Seam
from pricing.estimate import estimate_tokens
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

# Once every choice has its finish reason, usage and the end marker follow at once or not at all.
_TRAILER_SECONDS = 2.0
# The HTTP body ends right behind the end marker; only when it was read to its end can the connection serve again.
_LINGER_SECONDS = 0.02


class Attempt:
    """`open` it up to its first content, then `pass_on` what comes, or `close` it; `record` tells of it afterwards."""

    def __init__(
        self,
        number: int,
        target: Target,
        permit: Permit,
        *,
        deadline: float,
        input_tokens: int,
        seam: Seam | None,
        frame_interval: float,
    ) -> None:
        """`deadline` is on the loop's clock; `input_tokens` is the estimate for a provider that reports none.

        An attempt that carries on an answer has its content behind the `seam`.

        After the first content the target is read once in `frame_interval` seconds.
        """
        self.number = number
        self.target = target
        self.permit = permit
        self._deadline = deadline
        self._input_tokens = input_tokens
        self._frame_interval = frame_interval
        self._loop = asyncio.get_running_loop()
        self._started_wall = time.time_ns()
        self._started = self._loop.time()
        self._due = self._started + target.timeouts.first_content_seconds
        self._first_content: float | None = None
        self._opening = AsyncExitStack()
        self._stream: AnswerStream | None = None
        self._seam = seam
        self._waiting: list[Content] = []
        self._is_over = False
        self._is_whole = False
        self._received_bytes = 0
        self.is_committed = False
        """Whether content was sent on: from then on no other target may answer in its place."""

    @property
    def answer(self) -> Answer:
        """What the provider told; empty before it answered."""
        return self._stream.answer if self._stream else Answer()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return self._loop.time() - self._started

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the start to the first content; None when none came."""
        return None if self._first_content is None else self._first_content - self._started

    def started(self, router_address: str) -> routerpb.StreamCompletionResponse:
        """Return the event that announces this attempt, which the router at that address makes."""
        event = routerpb.StreamCompletionResponse()
        event.started.attempt_number = self.number
        event.started.target = self.target.name
        event.started.provider = self.target.provider
        event.started.target_model = self.target.model
        event.started.started_at.FromNanoseconds(self._started_wall)
        event.started.router_address = router_address
        return event

    async def open(self, provider: Provider, chat: ChatBody) -> None:
        """Call the target and wait for its first content, behind the seam if there is one, or for its whole answer.

        ProviderError when it fails. Then, and when it is cancelled, the connection is closed.
        """
        try:
            async with self._until(self._due, "no answer began in time"):
                self._stream = await self._opening.enter_async_context(provider.open(chat))
            while not self._waiting and not self._is_whole:
                self._waiting = await self._read(self._stream)
        except BaseException:
            await self.close()
            raise

    async def commit(self, outbox: Outbox, delivered: Delivered) -> None:
        """Send on what has come so far: this attempt answers. Does nothing when that was done already."""
        if self._waiting:
            self.is_committed = True
            waiting, self._waiting = self._waiting, []
            outbox.answer_from(self.number)
            delivered.add(waiting)
            await outbox.put_content(waiting)

    async def pass_on(self, outbox: Outbox, delivered: Delivered) -> None:
        """Send content on until the answer is whole. ProviderError when it breaks off. Closes the connection."""
        assert self._stream is not None  # noqa: S101 - it was opened
        try:
            await self.commit(outbox, delivered)
            self._stream.read_at_most_every(self._frame_interval)
            while not self._is_whole:
                contents = await self._read(self._stream)
                if contents:
                    delivered.add(contents)
                    await outbox.put_content(contents)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connection, unless the answer was read to its end."""
        await self._opening.aclose()

    async def _read(self, stream: AnswerStream) -> list[Content]:
        """Wait for bytes and return what they add to the answer, maybe nothing; sets `_is_whole` at its end."""
        if self._is_over:
            await _read_to_end(stream, self._loop.time() + _LINGER_SECONDS)
            self._end(stream.answer)
            return []
        if stream.answer.is_whole:
            self._due = min(self._due, self._loop.time() + _TRAILER_SECONDS)
        try:
            async with self._until(self._due, "no content in time" if self._first_content is None else "it stalled"):
                contents = await stream.read()
        except (ProviderTimeout, StreamBroken):
            if not stream.answer.is_whole:
                raise
            self._end(stream.answer)  # only usage and the end marker are missing: nothing of the answer
            return []
        self._is_over = contents is None or stream.answer.has_ended
        return self._take(contents) if contents else []

    def _take(self, contents: list[Content]) -> list[Content]:
        self._received_bytes += sum(len(content) for content in contents)
        self._due = self._loop.time() + self.target.timeouts.gap_seconds
        if self._seam is not None:
            contents = self._seam.join(contents)
        if contents and self._first_content is None:
            self._first_content = self._loop.time()
            self.permit.first_content()
        return contents

    def _end(self, answer: Answer) -> None:
        if not answer.is_whole:
            raise StreamBroken("the answer ended without its end")
        if self._seam is not None:
            self._seam.require()
        self._is_whole = True

    @asynccontextmanager
    async def _until(self, due: float, message: str) -> AsyncIterator[None]:
        """Bound what is done inside by the timer that is `due`, the target's stream timer and the deadline of all."""
        stream_due = self._started + self.target.timeouts.stream_seconds
        if stream_due < due:
            due, message = stream_due, "the answer took longer than this target may take"
        try:
            async with asyncio.timeout_at(min(due, self._deadline)):
                yield
        except TimeoutError as error:
            # The request's own clock is no fault of the target's.
            raise (DeadlineReached if self._deadline < due else ProviderTimeout)(message) from error

    def record(self, error: ProviderError | None) -> routerpb.Attempt:
        """Return the record of this attempt, which ended now, well when `error` is None."""
        answer = self.answer
        record = routerpb.Attempt(
            attempt_number=self.number,
            target=self.target.name,
            provider=self.target.provider,
            target_model=self.target.model,
            response_model=answer.response_model,
            outcome=self._outcome(error),
            error_code=error.code if error else "",
            http_status=self._http_status(error),
            provider_request_id=self._stream.provider_request_id if self._stream else "",
            finish_reason=self._finish_reason(error),
        )
        record.started_at.FromNanoseconds(self._started_wall)
        record.duration.FromNanoseconds(int(self.age * 1e9))
        if self.time_to_first_chunk is not None:
            record.time_to_first_chunk.FromNanoseconds(int(self.time_to_first_chunk * 1e9))
        self._record_usage(record, error)
        return record

    def _finish_reason(self, error: ProviderError | None) -> routerpb.FinishReason.ValueType:
        if error is None:
            return self.answer.finish_reasons[0]
        is_cancelled = error.outcome == routerpb.OUTCOME_CLIENT_CANCELLED
        return routerpb.FINISH_REASON_CANCELLED if is_cancelled else routerpb.FINISH_REASON_ERROR

    def _outcome(self, error: ProviderError | None) -> routerpb.Outcome.ValueType:
        if error is None:
            return routerpb.OUTCOME_OK
        is_broken = self.is_committed and error.outcome != routerpb.OUTCOME_CLIENT_CANCELLED
        return routerpb.OUTCOME_INTERRUPTED if is_broken else error.outcome

    def _http_status(self, error: ProviderError | None) -> int:
        if self._stream is not None:
            return self._stream.http_status
        return error.http_status if error else 0

    def _record_usage(self, record: routerpb.Attempt, error: ProviderError | None) -> None:
        """Fill in what is billed: reported by the provider, estimated where it did not say, absent when nothing is."""
        reported = self.answer.usage
        if error is None and reported is not None and reported.output_tokens is not None:
            record.usage.CopyFrom(reported.to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_REPORTED
        elif error is None or error.was_billable or self.is_committed:
            record.usage.CopyFrom(self._estimated(reported or Usage()).to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_ESTIMATED

    def _estimated(self, reported: Usage) -> Usage:
        """Keep the counts that came and estimate the others; a count of output that came early is a lower bound."""
        input_tokens = reported.input_tokens
        return Usage(
            input_tokens=self._input_tokens if input_tokens is None else input_tokens,
            output_tokens=max(estimate_tokens(self._received_bytes), reported.output_tokens or 0),
            provider_cache_read_input_tokens=reported.provider_cache_read_input_tokens,
            provider_cache_write_input_tokens=reported.provider_cache_write_input_tokens,
            reasoning_output_tokens=reported.reasoning_output_tokens,
        )


async def _read_to_end(stream: AnswerStream, due: float) -> None:
    """Read what follows the end marker, which is nothing; give up at `due`, at the price of the connection."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout_at(due):
            while await stream.read() is not None:
                pass
