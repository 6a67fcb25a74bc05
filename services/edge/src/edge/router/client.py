"""Step 4 of the request path: the call to the llm-router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grpc

from edge.conversation import Conversation, EmbeddingInput
from edge.facts import RequestFacts
from edge.problems import Problem, from_completion_error
from servicekit.errors import detail_of
from servicekit.rpc import create_channel, is_serving
from servicekit.tracing import trace_metadata
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

_LIST_TIMEOUT_SECONDS = 2.0
_HEALTH_TIMEOUT_SECONDS = 1.0
# A busy router answers late. One that is cancelled instead, for want of patience, cannot tell what it has begun.
_STOP_TIMEOUT_SECONDS = 10.0
_STARTED_KEY = "spillway-started-bin"  # see router.proto

CompletionCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[routerpb.StreamCompletionRequest, routerpb.StreamCompletionResponse]"
)


class EmbedCall:
    """A call for vectors that is running."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, routerpb.EmbedResponse]) -> None:
        self._call = call

    async def started(self) -> routerpb.Started | None:
        """Wait for the first attempt: from then on something may be spent. None when the call ends without one."""
        for key, value in await self._call.initial_metadata():
            if key == _STARTED_KEY and isinstance(value, bytes):
                return routerpb.Started.FromString(value)
        return None

    async def answer(self) -> routerpb.EmbedResponse:
        """Wait for the answer; AioRpcError when the call fails."""
        message = await self._call.read()
        if not isinstance(message, routerpb.EmbedResponse):
            raise Problem("internal_error", "the llm-router ended the call without an answer")
        return message

    def cancel(self) -> None:
        """End the call if it has not ended."""
        self._call.cancel()


class RouterClient:
    """Calls the llm-router over one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        attempt_budget: int,
        request_timeout_seconds: float,
        open_one: Callable[[str], grpc.aio.Channel] = create_channel,
    ) -> None:
        """`channel` leads to all routers, `open_one` to the one at an address."""
        self._channel = channel
        self._open_one = open_one
        self._stub = router_pb2_grpc.RouterServiceStub(channel)
        # On the wire a unary call is a stream of one message; read as such, its initial metadata comes when it is sent.
        self._embed = channel.unary_stream(
            "/spillway.router.v1.RouterService/Embed",
            request_serializer=routerpb.EmbedRequest.SerializeToString,
            response_deserializer=routerpb.EmbedResponse.FromString,
        )
        self._attempt_budget = attempt_budget
        self._request_timeout = request_timeout_seconds

    def stream_completion(
        self, facts: RequestFacts, conversation: Conversation, stop_secret: bytes = b""
    ) -> CompletionCall:
        """Start a completion; read its events, and `problem_of` what it raises. `stop_secret` is what can end it."""
        request = routerpb.StreamCompletionRequest(
            request_id=facts.request_id,
            tenant=facts.identity.tenant,
            user=facts.identity.user,
            route=facts.route,
            attempt_budget=self._attempt_budget,
            body=conversation.encoded_body,
            continuation=conversation.continuation,
            estimated_input_tokens=conversation.estimated_input_tokens,
            stop_secret=stop_secret,
        )
        if (form := conversation.messages_form) is not None:
            native = routerpb.MessagesForm(
                body=form.body,
                beta=form.beta,
                untranslatable=form.untranslatable,
                version=form.version,
                dropped=form.dropped,
            )
            request.messages_form.CopyFrom(native)
        return self._stub.StreamCompletion(request, timeout=self._request_timeout, metadata=trace_metadata())

    async def stop(self, address: str, request_id: str, stop_secret: bytes) -> bool:
        """Ask the router at `address` to end a completion with a report; False when it does not take the request."""
        if not address:
            return False
        try:
            async with self._open_one(address) as channel:
                stub = router_pb2_grpc.RouterServiceStub(channel)
                request = routerpb.StopRequest(request_id=request_id, stop_secret=stop_secret)
                await stub.Stop(request, timeout=_STOP_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return True

    def embed(self, facts: RequestFacts, inputs: EmbeddingInput) -> EmbedCall:
        """Start a call for vectors; await its answer, and `problem_of` what that raises."""
        request = routerpb.EmbedRequest(
            request_id=facts.request_id,
            tenant=facts.identity.tenant,
            user=facts.identity.user,
            route=facts.route,
            attempt_budget=self._attempt_budget,
            body=inputs.encoded_body,
            estimated_input_tokens=inputs.estimated_input_tokens,
        )
        return EmbedCall(self._embed(request, timeout=self._request_timeout, metadata=trace_metadata()))

    async def list_models(self) -> Sequence[routerpb.Model]:
        """Return the public models; Problem when the router does not answer."""
        try:
            response = await self._stub.ListModels(routerpb.ListModelsRequest(), timeout=_LIST_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:  # of this call; the request has time left
                raise _unavailable() from error
            raise problem_of(error) from error
        return response.models

    async def is_serving(self) -> bool:
        """Tell whether a router answers its health check."""
        return await is_serving(self._channel, "spillway.router.v1.RouterService", _HEALTH_TIMEOUT_SECONDS)


def attempts_of(error: grpc.aio.AioRpcError) -> list[routerpb.Attempt]:
    """Return the attempts that the error of a failed call for vectors reports."""
    detail = detail_of(error, routerpb.CompletionError)
    return list(detail.attempts) if detail else []


def is_stopped(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a completion ended because the edge had it stopped."""
    detail = detail_of(error, routerpb.CompletionError)
    return detail is not None and detail.code == "stopped"


def problem_of(error: grpc.aio.AioRpcError) -> Problem:
    """Turn a failed call into the client's error."""
    detail = detail_of(error, routerpb.CompletionError)
    if detail is not None:
        return from_completion_error(detail)
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Problem("body_too_large", "the request is longer than an llm-router takes")
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Problem("deadline_exceeded", "the request's time ran out before the answer was complete")
    return _unavailable()


def _unavailable() -> Problem:
    return Problem("router_unavailable", "no llm-router answers; try again in a moment")
