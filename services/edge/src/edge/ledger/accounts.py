"""What operators ask the cost-ledger about tenants, teams, users, keys and captured texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from edge.problems import Problem
from servicekit.tracing import trace_metadata

_TIMEOUT_SECONDS = 10.0
_CODES: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid_request",
    grpc.StatusCode.NOT_FOUND: "not_found",
    grpc.StatusCode.ALREADY_EXISTS: "conflict",
    grpc.StatusCode.FAILED_PRECONDITION: "conflict",
}


class AccountsClient:
    """Calls one service."""

    def __init__(self, stub: object) -> None:
        """`stub` is that of the service."""
        self._stub = stub

    async def call(self, method: str, request: Message, *, changes: bool) -> Any:
        """Return the answer of a method; Problem when there is none. Whether it `changes` anything is for the error."""
        try:
            return await getattr(self._stub, method)(request, timeout=_TIMEOUT_SECONDS, metadata=trace_metadata())
        except grpc.aio.AioRpcError as error:
            if code := _CODES.get(error.code()):
                raise Problem(code, error.details() or "the cost-ledger refused the request") from error
            advice = "see whether the change was made before you send it again" if changes else "try again in a moment"
            message = f"the cost-ledger does not answer; {advice}"
            raise Problem("ledger_unavailable", message, retryable=not changes) from error
