"""One chat request from admission to settlement: looks up, calls, delivers, settles. Knows no contract and no HTTP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import grpc
import structlog

from edge.assembly import MalformedChunk, MessagesEvent, assemble
from edge.cache import cache
from edge.cache.cache import ENDS, Answer, CachePolicy
from edge.contracts.receipt_json import money
from edge.conversation import Conversation
from edge.events.cost_event import RequestFacts, admitted_event, open_attempt, settled_event
from edge.events.emitter import Emitter
from edge.guard.keys import Identity
from edge.ledger.quotes import Quotes
from edge.metrics import Metrics
from edge.problems import Problem
from edge.router.client import CompletionCall, RouterClient, is_stopped, problem_of
from pricing.cost import FREE, total_of
from pricing.estimate import estimate_tokens
from pricing.usage import Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

# A router that has taken the request to stop begins nothing any more, and a machine may be busy.
_LAST_REPORT_SECONDS = 10.0


class Reader(Protocol):
    """Gets an answer as it comes."""

    async def content(self, chunks: list[str | bytes]) -> None:
        """Take chunks: text of choice 0, or the `choices` array of an OpenAI chunk as JSON."""

    async def seam(self, continued: routerpb.Continued) -> None:
        """Learn that what follows was written by another target."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What exchanges are made of; the same for all of them."""

    router: RouterClient
    emitter: Emitter
    quotes: Quotes
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Receipt:
    """How an exchange ended."""

    answer: Answer
    """Whole when `problem` is None."""
    problem: Problem | None
    attempts: list[routerpb.Attempt]
    costs: list[Decimal | None]
    """Of each attempt, in USD; None: unpriced."""
    stored: bool
    """Whether the answer is in the response cache now because of this request."""
    saved_cost_usd: Decimal | None
    """What a cache hit would have cost."""
    seams: list[routerpb.Continued]
    """Where the answer broke off and was carried on by another target."""

    @property
    def cost_usd(self) -> Decimal | None:
        """What the request cost; None when it is unpriced."""
        return total_of(self.costs)


