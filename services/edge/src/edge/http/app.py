"""The HTTP application: endpoints, error handlers, documentation."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from edge.contracts.contract import Contract
from edge.guard.capacity import Capacity
from edge.guard.identify import Identify
from edge.http.accept import Accept
from edge.http.documentation import create_fastapi
from edge.http.doorway import Doorway
from edge.http.errors import Errors
from edge.http.openapi import describe
from edge.http.surface.surface import Surface, SurfaceRules
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()

_DESCRIPTION = """
An LLM gateway: streaming answers, fallback between providers, a response cache, and every cent recorded.

Send your API key as `Authorization: Bearer sk-spillway-...`, as `x-api-key` or as `api-key`. Errors have one shape;
`retryable` tells whether the same request may succeed later. Once a stream has begun, an error is its last event and
nothing that reads as success follows it. Errors of `/v1/messages` have Anthropic's shape.
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
    errors = Errors(contracts, metrics)
    app.add_exception_handler(Problem, errors.on_problem)
    app.add_exception_handler(HTTPException, errors.on_http_exception)
    app.add_exception_handler(RequestValidationError, errors.on_validation_error)
    app.add_exception_handler(Exception, errors.on_crash)
    describe(app, contracts)
    doorway = Doorway(app, routers, contracts, identify, capacity, errors)
    # Around everything, Starlette's own answer to a crash too: a 500 has an id and is counted like any answer.
    return Accept(Surface(doorway, rules or SurfaceRules()), metrics)
