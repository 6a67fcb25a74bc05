"""The RPCs of the llm-router."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import grpc
import structlog

from llm_router.capacity import Capacity
from llm_router.chain.attempts import ChainDependencies, Limits
from llm_router.chain.chain import Chain, ChatRequest
from llm_router.chain.embed import Embedding
from llm_router.chain.outbox import Outbox
from llm_router.envelope import (
    check_chat_message,
    check_embed_message,
    held_bytes,
    read_chat_request,
    read_embed_request,
)
from llm_router.failures import CompletionFailed, stopped, unknown_model
from llm_router.routes.file import Route
from llm_router.routes.fleet import Fleet, Fleets
from servicekit.errors import abort_with
from servicekit.tracing import bind_call_trace
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

log = structlog.get_logger()

# Kept back from the caller's deadline so that the reason reaches it before its own clock runs out.
_DEADLINE_MARGIN_SECONDS = 0.25
# Initial metadata of `Embed`: the `Started` of the first attempt, sent before it begins. An edge that then loses this
# process knows that something may have been spent, and on what; see router.proto.
_STARTED_KEY = "spillway-started-bin"
_MAX_LOGGED_CHARACTERS = 200
_CACHE_MODES: Mapping[str | None, routerpb.CacheMode.ValueType] = {
    None: routerpb.CACHE_MODE_UNSPECIFIED,
    "always": routerpb.CACHE_MODE_ALWAYS,
    "deterministic": routerpb.CACHE_MODE_DETERMINISTIC,
    "never": routerpb.CACHE_MODE_NEVER,
}
_NO_ANSWER_CODES = frozenset({"all_targets_failed", "rate_limited", "deadline_exceeded"})

_Request: TypeAlias = routerpb.StreamCompletionRequest | routerpb.EmbedRequest
_StreamContext = grpc.aio.ServicerContext[routerpb.StreamCompletionRequest, routerpb.StreamCompletionResponse]
_EmbedContext = grpc.aio.ServicerContext[routerpb.EmbedRequest, routerpb.EmbedResponse]
_StopContext = grpc.aio.ServicerContext[routerpb.StopRequest, routerpb.StopResponse]
_ListContext = grpc.aio.ServicerContext[routerpb.ListModelsRequest, routerpb.ListModelsResponse]


class _Running(NamedTuple):
    """A completion that can be stopped."""

    task: asyncio.Task[None]
    secret: bytes


class RouterService(router_pb2_grpc.RouterServiceServicer):
    """Answers requests from the targets of their routes."""

    def __init__(
        self,
        fleets: Fleets,
        dependencies: ChainDependencies,
        capacity: Capacity,
        *,
        attempt_budget: int,
        request_timeout_seconds: float,
    ) -> None:
        """A request uses the fleet that is current when it arrives, to its end.

        It may ask for fewer attempts than `attempt_budget`, never for more.
        """
        self._fleets = fleets
        self._dependencies = dependencies
        self._capacity = capacity
        self._metrics = dependencies.metrics
        self._attempt_budget = attempt_budget
        self._request_timeout = request_timeout_seconds
        self._running: dict[str, list[_Running]] = {}  # by request id, which is the caller's choice

    # A coroutine and not a generator: when a call is cancelled while a message is being written, a generator's
    # clean-up waits for the garbage collector, and the provider's connection stays open until then.
    async def StreamCompletion(  # type: ignore[override]  # noqa: N802
        self, request: routerpb.StreamCompletionRequest, context: _StreamContext
    ) -> None:
        """Stream the events of one request; see router.proto."""
        async with self._placed(request, context) as fleet:
            with self._metrics.open_streams.track_inprogress():
                check_chat_message(request)
                limits = self._limits(request.attempt_budget, context.time_remaining())
                await self._stream(read_chat_request(request, _route(fleet, request), limits), fleet, request, context)

    async def _stream(
        self,
        chat: ChatRequest,
        fleet: Fleet,
        request: routerpb.StreamCompletionRequest,
        context: _StreamContext,
    ) -> None:
        """Run the chain beside the sending, so that the provider is read while a message is on its way."""
        outbox = Outbox()
        chain = Chain(chat, fleet.providers, outbox, self._dependencies)
        running = asyncio.create_task(_run(chain, outbox))
        stoppable = _Running(running, request.stop_secret)
        self._running.setdefault(request.request_id, []).append(stoppable)
        try:
            while messages := await outbox.take():
                for message in messages:
                    await context.write(message)
            await asyncio.wait((running,))
            if running.cancelled():  # by `Stop`: a call that was cancelled itself does not come here
                raise stopped()
            running.result()
        finally:
            self._running[request.request_id].remove(stoppable)
            if not self._running[request.request_id]:
                del self._running[request.request_id]
            running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.exception()  # seen above, or of no interest to a caller that is gone

    async def Stop(  # noqa: N802
        self, request: routerpb.StopRequest, context: _StopContext
    ) -> routerpb.StopResponse:
        """Break a running call off; the call itself reports what it has spent. See router.proto."""
        found = self._running.get(request.request_id, ())
        own = [each for each in found if hmac.compare_digest(each.secret, request.stop_secret)]
        for running in own:
            running.task.cancel()
        if found and not own:
            self._metrics.stops_refused.inc()
            log.warning("stop_refused", request_id=request.request_id[:_MAX_LOGGED_CHARACTERS])
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this call has another secret")
        return routerpb.StopResponse()

    async def Embed(  # noqa: N802
        self, request: routerpb.EmbedRequest, context: _EmbedContext
    ) -> routerpb.EmbedResponse:
        """Answer one request for vectors; see router.proto."""

        async def announce(first: routerpb.Started) -> None:
            await context.send_initial_metadata(((_STARTED_KEY, first.SerializeToString()),))

        records: list[routerpb.Attempt] = []
        async with self._placed(request, context, records) as fleet:
            check_embed_message(request)
            limits = self._limits(request.attempt_budget, context.time_remaining())
            embed = read_embed_request(request, _route(fleet, request), limits)
            return await Embedding(embed, fleet.providers, self._dependencies, announce, records).run()

    async def ListModels(  # noqa: N802
        self, request: routerpb.ListModelsRequest, context: _ListContext
    ) -> routerpb.ListModelsResponse:
        """List the public models in the order of the routes file."""
        return routerpb.ListModelsResponse(
            models=[
                routerpb.Model(
                    route=route.name,
                    economy=route.economy or "",
                    aliases=route.aliases,
                    cache_mode=_CACHE_MODES[route.cache],
                    targets=[
                        routerpb.ModelTarget(
                            target=target.name, provider=target.billed_by.name, target_model=target.model
                        )
                        for target in route.targets
                    ],
                )
                for route in self._fleets.current.routes.values()
            ]
        )

    def _limits(self, attempt_budget: int, remaining: float | None) -> Limits:
        """Bound a call by what its caller asks for; `remaining` is how many seconds it gives the call."""
        seconds = self._request_timeout if remaining is None else remaining - _DEADLINE_MARGIN_SECONDS
        return Limits(
            attempt_budget=min(attempt_budget or self._attempt_budget, self._attempt_budget),
            deadline=asyncio.get_running_loop().time() + seconds,
        )

    @asynccontextmanager
    async def _placed(
        self, request: _Request, context: grpc.aio.ServicerContext[Any, Any], records: Sequence[routerpb.Attempt] = ()
    ) -> AsyncIterator[Fleet]:
        """Give the call inside a place and the current fleet, and conclude it; refuse it when there is no place."""
        try:
            with self._capacity.place(held_bytes(request)), self._fleets.borrow() as fleet:
                async with self._concluded(request, context, fleet, records):
                    yield fleet
        except CompletionFailed as refusal:
            await abort_with(context, refusal.status, refusal.detail.message, refusal.detail)

    @asynccontextmanager
    async def _concluded(
        self,
        request: _Request,
        context: grpc.aio.ServicerContext[Any, Any],
        fleet: Fleet,
        records: Sequence[routerpb.Attempt] = (),
    ) -> AsyncIterator[None]:
        """Turn the end of the call inside into a status, a metric and a log line; an error carries `records`."""
        structlog.contextvars.bind_contextvars(request_id=request.request_id[:_MAX_LOGGED_CHARACTERS])
        bind_call_trace(context.invocation_metadata())
        started = time.monotonic()
        outcome = "client_cancelled"
        detail = routerpb.CompletionError()
        try:
            yield
            outcome = "ok"
        except CompletionFailed as failure:
            outcome, detail = failure.outcome, failure.detail
            detail.attempts.extend(records)
            await abort_with(context, failure.status, detail.message, detail)
        except Exception as error:
            outcome = "internal_error"
            log.exception("request_crashed")
            detail = routerpb.CompletionError(code="internal_error", message="the llm-router failed", retryable=True)
            detail.attempts.extend(records)
            if isinstance(error, grpc.aio.UsageError):
                raise
            await abort_with(context, grpc.StatusCode.INTERNAL, detail.message, detail)
        finally:
            # A name that is no route must not make a new series.
            model = request.route if request.route in fleet.routes else "unknown"
            self._metrics.requests.labels(model, outcome).inc()
            if detail.code in _NO_ANSWER_CODES:
                self._metrics.all_targets_failed.labels(model).inc()
            log.info(
                "request_finished",
                tenant=request.tenant[:_MAX_LOGGED_CHARACTERS],
                requested_model=request.route[:_MAX_LOGGED_CHARACTERS],
                outcome=outcome,
                reason=detail.code or None,
                duration_seconds=round(time.monotonic() - started, 6),
            )


def _route(fleet: Fleet, request: _Request) -> Route:
    route = fleet.routes.get(request.route)
    if route is None:
        raise unknown_model(request.route, list(fleet.routes))
    return route


async def _run(chain: Chain, outbox: Outbox) -> None:
    try:
        await chain.run()
    finally:
        outbox.close()
