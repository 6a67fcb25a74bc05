"""An answer to a conversation on its way: from the llm-router, or from the cache, through the output stage."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes
from typing import Any, Protocol

import grpc
import orjson

from edge.answer import ENDS, Answer
from edge.assembly import MessagesEvent, assemble
from edge.cache.entry import MAX_ANSWER_BYTES
from edge.conversation import Conversation
from edge.exchange.attempt_log import AttemptLog
from edge.exchange.output_stage import OutputStage
from edge.facts import RequestFacts
from edge.guardrails.answers.format_guard import FormatGuard
from edge.guardrails.answers.output import ContentStopped
from edge.metrics import Metrics
from edge.problems import Problem
from edge.router.client import RouterClient, is_stopped, problem_of
from edge.router.stop import EarlyStop
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

# Of a stream that is too long to be stored: what is told of it at its end.
_MAX_TOOL_CALL_BYTES = 16 * 1024 * 1024
_STOP_SECRET_BYTES = 16
_CALL = re.compile(rb'"(?:tool_calls|function_call)"')
_HIDDEN = "the provider reports an error, in words that the policy of this gateway does not let out"
# To put a longer answer together takes a while.
_LONG_BYTES = 256 * 1024


class Reader(Protocol):
    """Gets an answer as it comes."""

    async def content(self, chunks: list[str | bytes]) -> None:
        """Take chunks: text of choice 0, or the `choices` array of an OpenAI chunk as JSON."""

    async def continued(self, continued: routerpb.Continued) -> None:
        """Learn that another target wrote what follows."""


class Completion:
    """Made for one request; `replay` or `fetch` it once."""

    def __init__(
        self,
        router: RouterClient,
        facts: RequestFacts,
        conversation: Conversation,
        stage: OutputStage,
        metrics: Metrics,
        has_begun: Callable[[], None],
        format_guard: FormatGuard | None = None,
    ) -> None:
        """`has_begun` is called when the router begins with an attempt; `format_guard` looks at the whole answer."""
        self._router = router
        self._facts = facts
        self._conversation = conversation
        self._stage = stage
        self._metrics = metrics
        self._has_begun = has_begun
        self._format_guard = format_guard
        # What goes out when it has looked; None: nothing waits for it.
        self._held: list[str | bytes] | None = [] if format_guard is not None and format_guard.holds else None
        self._early_stop: EarlyStop | None = None
        self._stopped_by: Problem | None = None
        self._is_abandoned = False
        self._max_kept_bytes = MAX_ANSWER_BYTES if conversation.is_streaming else math.inf
        self._kept_bytes = 0
        self._dropped_characters = 0
        form = conversation.responses_form
        self.log = AttemptLog(conversation.estimated_input_tokens, () if form is None else form.noted)
        self.answer = Answer()
        self.continuations: list[routerpb.Continued] = []
        self.is_whole = False
        self.is_filtered = False
        """Whether the output stage has ended it because of what it says."""
        self.first_content: float | None = None
        """When the first content came, on the monotonic clock."""

    async def replay(self, stored: Answer, reader: Reader) -> None:
        """Give a stored answer; Problem when the output stage stops it."""
        self.answer = replace(stored, chunks=[], response_fields={}, _choices=None)
        try:
            await self._give(self._pass(stored.chunks), reader)
            fields = self._stage.fields(stored.response_fields)
            await self._give(self._end(), reader)
            await self._look_at_format(reader)
            self.answer.response_fields = fields
        except ContentStopped:
            self._end_filtered()
        self.is_whole = True

    def abandon(self) -> None:
        """Stop: the client is gone. A call that was not made yet is not made."""
        self._is_abandoned = True
        if self._early_stop is not None:
            self._early_stop.request()

    async def fetch(self, reader: Reader) -> None:
        """Ask the router; Problem when there is no whole answer, unless it was abandoned."""
        try:
            await self._fetch(reader)
        except Problem as problem:
            if problem.code != "overloaded":
                raise
            await self._fetch(reader)  # the next router has its turn; the first one has done nothing

    async def _fetch(self, reader: Reader) -> None:
        if self._is_abandoned:
            return
        secret = token_bytes(_STOP_SECRET_BYTES)
        call = self._router.stream_completion(self._facts, self._conversation, secret)
        stop = self._early_stop = EarlyStop(
            self._router,
            self._facts.request_id,
            secret,
            call,
            has_open=lambda: self.log.has_open,
            unanswered=self._metrics.stops_unanswered,
        )
        try:
            while isinstance(message := await call.read(), routerpb.StreamCompletionResponse):
                await self._read(message, stop, reader)
            if not self.is_whole and not self._is_stopped:
                raise Problem("internal_error", "the llm-router ended the answer without an end")
        except grpc.aio.AioRpcError as error:
            if not (is_stopped(error) and stop.is_requested) and not self.is_filtered:
                raise self._problem_of(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not stop.is_requested or (task is not None and task.cancelling()):
                raise  # the process is being stopped; a call that this edge has cancelled raises this too
        finally:
            stop.call_ended()
            call.cancel()
        if self._stopped_by is not None:
            raise self._stopped_by
        if self.is_filtered:
            self._end_filtered()

    @property
    def _is_stopped(self) -> bool:
        return self._stopped_by is not None or self.is_filtered

    async def _read(self, message: routerpb.StreamCompletionResponse, stop: EarlyStop, reader: Reader) -> None:
        match message.WhichOneof("event"):
            case "delta":
                await self._take(message.delta, stop, reader)
            case "started":
                self._has_begun()
                self.log.start(message.started)
                stop.attempt_started(message.started.router_address)
            case "attempt_finished":
                self.log.report([message.attempt_finished.attempt])
            case "continued":
                self.continuations.append(message.continued)
                await reader.continued(message.continued)
            case "finished":
                await self._finish(message.finished, reader)

    async def _take(self, delta: routerpb.Delta, stop: EarlyStop, reader: Reader) -> None:
        number = delta.attempt_number or self.log.answering or self.log.newest
        if number != self.log.answering:
            self._answer_from(number)
        chunks: list[str | bytes] = [*delta.texts, *delta.choices]
        if self._conversation.messages_form is not None:
            chunks += map(MessagesEvent, delta.messages_events)
        self.log.receive(delta)
        if self._is_stopped:
            return
        try:
            passed = self._pass(chunks)
        except ContentStopped:
            self.is_filtered = True
            stop.request()
            return
        except Problem as problem:
            self._stopped_by = problem
            stop.request()
            return
        await self._give(passed, reader)

    def _pass(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return what the output stage lets out, kept; Problem when the answer must not go on."""
        passed = self._stage.take(chunks)
        self._keep(passed)
        return passed

    def _end(self) -> list[str | bytes]:
        """Return what the output stage has held back, kept; Problem when it must not go out."""
        passed = self._stage.end()
        self._keep(passed)
        return passed

    async def _give(self, chunks: list[str | bytes], reader: Reader) -> None:
        if not chunks:
            return
        if self._held is not None:
            self._held += chunks
            return
        if self.first_content is None:
            self.first_content = time.monotonic()
        await reader.content(chunks)

    async def _look_at_format(self, reader: Reader) -> None:
        """Look at a whole answer, and let out what has waited for it; ContentStopped when it must not go out."""
        if self._format_guard is not None:
            await self._format_guard.look(self.answer)
        held, self._held = self._held, None
        if held:
            await self._give(held, reader)

    def _keep(self, chunks: list[str | bytes]) -> None:
        """Keep what a stream gives: for the response cache, and to see at its end that it makes an answer.

        Of one that is too long for that only the tool calls are kept, which `/chat` tells at the end, and each chunk is
        looked at by itself.
        """
        answer = self.answer
        if answer.is_kept:
            answer.chunks += chunks
            self._kept_bytes += sum(map(len, chunks))
            if self._kept_bytes <= self._max_kept_bytes:
                return
            if self._held is not None:
                raise Problem("answer_too_long", "the answer is too long to be looked at whole, and it was stopped")
            chunks, answer.chunks = answer.chunks, []
            answer.is_kept, self._kept_bytes = False, 0
        for chunk in chunks:
            if isinstance(chunk, str):
                self._dropped_characters += len(chunk)
                continue
            assemble([chunk], self._conversation.choices)
            if b'"tool_calls"' in chunk:
                self._kept_bytes += len(chunk)
                answer.chunks.append(chunk)
        if self._kept_bytes > _MAX_TOOL_CALL_BYTES:
            raise Problem("answer_too_long", "the tool calls of the answer are too long, and it was stopped")

    def _answer_from(self, attempt_number: int) -> None:
        started = self.log.answer_from(attempt_number)
        if started is not None:
            self.answer.provider = started.provider
            self.answer.target_model = started.target_model

    async def _finish(self, finished: routerpb.Finished, reader: Reader) -> None:
        if self._is_stopped:
            return
        if not finished.finish_reasons or not ENDS.issuperset(finished.finish_reasons):
            raise Problem("internal_error", "the llm-router ended the answer in a way this edge does not know")
        if not self.log.answering and self.log.last_reported:
            self._answer_from(self.log.last_reported)  # it said nothing, and that was its answer
        try:
            fields = self._stage.fields(orjson.loads(finished.response_fields) if finished.response_fields else {})
            rest = self._end()
        except ContentStopped:
            self.is_filtered = True
            return
        await self._give(rest, reader)
        self.answer.finish_reasons = list(finished.finish_reasons)
        # An answer that cannot be put together must neither be called whole nor be stored.
        if self._kept_bytes > _LONG_BYTES:
            await asyncio.to_thread(self.answer.choices)
        else:
            self.answer.choices()
        try:
            await self._look_at_format(reader)
        except ContentStopped:
            self.is_filtered = True
            return
        self.answer.response_model = finished.response_model
        self.answer.system_fingerprint = finished.system_fingerprint
        self.answer.response_fields = fields
        self.answer.usage = Usage.from_proto(finished.usage)
        self.is_whole = True

    def _end_filtered(self) -> None:
        """Make what went out an answer that ends with `content_filter`; nobody shall run a call that it was to make."""
        answer = self.answer
        answer.chunks = [chunk for chunk in answer.chunks if isinstance(chunk, str) or not _CALL.search(chunk)]
        if self._held is not None:  # nothing of it has gone out
            answer.chunks = []
        answer.drop_choices()
        answer.finish_reasons = [routerpb.FINISH_REASON_CONTENT_FILTER] * self._conversation.choices
        answer.choices()
        if answer.usage is None:
            answer.usage = self.log.usage
        self.is_filtered = self.is_whole = True

    def _problem_of(self, error: grpc.aio.AioRpcError) -> Problem:
        problem = problem_of(error)
        if (self.answer.chunks or not self.answer.is_kept) and problem.code != "stream_interrupted":
            length = self._dropped_characters + len(self.answer.text)
            return Problem("stream_interrupted", f"the answer broke off after {length} characters; it is incomplete")
        return self._without_findings(problem)

    def _without_findings(self, problem: Problem) -> Problem:
        """Return a problem as it may be told: what a provider says of its fault may quote what it has written."""
        texts: dict[str, Any] = {"message": problem.message, "param": problem.param, "code": problem.client_code}
        try:
            texts = self._stage.fields(texts)
        except ContentStopped:
            texts = {"message": _HIDDEN, "param": None, "code": problem.code}
        problem.message, problem.param, problem.client_code = texts["message"], texts["param"], texts["code"]
        return problem
