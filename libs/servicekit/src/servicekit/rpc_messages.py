"""Messages that are none of their method: to gRPC they are a crash of the server, but they are their sender's fault."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_UNREADABLE = object()


class MessageCheckingServer:
    """Passes handlers on to a server, changed so that a message that cannot be read is INVALID_ARGUMENT.

    To be registered with instead of the server itself; for methods that take one message.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add them as they are: generated code adds the same methods one by one as well, and those come first."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, _Handler]) -> None:
        """Add the handlers of a service by the names of their methods."""
        checking = {method: _checking(handler) for method, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, checking)


def _checking(handler: _Handler) -> _Handler:
    read = handler.request_deserializer
    if handler.request_streaming or read is None:
        return handler

    def read_or_not(message: bytes) -> Any:
        try:
            return read(message)
        except DecodeError:
            return _UNREADABLE

    if not handler.response_streaming:
        answer = _checking_call(handler.unary_unary)
        return grpc.unary_unary_rpc_method_handler(answer, read_or_not, handler.response_serializer)
    is_generator = inspect.isasyncgenfunction(handler.unary_stream)
    stream = (_checking_generator if is_generator else _checking_call)(handler.unary_stream)
    return grpc.unary_stream_rpc_method_handler(stream, read_or_not, handler.response_serializer)


def _checking_call(method: Any) -> Callable[[Any, Any], Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if request is _UNREADABLE:
            await _refuse(context)
        return await method(request, context)

    return call


def _checking_generator(method: Any) -> Callable[[Any, Any], Any]:
    async def generate(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        if request is _UNREADABLE:
            await _refuse(context)
        async for response in method(request, context):
            yield response

    return generate


async def _refuse(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is none of this method")
