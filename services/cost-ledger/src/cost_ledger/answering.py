"""How long a call may take, and what is said when Postgres does not answer."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from cost_ledger.connections import RELEASE_SECONDS

CallContext = grpc.aio.ServicerContext[Any, Any]
# Any more would wait for a connection longer than their callers wait for them.
MAX_OPEN_CALLS = 64
_DEFAULT_TIMEOUT_SECONDS = 10.0
# Subtracted from the caller's deadline, so that the reason reaches it before it gives up.
_DEADLINE_MARGIN_SECONDS = RELEASE_SECONDS + 0.1


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