class Exchange:
    """Made for one request; `admit`, then `run`, each once."""

    def __init__(
        self, parts: Parts, facts: RequestFacts, identity: Identity, conversation: Conversation, policy: CachePolicy
    ) -> None:
        self._parts = parts
        self._identity = identity
        self._policy = policy
        self._key = cache.cache_key(identity.tenant, conversation) if policy.may_read or policy.may_write else None
        self._call: CompletionCall | None = None
        self._started: dict[int, routerpb.Started] = {}
        self._open: set[int] = set()  # attempts that were started and have not been reported
        self._answering = 0  # the attempt that the content is from; 0: none yet
        self._first_chunk_of_attempt = 0
        self._seams: list[routerpb.Continued] = []
        self._is_whole = False
        self.is_client_gone = False
        self._stopping: asyncio.Task[None] | None = None
        self._gives_up = False
        self._first_content: float | None = None
        self._attempts: list[routerpb.Attempt] = []
        self.facts = facts
        self.conversation = conversation
        self.answer = Answer()
        self.cache_status: ledgerpb.CacheStatus.ValueType = ledgerpb.CACHE_STATUS_MISS
        self.bypass_reason = ""

    async def admit(self) -> None:
        """Step 3: record that the request runs, and look for its answer. Problem when it may not run."""
        key = self._key if self._policy.may_read else None
        stored, was_asked = await self._parts.emitter.admit(admitted_event(self.facts), key)
        if not self._policy.may_read:
            self._bypass(self._policy.bypass_reason)
        elif not was_asked:
            self._bypass("cache_error")
        elif stored is not None and (answer := cache.decode(stored)) is not None:
            self.cache_status = ledgerpb.CACHE_STATUS_HIT
            self.answer = answer
            self._is_whole = True

    def client_gone(self) -> None:
        """Stop: nobody reads the answer any more. A call that was not answered yet is stopped when it is."""
        self.is_client_gone = True
        if self._call is not None and self._started:
            self._stop(self._call)

    def _stop(self, call: CompletionCall) -> None:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_router(call))

    async def _stop_router(self, call: CompletionCall) -> None:
        """Have the router end the call with the record of all it has spent: only it knows what it has begun (ADR 3)."""
        address = next(iter(self._started.values())).router_address
        if await self._parts.router.stop(address, self.facts.request_id):
            await asyncio.sleep(_LAST_REPORT_SECONDS)  # cancelled by the end of the call
        self._parts.metrics.stops_unanswered.inc()
        # Between two attempts the next one may have begun without our knowing: then its announcement is awaited.
        self._gives_up = True
        if self._open:
            call.cancel()

    async def run(self, reader: Reader) -> Receipt:
        """Steps 4 to 7: answer, giving the content to `reader` as it comes, and settle. Fails in no other way."""
        problem: Problem | None = None
        self._parts.metrics.open_streams.inc()
        try:
            await self._answer(reader)
        except Problem as failure:
            problem = failure
        except MalformedChunk:
            problem = Problem("stream_interrupted", "the answer broke off: a provider's chunk made no sense")
        except asyncio.CancelledError:
            await self._settle(Problem("stream_interrupted", "the gateway stopped before the answer was complete"))
            raise
        except Exception:
            log.exception("exchange_crashed")
            problem = Problem("internal_error", "the gateway failed while it answered; it is our fault, not yours")
        finally:
            self._parts.metrics.open_streams.dec()
        return await self._settle(problem)

    async def _answer(self, reader: Reader) -> None:
        if self.cache_status == ledgerpb.CACHE_STATUS_HIT:
            self._first_content = time.monotonic()
            await reader.content(self.answer.chunks)
            return
        if self.is_client_gone:
            return
        self._call = call = self._parts.router.stream_completion(
            self.facts.request_id, self._identity, self.conversation
        )
        try:
            await self._read(call, reader)
        except grpc.aio.AioRpcError as error:
            if not is_stopped(error):
                raise self._problem_of(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.is_client_gone or (task is not None and task.cancelling()):
                raise  # we are being stopped; a call that we cancelled ourselves raises this too
        finally:
            if self._stopping is not None:
                self._stopping.cancel()
            call.cancel()

    async def _read(self, call: CompletionCall, reader: Reader) -> None:
        while isinstance(message := await call.read(), routerpb.StreamCompletionResponse):
            match message.WhichOneof("event"):
                case "delta":
                    await self._take(message.delta, reader)
                case "started":
                    self._started[message.started.attempt_number] = message.started
                    self._open.add(message.started.attempt_number)
                    if self._gives_up:
                        call.cancel()
                    elif self.is_client_gone:
                        self._stop(call)
                case "attempt_finished":
                    self._open.discard(message.attempt_finished.attempt.attempt_number)
                    self._attempts.append(message.attempt_finished.attempt)
                case "continued":
                    self._seams.append(message.continued)
                    await reader.seam(message.continued)
                case "finished":
                    self._finish(message.finished)
        if not self._is_whole:
            raise Problem("internal_error", "the llm-router ended the answer without an end")

    async def _take(self, delta: routerpb.Delta, reader: Reader) -> None:
        number = delta.attempt_number or self._answering or max(self._started, default=0)
        if number != self._answering:
            self._answer_from(number)
        chunks: list[str | bytes] = [*delta.texts, *delta.choices]
        if self.conversation.messages_form is not None:
            chunks += map(MessagesEvent, delta.messages_events)
        if self._first_content is None:
            self._first_content = time.monotonic()
        self.answer.chunks += chunks
        await reader.content(chunks)

    def _answer_from(self, attempt_number: int) -> None:
        self._answering = attempt_number
        self._first_chunk_of_attempt = len(self.answer.chunks)
        started = self._started.get(attempt_number)
        if started is not None:
            self.answer.provider = started.provider
            self.answer.target_model = started.target_model

    def _finish(self, finished: routerpb.Finished) -> None:
        if not finished.finish_reasons or not ENDS.issuperset(finished.finish_reasons):
            raise Problem("internal_error", "the llm-router ended the answer in a way this edge does not know")
        if not self._answering and self._attempts:
            self._answer_from(self._attempts[-1].attempt_number)  # it said nothing, and that was its answer
        # An answer that cannot be put together must neither be called whole nor be stored.
        assemble(self.answer.chunks, len(finished.finish_reasons))
        self.answer.finish_reasons = list(finished.finish_reasons)
        self.answer.response_model = finished.response_model
        self.answer.system_fingerprint = finished.system_fingerprint
        self.answer.usage = Usage.from_proto(finished.usage)
        self._is_whole = True

    def _problem_of(self, error: grpc.aio.AioRpcError) -> Problem:
        problem = problem_of(error)
        if self.answer.chunks and problem.code != "stream_interrupted":
            length = len(self.answer.text)
            return Problem("stream_interrupted", f"the answer broke off after {length} characters; it is incomplete")
        return problem

    def _bypass(self, reason: str) -> None:
        self.cache_status = ledgerpb.CACHE_STATUS_BYPASS
        self.bypass_reason = reason
        self._parts.metrics.cache_bypasses.labels(reason).inc()

    async def _settle(self, problem: Problem | None) -> Receipt:
        """Record how it ended, store what may be stored, count and log."""
        is_hit = self.cache_status == ledgerpb.CACHE_STATUS_HIT
        outcome = self._outcome(problem)
        for number in sorted(self._open):
            received = self.answer.chunks[self._first_chunk_of_attempt :] if number == self._answering else []
            self._attempts.append(open_attempt(self._started[number], outcome, self._estimate(received)))
        event = settled_event(
            self.facts,
            outcome=outcome,
            problem=problem,
            cache_status=self.cache_status,
            bypass_reason=self.bypass_reason,
            attempts=self._attempts,
            answer=self.answer,
            time_to_first_token=self._since_accepted(self._first_content),
        )
        stored = await self._parts.emitter.settle(event, self._entry(problem))
        answer = self.answer
        receipt = Receipt(
            answer=answer,
            problem=problem,
            attempts=self._attempts,
            costs=self._parts.quotes.attempt_costs(self._attempts) or [FREE],
            stored=stored,
            saved_cost_usd=self._parts.quotes.saved_cost(answer.provider, answer.target_model, answer.usage)
            if is_hit
            else None,
            seams=self._seams,
        )
        self._observe(receipt, outcome)
        return receipt

    def _estimate(self, received: list[str | bytes]) -> Usage:
        """Return what an attempt has used of which only what was `received` is known."""
        input_tokens = estimate_tokens(self.conversation.prompt_bytes())
        return Usage(input_tokens, estimate_tokens(sum(len(chunk) for chunk in received)))

    def _outcome(self, problem: Problem | None) -> routerpb.Outcome.ValueType:
        if problem is not None:
            return problem.kind.outcome
        return routerpb.OUTCOME_OK if self._is_whole else routerpb.OUTCOME_CLIENT_CANCELLED

    def _entry(self, problem: Problem | None) -> tuple[str, bytes] | None:
        """Return what the response cache shall keep: a whole answer of one target, if the client allows it."""
        is_ours = (
            not self._seams and self.cache_status != ledgerpb.CACHE_STATUS_HIT and problem is None and self._is_whole
        )
        if not is_ours or not self._policy.may_write or self._key is None:
            return None
        value = cache.encode(self.answer)
        return None if value is None else (self._key, value)

    def _since_accepted(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self.facts.accepted

    def _observe(self, receipt: Receipt, outcome: routerpb.Outcome.ValueType) -> None:
        metrics, outcome_name = self._parts.metrics, routerpb.Outcome.Name(outcome)[8:].lower()
        cache_name = ledgerpb.CacheStatus.Name(self.cache_status)[13:].lower()
        time_to_first_token = self._since_accepted(self._first_content)
        duration = time.monotonic() - self.facts.accepted
        metrics.requests.labels(self.facts.requested_model, outcome_name, cache_name).inc()
        metrics.duration.labels(outcome_name).observe(duration)
        if time_to_first_token is not None:
            metrics.time_to_first_token.labels(cache_name).observe(time_to_first_token)
        usage = receipt.answer.usage or Usage()
        log.info(
            "request_finished",
            endpoint=self.facts.endpoint,
            tenant=self.facts.tenant,
            key_id=self.facts.key_id,
            requested_model=self.facts.requested_model,
            provider=receipt.answer.provider or None,
            target_model=receipt.answer.target_model or None,
            outcome=outcome_name,
            reason=receipt.problem.code if receipt.problem else None,
            cache_status=cache_name,
            cache_bypass_reason=self.bypass_reason or None,
            stored=receipt.stored,
            attempts=len(receipt.attempts),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=money(receipt.cost_usd),
            time_to_first_token_seconds=None if time_to_first_token is None else round(time_to_first_token, 6),
            duration_seconds=round(duration, 6),
        )
