"""One call to one target for an answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from llm_router.breaker.permit import Permit
from llm_router.chain.attempt import Attempt
from llm_router.chain.outbox import Outbox
from llm_router.errors import ConnectionLost, ProviderError, ProviderTimeout, StreamBroken
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.provider import Answer, AnswerStream, Content, Provider
from llm_router.strategies.continuation import Delivered
from llm_router.strategies.splice import Splice
from llm_router.target import Target
from pricing.estimate import estimate_tokens
from pricing.usage import Usage
from servicekit.sse import MAX_EVENT_BYTES
from spillway.router.v1 import router_pb2 as routerpb

# Behind the usage that follows the finish reasons the end marker comes at once or not at all.
_MARKER_SECONDS = 2.0
# How long usage is awaited from a server that may not end its answers; as a rule it takes some seconds at most.
_USAGE_SECONDS = 10.0
# Of all that one read of the network brings: it travels to the edge in one message, where a character has four bytes
# at most. An event has less, unless its characters need more room in our JSON than in its own.
_MAX_CONTENT_AT_ONCE = MAX_EVENT_BYTES + 64 * 1024
# The HTTP body ends right behind the end marker; only when it was read to its end can the connection serve again.
_LINGER_SECONDS = 0.02


class ChatAttempt(Attempt):
    """`open` it up to its first content, then `pass_on` what comes, or `close` it."""

    def __init__(
        self,
        number: int,
        target: Target,
        permit: Permit,
        *,
        deadline: float,
        input_tokens: int,
        splice: Splice | None,
        thinks: bool,
    ) -> None:
        """An attempt that continues an answer has a `splice`, and its content begins behind that.

        `thinks`: whether the request asks the model to think, which it may do in silence.
        """
        timeouts = target.timeouts.when_thinking() if thinks or target.thinks else target.timeouts
        super().__init__(number, target, permit, timeouts=timeouts, deadline=deadline, input_tokens=input_tokens)
        self._splice = splice
        self._opening = AsyncExitStack()
        self._stream: AnswerStream | None = None
        self._pending: list[Content] = []
        self._is_over = False
        self._is_whole = False
        self._received_bytes = 0

    @property
    def answer(self) -> Answer:
        """Everything the provider sent so far besides the content; empty before it answered."""
        return self._stream.answer if self._stream else Answer()

    @property
    def reply(self) -> AnswerStream | None:
        """See `Attempt.reply`."""
        return self._stream

    @property
    def response_model(self) -> str:
        """See `Attempt.response_model`."""
        return self.answer.response_model

    @property
    def finish_reason(self) -> routerpb.FinishReason.ValueType:
        """That of the first choice."""
        return self.answer.finish_reasons[0]

    async def open(self, provider: Provider, chat: ChatBody) -> None:
        """Call the target and wait for its first content, behind the splice if there is one, or for its whole answer.

        ProviderError when it fails. Then, and when it is cancelled, the connection is closed.
        """
        if chat.is_whole_only:
            self.timers.expect_whole()
        try:
            entering = self._opening.enter_async_context(provider.open(chat))
            self._stream = await self.timers.limit(entering, "no answer began in time")
            while not self._pending and not self._is_whole:
                self._pending = await self._read(self._stream)
        except BaseException:
            await self.close()
            raise

    async def commit(self, outbox: Outbox, delivered: Delivered) -> None:
        """Send on what has come so far: this attempt answers. Does nothing when that was done already."""
        if self._pending:
            self.is_committed = True
            pending, self._pending = self._pending, []
            outbox.answer_from(self.number)
            delivered.add(pending)
            await outbox.put_content(pending)

    async def pass_on(self, outbox: Outbox, delivered: Delivered) -> None:
        """Send content on until the answer is whole. ProviderError when it breaks off. Closes the connection."""
        assert self._stream is not None  # noqa: S101 - it was opened
        try:
            await self.commit(outbox, delivered)
            self._stream.gather()
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
            await _read_to_end(stream)
            self._end(stream.answer)
            return []
        self._expect_end(stream.answer)
        try:
            contents = await self._read_in_time(stream)
        except (ProviderTimeout, ConnectionLost):
            if not self._has_ended_silently(stream.answer):
                raise
            contents = stream.end()
            self._end(stream.answer)  # only the end marker is missing: nothing of the answer
            return self._take(contents) if contents else []
        self._is_over = contents is None or stream.answer.has_ended
        return self._take(contents) if contents else []

    async def _read_in_time(self, stream: AnswerStream) -> list[Content] | None:
        try:
            return await stream.read(self.timers.due)
        except TimeoutError as error:
            raise self.timers.timeout() from error

    def _expect_end(self, answer: Answer) -> None:
        """Shorten the wait for the rest of an answer that may be complete already."""
        if answer.has_trailer:
            self.timers.expect_within(_MARKER_SECONDS)
        elif answer.is_whole and self._has_ended_silently(answer):
            self.timers.expect_within(_USAGE_SECONDS)

    def _has_ended_silently(self, answer: Answer) -> bool:
        """Tell whether silence or a lost connection is the end of the answer.

        A finish reason alone does not show it: some vendors send one with every chunk, or go on after it.
        """
        return answer.is_whole and (answer.has_trailer or (self.target.may_omit_end and not answer.went_on))

    def _take(self, contents: list[Content]) -> list[Content]:
        size = sum(map(len, contents))
        if size > _MAX_CONTENT_AT_ONCE:
            raise StreamBroken("an event of the stream becomes too much content")
        self._received_bytes += size
        self.timers.received()
        if self._splice is not None:
            contents = self._splice.join(contents)
        if contents and self.timers.mark_first_content():
            self.permit.mark_alive()
        return contents

    def _end(self, answer: Answer) -> None:
        if not answer.is_whole:
            raise StreamBroken("the answer ended without a finish reason")
        if not answer.may_end:
            raise StreamBroken("content came after the finish reason and the answer ended without its end marker")
        if self._splice is not None:
            self._splice.require()
        self._is_whole = True

    def record(self, error: ProviderError | None) -> routerpb.Attempt:
        """See `Attempt.record`; what the target was not told is known once it has answered."""
        record = super().record(error)
        if self._stream is not None:
            record.dropped.extend(self._text(name) for name in self._stream.dropped)
        return record

    @property
    def total_disagrees(self) -> tuple[int, int] | None:
        """See `Attempt.total_disagrees`."""
        return self.answer.total_disagrees

    def reported_usage(self, error: ProviderError | None) -> Usage | None:
        """Only a whole answer has counts that hold, and only when the output is among them."""
        usage = self.answer.usage
        return usage if error is None and usage is not None and usage.output_tokens is not None else None

    def estimated_usage(self) -> Usage:
        """Keep the counts that came and estimate the others; a count of output that came early is a lower bound."""
        reported = self.answer.usage or Usage()
        return replace(
            reported,
            input_tokens=self.input_tokens if reported.input_tokens is None else reported.input_tokens,
            output_tokens=max(estimate_tokens(self._received_bytes), reported.output_tokens or 0),
        )


async def _read_to_end(stream: AnswerStream) -> None:
    """Read what follows the end marker, which is nothing; if it takes long, the connection is given up."""
    due = asyncio.get_running_loop().time() + _LINGER_SECONDS
    with suppress(TimeoutError, ProviderError):
        while await stream.read(due) is not None:
            pass
