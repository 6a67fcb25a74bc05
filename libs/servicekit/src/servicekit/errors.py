"""One typed error over gRPC: a status that carries exactly one protobuf message as its detail."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

_DETAILS_KEY = "grpc-status-details-bin"
MessageT = TypeVar("MessageT", bound=Message)


async def abort_with(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, message: str, detail: Message
) -> NoReturn:
    """End the RPC with `code`, `message` and `detail`, in the encoding of google.rpc.Status."""
    packed = AnyMessage()
    packed.Pack(detail)
    status = Status(code=code.value[0], message=message, details=[packed])
    await context.abort(code, message, ((_DETAILS_KEY, status.SerializeToString()),))


def detail_of(error: grpc.aio.AioRpcError, message_class: type[MessageT]) -> MessageT | None:
    """Return the detail of type `message_class` that the peer sent with `error`; None without one."""
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        try:
            status = Status.FromString(value)
        except DecodeError:
            return None
        for packed in status.details:
            detail = message_class()
            if packed.Unpack(detail):
                return detail
    return None
