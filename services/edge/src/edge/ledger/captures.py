"""Captured texts on their way to the cost-ledger, and whose it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc

from spillway.captures.v1 import captures_pb2 as capturespb
from spillway.captures.v1 import captures_pb2_grpc

ReplyT = TypeVar("ReplyT")

_TIMEOUT_SECONDS = 5.0
_TENANTS_TIMEOUT_SECONDS = 3.0
_REFUSALS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})


class CapturesAway(Exception):
    """The ledger does not answer; it may later."""


class CapturesRefused(Exception):
    """The ledger does not take this."""


class LedgerCaptures:
    """Calls `CaptureService` over one channel. Every call raises CapturesAway or CapturesRefused when it fails."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = captures_pb2_grpc.CaptureServiceStub(channel)

    async def tenants(self, after: str) -> capturespb.ListCapturingTenantsResponse:
        """Return the next tenants whose texts are captured."""
        request = capturespb.ListCapturingTenantsRequest(after=after)
        return await _answer(self._stub.ListCapturingTenants(request, timeout=_TENANTS_TIMEOUT_SECONDS))

    async def record(self, captures: Sequence[capturespb.Capture]) -> capturespb.RecordResponse:
        """Have captures stored."""
        return await _answer(self._stub.Record(capturespb.RecordRequest(captures=captures), timeout=_TIMEOUT_SECONDS))


async def _answer(call: grpc.aio.UnaryUnaryCall[Any, ReplyT]) -> ReplyT:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise (CapturesRefused if error.code() in _REFUSALS else CapturesAway) from error
