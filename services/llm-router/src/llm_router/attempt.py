"""One call to one target: its timers, its facts, its record."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from llm_router.errors import ProviderError, ProviderTimeout, StreamBroken
from llm_router.outbox import Outbox
from llm_router.providers.answer import Answer, AnswerStream, Content, Provider
from llm_router.routes import Target
from pricing.usage import Usage, estimate_tokens
from spillway.router.v1 import router_pb2 as routerpb

# Once every choice has its finish reason, usage and the end marker follow at once or not at all.
_TRAILER_SECONDS = 2.0
# The HTTP body ends right behind the end marker; only when it was read to its end can the connection serve again.
_LINGER_SECONDS = 0.02


class Attempt:
    """Runs once, by `run`; `record` tells of it afterwards."""

    def __init__(
        self, number: int, target: Target, *, deadline: float, prompt_bytes: int, frame_interval_seconds: float
    ) -> None:
        """`deadline` is on the loop's clock; `prompt_bytes` is what the estimate of input tokens goes by."""
        self._number = number
        self._target = target
        self._deadline = deadline
        self._prompt_bytes = prompt_bytes
        self._frame_interval = frame_interval_seconds
        self._loop = asyncio.get_running_loop()
        self._started_wall = time.time_ns()
        self._started = self._loop.time()
        self._first_content: float | None = None
        self._stream: AnswerStream | None = None
        self._received_bytes = 0
        self.delivered_characters = 0

    @property
    def is_committed(self) -> bool:
        """Whether content was sent on: from then on no other target may answer."""
        return self._first_content is not None

    @property
    def answer(self) -> Answer:
        """What the provider told; empty before it answered."""
        return self._stream.answer if self._stream else Answer()

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the start to the first content; None when none came."""
        return None if self._first_content is None else self._first_content - self._started

    def started(self) -> routerpb.StreamCompletionResponse:
        """Return the event that announces this attempt."""
        event = routerpb.StreamCompletionResponse()
        event.started.attempt_number = self._number
        event.started.target = self._target.name
        event.started.provider = self._target.provider
        event.started.target_model = self._target.model
        event.started.started_at.FromNanoseconds(self._started_wall)
        return event

    async def run(self, provider: Provider, body: dict[str, Any], outbox: Outbox) -> None:
        """Call the target and send its content on until the answer is whole. ProviderError when it fails."""
        first_content_due = self._started + self._target.timeouts.first_content_seconds
        opening = provider.open(body)
        try:
            async with asyncio.timeout_at(min(first_content_due, self._deadline)):
                self._stream = await opening.__aenter__()
        except TimeoutError as error:
            raise ProviderTimeout("no answer began in time") from error
        try:
            await self._pass_on(self._stream, outbox, first_content_due)
        finally:
            await opening.__aexit__(None, None, None)

    async def _pass_on(self, stream: AnswerStream, outbox: Outbox, first_content_due: float) -> None:
        due = first_content_due
        while True:
            if stream.answer.is_whole:
                due = min(due, self._loop.time() + _TRAILER_SECONDS)
            try:
                async with asyncio.timeout_at(min(due, self._deadline)):
                    contents = await stream.read()
            except TimeoutError as error:
                if stream.answer.is_whole:
                    return
                raise ProviderTimeout("the answer stalled" if self.is_committed else "no content in time") from error
            except StreamBroken:
                if stream.answer.is_whole and not stream.answer.has_ended:
                    return  # cut between the finish reason and the end marker: nothing of the answer is missing
                raise
            if contents:
                if not self.is_committed:
                    stream.read_at_most_every(self._frame_interval)
                self._note(contents)
                await outbox.put_content(contents)
                due = self._loop.time() + self._target.timeouts.gap_seconds
            if stream.answer.has_ended or contents is None:
                break
        await _read_to_end(stream, self._loop.time() + _LINGER_SECONDS)
        if not stream.answer.is_whole:
            raise StreamBroken("the answer ended without its end")

    def _note(self, contents: list[Content]) -> None:
        if self._first_content is None:
            self._first_content = self._loop.time()
        for content in contents:
            if isinstance(content, str):
                self.delivered_characters += len(content)
            self._received_bytes += len(content)

    def record(self, error: ProviderError | None) -> routerpb.Attempt:
        """Return the record of this attempt, which ended now, well when `error` is None."""
        answer = self.answer
        record = routerpb.Attempt(
            attempt_number=self._number,
            target=self._target.name,
            provider=self._target.provider,
            target_model=self._target.model,
            response_model=answer.response_model,
            outcome=self._outcome(error),
            error_code=error.code if error else "",
            http_status=self._http_status(error),
            provider_request_id=self._stream.provider_request_id if self._stream else "",
            finish_reason=routerpb.FINISH_REASON_ERROR if error else answer.finish_reasons[0],
        )
        record.started_at.FromNanoseconds(self._started_wall)
        record.duration.FromNanoseconds(int((self._loop.time() - self._started) * 1e9))
        if self.time_to_first_chunk is not None:
            record.time_to_first_chunk.FromNanoseconds(int(self.time_to_first_chunk * 1e9))
        self._record_usage(record, error)
        return record

    def _outcome(self, error: ProviderError | None) -> routerpb.Outcome.ValueType:
        if error is None:
            return routerpb.OUTCOME_OK
        return routerpb.OUTCOME_INTERRUPTED if self.is_committed else error.outcome

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
            input_tokens=estimate_tokens(self._prompt_bytes) if input_tokens is None else input_tokens,
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
