"""What cannot be served is refused before anything is set up for it.

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
from edge.http.responses import json_response
from edge.http.stranger_pace import StrangerPace
from edge.problems import Problem
from servicekit.log_limit import LimitedLog


@dataclass(slots=True)
class _Place:
    """What there is at a path."""

    methods: frozenset[str]
    needs_key: bool
    takes_api_key_header: bool
    needs_turn: bool
    app: ASGIApp
    """Who answers there."""


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
        takes_header = contract is not None and contract.takes_api_key_header
        needs_turn = self._capacity is not None and contract is not None
        app = self._app if contract is None else DirectEndpoint(route.endpoint, self._errors)
        place = _Place(frozenset(route.methods or ()), needs_key, takes_header, needs_turn, app)
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
        """Answer, or pass the request on with the identity of its sender."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        place = self._places.get(path) or self._match(path)
        refusal = await self._read_token(Request(scope), place) or self._refuse(Request(scope), path, place)
        if refusal:
            client = scope.get("client")
            if delay := self._pace.delay(group_of(client[0]) if client else ""):
                await asyncio.sleep(delay)
        elif place is not None and place.needs_turn:
            refusal = self._refuse_crowd(Request(scope))
        await (refusal or (self._app if place is None else place.app))(scope, receive, send)

    def _refuse_crowd(self, request: Request) -> Response | None:
        assert self._capacity is not None  # noqa: S101 - of a place that needs a turn
        try:
            self._capacity.require_room()
        except Problem as problem:
            self._log.info("request_rejected", problem.code)
            return self._errors.answer(request, problem)
        return None

    async def _read_token(self, request: Request, place: _Place | None) -> Response | None:
        """Answer who comes with a token that is not taken."""
        if self._identify is None or place is None or not place.needs_key or "refusal" in request.scope["state"]:
            return None
        try:
            await self._identify.read_token(request, takes_api_key_header=place.takes_api_key_header)
        except Problem as problem:
            self._log.info("request_rejected", problem.code)
            return self._errors.answer(request, problem)
        return None

    def _refuse(self, request: Request, path: str, place: _Place | None) -> Response | None:
        """Answer a stranger."""
        if (misdirected := request.scope["state"].get("refusal")) is not None:
            return json_response(misdirected.body(), misdirected.kind.status, misdirected.headers())
        if place is None:
            return self._nothing_at(request, path)
        if request.method not in place.methods:
            allowed = ", ".join(sorted(place.methods))
            response = self._errors.answer(request, Problem("method_not_allowed", f"{path} takes {allowed} only"))
            response.headers["allow"] = allowed
            return response
        if place.needs_key:
            assert self._identify is not None  # noqa: S101 - see above
            try:
                self._identify.identity_of(request, takes_api_key_header=place.takes_api_key_header)
            except Problem as problem:
                self._log.info("request_rejected", problem.code)
                return self._errors.answer(request, problem)
        return None

    def _nothing_at(self, request: Request, path: str) -> Response | None:
        if path.startswith(self._mounts):
            return None
        bare = path.rstrip("/")
        meant = bare if bare != path and (bare in self._places or self._match(bare)) else "/docs"
        hint = f"; see {meant}" if meant in self._places or self._match(meant) else ""
        return self._errors.answer(request, Problem("not_found", f"there is nothing at {path}{hint}"))

    def _match(self, path: str) -> _Place | None:
        return next((place for pattern, place in self._patterns if pattern.match(path)), None)
