"""What is asked for is found, whatever spelling; what cannot be served is refused before anything is set up for it.

Unknown paths, wrong methods and missing keys; and what is asked with a key while too many others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from re import Pattern

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.contracts.contract import Contract
from edge.guard.capacity import Capacity
from edge.guard.identify import Identify
from edge.http.connection.connections import group_of
from edge.http.direct import DirectEndpoint
from edge.http.errors import Errors
from edge.http.paths import endpoint_of, spellings
from edge.http.responses import json_response
from edge.http.stranger_pace import StrangerPace
from edge.problems import Problem
from servicekit.log_limit import LimitedLog

# Where a vendor's SDK may ask with any base URL, besides the contracts and what is below them: `paths.py`.
_LIST_OF_MODELS = "/v1/models"


@dataclass(slots=True)
class _Place:
    """What there is at a path."""

    methods: frozenset[str]
    needs_key: bool
    needs_turn: bool
    is_vendors: bool
    """Whether it is asked for by SDKs of vendors, whatever their base URL makes of its path."""
    app: ASGIApp
    """Who answers there."""

    def takes(self, method: str) -> bool:
        """Tell whether a method is answered; `HEAD` is wherever `GET` is."""
        return method in self.methods or method == "OPTIONS" or (method == "HEAD" and "GET" in self.methods)

    def allow(self) -> str:
        """Return the methods as the header `Allow` has them."""
        return ", ".join(sorted({*self.methods, "OPTIONS", *(["HEAD"] if "GET" in self.methods else [])}))


class Doorway:
    """ASGI middleware around an application with these routes; `identify` is what some of them depend on.

    FastAPI does the same, in a quarter of a millisecond, and would redirect to wherever the client's `Host` says. What
    is asked in one of the contracts goes to its endpoint directly.
    """

    def __init__(
        self,
        app: FastAPI,
        routers: Iterable[APIRouter],
        contracts: Iterable[Contract],
        identify: Identify | None,
        capacity: Capacity | None,
        errors: Errors,
    ) -> None:
        """`capacity` is for the requests in one of the `contracts`."""
        self._app = app
        self._contracts = {path: contract for contract in contracts for path in contract.paths}
        self._identify = identify
        self._capacity = capacity
        self._errors = errors
        self._log = LimitedLog()
        self._pace = StrangerPace()
        self._places: dict[str, _Place] = {}
        self._patterns: list[tuple[Pattern[str], _Place]] = []
        self._below_vendors = (_LIST_OF_MODELS, *(f"{path}/" for path in self._contracts))
        self._mounts = tuple(f"{route.path}/" for route in app.routes if isinstance(route, Mount))
        for route in app.routes:
            if isinstance(route, Route):  # of FastAPI itself
                self._add(route, needs_key=False)
        for router in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute)  # noqa: S101 - there are no others
                depends = any(each.dependency is identify for each in (*router.dependencies, *route.dependencies))
                needs_key = identify is not None and (depends or route.path in self._contracts)
                self._add(route, needs_key=needs_key)

    def _add(self, route: Route, *, needs_key: bool) -> None:
        contract = self._contracts.get(route.path)
        needs_turn = self._capacity is not None and contract is not None
        is_vendors = contract is not None or route.path.startswith(self._below_vendors)
        app = self._app if contract is None else DirectEndpoint(route.endpoint, self._errors)
        place = _Place(frozenset(route.methods or ()), needs_key, needs_turn, is_vendors, app)
        if route.param_convertors:
            known = next((each for pattern, each in self._patterns if pattern == route.path_regex), None)
            if known is None:
                self._patterns.append((route.path_regex, place))
            else:
                known.methods |= place.methods
        elif route.path in self._places:
            self._places[route.path].methods |= place.methods
        else:
            self._places[route.path] = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on with the identity of its sender, as one for the path that it means."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        place = self._places.get(scope["path"])
        if place is None:
            scope["path"], place = self._find(scope["path"])
        request = Request(scope)
        answer = self._refuse(request, place) or await self._identify_sender(request, place)
        if answer:
            client = scope.get("client")
            if delay := self._pace.delay(group_of(client[0]) if client else ""):
                await asyncio.sleep(delay)
        elif place is not None and scope["method"] == "OPTIONS":
            answer = Response(status_code=204, headers={"allow": place.allow()})
        elif place is not None and place.needs_turn:
            answer = self._refuse_crowd(request)
        app = answer or (self._app if place is None else place.app)
        if place is not None and scope["method"] == "HEAD" and "HEAD" not in place.methods:
            scope = {**scope, "method": "GET"}  # the server, which has the scope as it was, leaves the body out
        await app(scope, receive, send)

    def _find(self, path: str) -> tuple[str, _Place | None]:
        """Return what there is at a path, however it is spelled, and the path as it is spelled here."""
        for spelling in spellings(path):
            if place := self._places.get(spelling) or self._match(spelling):
                return spelling, place
        meant = endpoint_of(path)
        place = self._places.get(meant) or self._match(meant)
        return (meant, place) if place is not None and place.is_vendors else (path, None)

    def _refuse_crowd(self, request: Request) -> Response | None:
        assert self._capacity is not None  # noqa: S101 - of a place that needs a turn
        try:
            self._capacity.require_room()
        except Problem as problem:
            self._log.info("request_rejected", problem.code)
            return self._errors.answer(request, problem)
        return None

    def _refuse(self, request: Request, place: _Place | None) -> Response | None:
        """Answer who asks for what is not there."""
        if (misdirected := request.scope["state"].get("refusal")) is not None:
            return json_response(misdirected.body(), misdirected.kind.status, misdirected.headers())
        path = request.scope["path"]
        if place is None:
            if path.startswith(self._mounts):
                return None
            hint = "; see /docs" if "/docs" in self._places else ""
            return self._errors.answer(request, Problem("not_found", f"there is nothing at {path}{hint}"))
        if not place.takes(request.method):
            known = ", ".join(sorted(place.methods))
            response = self._errors.answer(request, Problem("method_not_allowed", f"{path} takes {known} only"))
            response.headers["allow"] = place.allow()
            return response
        return None

    async def _identify_sender(self, request: Request, place: _Place | None) -> Response | None:
        """Answer a stranger, where a key is needed."""
        if self._identify is None or place is None or not place.needs_key or request.method == "OPTIONS":
            return None
        try:
            await self._identify.identify(request)
        except Problem as problem:
            self._log.info("request_rejected", problem.code)
            return self._errors.answer(request, problem)
        return None

    def _match(self, path: str) -> _Place | None:
        return next((place for pattern, place in self._patterns if pattern.match(path)), None)
