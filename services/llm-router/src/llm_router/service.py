"""The RPCs of the llm-router."""

from __future__ import annotations

import asyncio
import time

import grpc
import orjson
import structlog

from llm_router.chain.chain import Chain, ChatRequest, Parts
from llm_router.chain.outbox import Outbox
from llm_router.embed_service import EmbedContext, EmbedService
from llm_router.errors import CompletionFailed, stopped, unknown_model
from llm_router.providers.chat_body import ChatBody, Json, MessagesForm
from llm_router.routes.file import Route, Routes
from llm_router.routes.fleet import Fleet, Fleets
from llm_router.strategies.continuation import may_be_continued
from pricing.estimate import estimate_prompt_tokens
from servicekit.errors import abort_with
from servicekit.tracing import bind_call_trace
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

log = structlog.get_logger()

# Kept back from the caller's deadline so that the reason reaches it before its own clock runs out.
_DEADLINE_MARGIN_SECONDS = 0.25

_Context = grpc.aio.ServicerContext[routerpb.StreamCompletionRequest, routerpb.StreamCompletionResponse]

_StopContext = grpc.aio.ServicerContext[routerpb.StopRequest, routerpb.StopResponse]


class RouterService(router_pb2_grpc.RouterServiceServicer):
    """Answers chat requests from the targets of their routes."""

    def __init__(self, fleets: Fleets, parts: Parts, *, attempt_budget: int, request_timeout_seconds: float) -> None:
        """A request uses the fleet that is current when it arrives, to its end."""
        self._fleets = fleets
        self._parts = parts
        self._metrics = parts.metrics
        self._attempt_budget = attempt_budget
        self._request_timeout = request_timeout_seconds
        self._embed = EmbedService(parts, attempt_budget)
        self._running: dict[str, asyncio.Task[None]] = {}

    # A coroutine and not a generator: when a call is cancelled while a message is being written, a generator's
    # clean-up waits for the garbage collector, and the provider's connection stays open until then.
    async def StreamCompletion(  # type: ignore[override]  # noqa: N802
        self, request: routerpb.StreamCompletionRequest, context: _Context
    ) -> None:
        """Stream the events of one request; see router.proto."""
        structlog.contextvars.bind_contextvars(request_id=request.request_id)
        bind_call_trace(context.invocation_metadata())
        started = time.monotonic()
        outcome = "client_cancelled"
        detail = routerpb.CompletionError()
        self._metrics.open_streams.inc()
        try:
            with self._fleets.borrow() as fleet:
                await self._stream(fleet, request, context)
            outcome = "ok"
        except CompletionFailed as failure:
            outcome, detail = failure.outcome, failure.detail
            await abort_with(context, failure.status, failure.detail.message, failure.detail)
        except Exception as error:
            outcome = "internal_error"
            log.exception("request_crashed")
            detail = routerpb.CompletionError(code="internal_error", message="the llm-router failed", retryable=True)
            if isinstance(error, grpc.aio.UsageError):
                raise
            await abort_with(context, grpc.StatusCode.INTERNAL, detail.message, detail)
        finally:
            self._metrics.open_streams.dec()
            self._metrics.requests.labels(self._known(request.route), outcome).inc()
            if detail.code in {"all_targets_failed", "rate_limited", "deadline_exceeded"}:
                self._metrics.all_targets_failed.labels(self._known(request.route)).inc()
            log.info(
                "request_finished",
                tenant=request.tenant,
                requested_model=request.route,
                outcome=outcome,
                reason=detail.code or None,
                duration_seconds=round(time.monotonic() - started, 6),
            )

    async def _stream(self, fleet: Fleet, request: routerpb.StreamCompletionRequest, context: _Context) -> None:
        """Run the chain beside the sending, so that the provider is read while a message is on its way."""
        chat = self._read(fleet.routes, request, context.time_remaining())
        outbox = Outbox()
        chain = Chain(chat, fleet.providers, outbox, self._parts)
        running = asyncio.create_task(_run(chain, outbox))
        self._running[request.request_id] = running
        try:
            while messages := await outbox.take():
                for message in messages:
                    await context.write(message)
            await asyncio.wait((running,))
            if running.cancelled():  # by `Stop`: a call that was cancelled itself does not come here
                raise stopped()
            running.result()
        finally:
            if self._running.get(request.request_id) is running:
                del self._running[request.request_id]
            running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.exception()  # seen above, or of no interest to a caller that is gone

    async def Stop(  # noqa: N802
        self, request: routerpb.StopRequest, _context: _StopContext
    ) -> routerpb.StopResponse:
        """Break a running call off; it tells the rest itself. See router.proto."""
        running = self._running.get(request.request_id)
        if running is not None:
            running.cancel()
        return routerpb.StopResponse()

    def _read(self, routes: Routes, request: routerpb.StreamCompletionRequest, remaining: float | None) -> ChatRequest:
        """Resolve the route and open the envelope."""
        route = routes.get(request.route)
        if route is None:
            raise unknown_model(request.route, list(routes))
        chat = _read_chat(request)
        return ChatRequest(
            route=route,
            chat=chat,
            input_tokens=request.estimated_input_tokens or estimate_prompt_tokens(chat.openai),
            attempt_budget=min(request.attempt_budget or self._attempt_budget, self._attempt_budget),
            deadline=self._deadline(remaining),
            may_continue=_is_continuation_wanted(request, route) and may_be_continued(chat),
        )

    def _deadline(self, remaining: float | None) -> float:
        """Return when a call has to be over, on the loop's clock; `remaining` seconds is what its caller gives it."""
        seconds = self._request_timeout if remaining is None else remaining - _DEADLINE_MARGIN_SECONDS
        return asyncio.get_running_loop().time() + seconds

    async def Embed(self, request: routerpb.EmbedRequest, context: EmbedContext) -> routerpb.EmbedResponse:  # noqa: N802
        """Answer one request for vectors; see router.proto."""
        with self._fleets.borrow() as fleet:
            return await self._embed.answer(request, context, fleet, self._deadline(context.time_remaining()))

    async def ListModels(  # noqa: N802
        self,
        request: routerpb.ListModelsRequest,
        context: grpc.aio.ServicerContext[routerpb.ListModelsRequest, routerpb.ListModelsResponse],
    ) -> routerpb.ListModelsResponse:
        """List the public models in the order of the routes file."""
        return routerpb.ListModelsResponse(
            models=[
                routerpb.Model(
                    route=route.name,
                    targets=[
                        routerpb.ModelTarget(target=target.name, provider=target.provider, target_model=target.model)
                        for target in route.targets
                    ],
                )
                for route in self._fleets.current.routes.values()
            ]
        )

    def _known(self, route: str) -> str:
        """Bound the values of a label: a name that is no route must not make a new series."""
        return route if route in self._fleets.current.routes else "unknown"


