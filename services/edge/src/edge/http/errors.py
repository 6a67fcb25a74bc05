"""What is answered when an endpoint raises."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from edge.contracts.contract import Contract, logged_param
from edge.http.paths import endpoint_of
from edge.http.responses import json_response
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()


class Errors:
    """Answers what was raised before a request was admitted, and counts it where something would have been spent."""

    def __init__(self, contracts: Sequence[Contract], metrics: Metrics) -> None:
        self._contracts = {path: contract for contract in contracts for path in contract.paths}
        self._metrics = metrics

    async def on_problem(self, request: Request, error: Exception) -> Response:
        """Answer a Problem, in the words it has."""
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
        """Return the contract at this path or above it, as it is or as it was meant; None: there is none."""
        return self._at_or_above(path) or self._at_or_above(endpoint_of(path))

    def _at_or_above(self, path: str) -> Contract | None:
        while path:
            if path in self._contracts:
                return self._contracts[path]
            path = path.rpartition("/")[0]
        return None
