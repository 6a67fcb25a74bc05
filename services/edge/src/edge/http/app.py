"""The HTTP application: endpoints, error handlers, documentation."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from edge.contracts.contract import Contract, logged_param
from edge.guard.capacity import Capacity
from edge.guard.identify import Identify
from edge.http.accept import Accept
from edge.http.documentation import create_fastapi
from edge.http.doorway import Doorway
from edge.http.openapi import describe
from edge.http.responses import json_response
from edge.http.surface.surface import Surface, SurfaceRules
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()

_DESCRIPTION = """
An LLM gateway: streaming answers, fallback between providers, a response cache, and every cent recorded.

Send your API key as `Authorization: Bearer sk-spillway-...`. Errors have one shape; `retryable` tells whether the
same request may succeed later. Once a stream has begun, an error is its last event and nothing that reads as
success follows it. `/v1/messages` takes keys as `x-api-key` too, and its errors have Anthropic's shape.
"""


def create_app(
    routers: Sequence[APIRouter],
    contracts: Sequence[Contract],
    metrics: Metrics,
    identify: Identify | None = None,
    capacity: Capacity | None = None,
    rules: SurfaceRules | None = None,
    *,
    has_docs: bool = True,
) -> ASGIApp:
    """Put the application together from the endpoints; each of the `contracts` has one.

    Where `identify` is given, those that need a key are not even called without one; where `capacity` is, those of the
    contracts are not while it has no room. The `rules` are for strangers and browsers.
    """
    app = create_fastapi("Spillway", "0.1.0", _DESCRIPTION, has_docs=has_docs)
    for router in routers:
        app.include_router(router)
    errors = _Errors(contracts, metrics)
    app.add_exception_handler(Problem, errors.on_problem)
    app.add_exception_handler(HTTPException, errors.on_http_exception)
    app.add_exception_handler(RequestValidationError, errors.on_validation_error)
    app.add_exception_handler(Exception, errors.on_crash)
    describe(app, contracts)
    doorway = Doorway(app, routers, contracts, identify, capacity, errors.answer)
    # Around everything, Starlette's own answer to a crash too: a 500 has an id and is counted like any answer.
    return Accept(Surface(doorway, rules or SurfaceRules()), metrics)


class _Errors:
    """Answers what was raised before a request was admitted, and counts it where something would have been spent."""

    def __init__(self, contracts: Sequence[Contract], metrics: Metrics) -> None:
        self._contracts = {path: contract for contract in contracts for path in contract.paths}
        self._metrics = metrics

    async def on_problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - what it was registered for
        param = logged_param(error.param, self._contract_of(request.scope["path"]))
        log.info("request_rejected", reason=error.code, param=param)
        return self.answer(request, error)

    async def on_http_exception(self, request: Request, error: Exception) -> Response:
        """Answer what is missing below a path that there is."""
        assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
        return self.answer(request, Problem("not_found", f"there is nothing at {request.scope['path']}"))

    async def on_validation_error(self, request: Request, error: Exception) -> Response:
        """Answer a query parameter that makes no sense."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
        fault = error.errors()[0]
        name = str(fault["loc"][-1])
        return self.answer(request, Problem("invalid_request", f"{name}: {fault['msg']}", param=name))

    async def on_crash(self, request: Request, error: Exception) -> Response:
        """Answer an error of our own, without telling more than that."""
        log.error("request_crashed", endpoint=request.scope["path"], exc_info=error)
        return self.answer(request, Problem("internal_error", "the gateway failed; it is our fault, not yours"))

    def answer(self, request: Request, problem: Problem) -> Response:
        """Write the error in the shape of the contract at this path."""
        if request.method == "POST" and self._contracts:  # chat and embeddings; others spend nothing
            self._metrics.refusals.labels(problem.code).inc()
        request_id = request.state.request_id
        contract = self._contract_of(request.scope["path"])
        if contract is None:
            return json_response(problem.body(), problem.kind.status, problem.headers())
        headers = {**contract.headers(request_id), **problem.headers()}
        return json_response(contract.error(problem, request_id), problem.kind.status, headers)

    def _contract_of(self, path: str) -> Contract | None:
        """Return the contract at this path or above it; None: there is none."""
        while path:
            if path in self._contracts:
                return self._contracts[path]
            path = path.rpartition("/")[0]
        return None
