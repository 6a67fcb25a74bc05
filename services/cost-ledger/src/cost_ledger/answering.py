"""How long a call may take, and what is said when Postgres does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

import grpc
import structlog

from cost_ledger.connections import OUTAGES, RELEASE_SECONDS
from cost_ledger.errors import AccountError, AccountExists, AccountStateForbids, AccountUnknown, FieldInvalid
from cost_ledger.metrics import Metrics
from servicekit.tracing import bind_call_trace

log = structlog.get_logger()

ResultT = TypeVar("ResultT")

CallContext = grpc.aio.ServicerContext[Any, Any]
# Any more would wait for a connection longer than their callers wait for them.
MAX_OPEN_CALLS = 64
_DEFAULT_TIMEOUT_SECONDS = 10.0
# Subtracted from the caller's deadline, so that the reason reaches it before it gives up.
_DEADLINE_MARGIN_SECONDS = RELEASE_SECONDS + 0.1
_STATUS: Mapping[type[AccountError], grpc.StatusCode] = {
    FieldInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    AccountUnknown: grpc.StatusCode.NOT_FOUND,
    AccountExists: grpc.StatusCode.ALREADY_EXISTS,
    AccountStateForbids: grpc.StatusCode.FAILED_PRECONDITION,
}


class Calls:
    """Answers the calls of one service from Postgres, as many at a time as may be."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._open = 0

    async def answer(self, context: CallContext, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Do the work as long as the caller waits; end the call with its status when it cannot be done."""
        if self._open >= MAX_OPEN_CALLS:
            work.close()
            await end_too_many(context)
        bind_call_trace(context.invocation_metadata())
        self._open += 1
        try:
            async with asyncio.timeout(timeout_of(context)):
                return await work
        except AccountError as error:
            await context.abort(_STATUS[type(error)], str(error))
        except OUTAGES as error:
            self._metrics.database_errors.inc()
            log.warning("question_not_answered", cause=type(error).__name__)
            await end_unavailable(context)
        finally:
            self._open -= 1


def timeout_of(context: CallContext) -> float:
    """Return how many seconds the statements of a call may take: a little less than its caller waits."""
    remaining = context.time_remaining()
    if remaining is None:
        return _DEFAULT_TIMEOUT_SECONDS
    return max(min(remaining - _DEADLINE_MARGIN_SECONDS, _DEFAULT_TIMEOUT_SECONDS), 0.05)


async def end_unavailable(context: CallContext) -> NoReturn:
    """End a call that Postgres did not answer."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the database does not answer; nothing is lost, try again")


async def end_too_many(context: CallContext) -> NoReturn:
    """End a call that would wait for a connection for too long."""
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many questions at a time; nothing is lost, try again")
