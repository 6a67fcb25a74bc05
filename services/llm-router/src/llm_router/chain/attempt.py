"""One call to one target, and its record: what calls for an answer and calls for vectors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from math import ceil
from typing import Protocol

from llm_router.breaker.permit import Permit
from llm_router.chain.recordable import recordable_status, recordable_text, recordable_usage
from llm_router.chain.timers import Timers
from llm_router.errors import ProviderError
from llm_router.quotable import without_keys
from llm_router.target import Target, Timeouts
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb


class Reply(Protocol):
    """The head of a provider's reply: its HTTP status and its own id of the call."""

    http_status: int
    provider_request_id: str


class Attempt(ABC):
    """Made when the call begins; `record` describes it once it has ended."""

    def __init__(
        self, number: int, target: Target, permit: Permit, *, timeouts: Timeouts, deadline: float, input_tokens: int
    ) -> None:
        """`deadline` is on the loop's clock; `input_tokens` is the estimate for a provider that reports none."""
        self.number = number
        self.target = target
        self.permit = permit
        self.timers = Timers(timeouts, deadline)
        self.input_tokens = input_tokens
        self.is_committed = False
        """Whether content was sent on: from then on no other target may answer in its place."""

    @property
    @abstractmethod
    def reply(self) -> Reply | None:
        """The head of the provider's reply; None before it came."""

    @property
    @abstractmethod
    def response_model(self) -> str:
        """The model that the provider reports; empty when it reports none."""

    @property
    @abstractmethod
    def finish_reason(self) -> routerpb.FinishReason.ValueType:
        """Why the whole answer ended."""

    @property
    @abstractmethod
    def total_disagrees(self) -> tuple[int, int] | None:
        """The provider's own total of tokens and the sum of its parts, when they are not the same."""

    @abstractmethod
    def reported_usage(self, error: ProviderError | None) -> Usage | None:
        """Return what the provider counted, if that holds for an attempt that ended so; None: it is estimated."""

    @abstractmethod
    def estimated_usage(self) -> Usage:
        """Return what is assumed where the provider did not count."""

    def started(self, router_address: str = "") -> routerpb.Started:
        """Return the announcement of this attempt, which the router at `router_address` makes."""
        started = routerpb.Started(
            attempt_number=self.number,
            target=self.target.name,
            provider=self.target.billed_by.name,
            target_model=self.target.model,
            router_address=router_address,
        )
        started.started_at.FromNanoseconds(self.timers.started_ns)
        return started

    def record(self, error: ProviderError | None) -> routerpb.Attempt:
        """Return the record of this attempt, which ended now, successfully when `error` is None."""
        reply = self.reply
        record = routerpb.Attempt(
            attempt_number=self.number,
            target=self.target.name,
            provider=self.target.billed_by.name,
            target_model=self.target.model,
            response_model=self._text(self.response_model),
            outcome=self._outcome(error),
            error_code=error.code if error else "",
            http_status=recordable_status(reply.http_status if reply else error.http_status if error else 0),
            provider_request_id=self._text(reply.provider_request_id) if reply else "",
            finish_reason=self.finish_reason if error is None else _broken_off(error),
        )
        record.started_at.FromNanoseconds(self.timers.started_ns)
        record.duration.FromNanoseconds(int(self.timers.age * 1e9))
        if self.timers.time_to_first_chunk is not None:
            record.time_to_first_chunk.FromNanoseconds(int(self.timers.time_to_first_chunk * 1e9))
        self._record_usage(record, error)
        return record

    def _text(self, text: str) -> str:
        return recordable_text(without_keys(text, self.target.credential))

    def _outcome(self, error: ProviderError | None) -> routerpb.Outcome.ValueType:
        if error is None:
            return routerpb.OUTCOME_OK
        is_interrupted = self.is_committed and error.outcome != routerpb.OUTCOME_CLIENT_CANCELLED
        return routerpb.OUTCOME_INTERRUPTED if is_interrupted else error.outcome

    def _record_usage(self, record: routerpb.Attempt, error: ProviderError | None) -> None:
        """Fill in what is billed: reported by the provider, else estimated; absent when nothing is billed."""
        reported = self.reported_usage(error)
        if reported is not None:
            record.usage.CopyFrom(recordable_usage(self._timed(reported)).to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_REPORTED
        elif error is None or error.was_billable or self.is_committed:
            record.usage.CopyFrom(recordable_usage(self._timed(self.estimated_usage())).to_proto())
            record.usage_source = routerpb.USAGE_SOURCE_ESTIMATED

    def _timed(self, usage: Usage) -> Usage:
        """Code that the vendor ran cannot have run longer than the attempt took; nothing tells how long it did."""
        if not usage.code_execution_seconds:
            return usage
        return replace(usage, code_execution_seconds=max(usage.code_execution_seconds, ceil(self.timers.age)))


def _broken_off(error: ProviderError) -> routerpb.FinishReason.ValueType:
    is_cancelled = error.outcome == routerpb.OUTCOME_CLIENT_CANCELLED
    return routerpb.FINISH_REASON_CANCELLED if is_cancelled else routerpb.FINISH_REASON_ERROR