async def _run(chain: Chain, outbox: Outbox) -> None:
    try:
        await chain.run()
    finally:
        outbox.close()


def _read_chat(request: routerpb.StreamCompletionRequest) -> ChatBody:
    form = _read_messages_form(request.messages_form) if request.HasField("messages_form") else None
    return ChatBody(_read_body(request.body), form)


def _read_messages_form(form: routerpb.MessagesForm) -> MessagesForm:
    body = _read_body(form.body)
    if not isinstance(body.get("max_tokens"), int):
        raise _bad_body("the native form has no limit", param="max_tokens")
    return MessagesForm(body, form.beta, tuple(form.untranslatable))


def _read_body(body: bytes) -> Json:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_body("the body is not JSON") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("messages"), list):
        raise _bad_body("the body is no chat body: it has no list of messages")
    return parsed


def _is_continuation_wanted(request: routerpb.StreamCompletionRequest, route: Route) -> bool:
    if request.continuation == routerpb.CONTINUATION_UNSPECIFIED:
        return route.may_continue
    return request.continuation == routerpb.CONTINUATION_ALLOW


def _bad_body(message: str, *, param: str = "messages") -> CompletionFailed:
    return CompletionFailed(
        grpc.StatusCode.INVALID_ARGUMENT,
        routerpb.CompletionError(code="invalid_request", message=message, param=param),
    )
