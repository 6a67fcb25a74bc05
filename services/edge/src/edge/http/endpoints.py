"""The one endpoint that serves every contract."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from fastapi import APIRouter, Request, Response

from edge.cache.cache import Bypass, Hit, LookUp, ResponseCache
from edge.cache.policy import MODE_HEADER, CacheWish, read_wish
from edge.contracts.contract import Contract, logged_param
from edge.conversation import Content, Conversation
from edge.exchange.exchange import Exchange, ExchangeDependencies
from edge.facts import RequestFacts
from edge.guard.capacity import Capacity, Place
from edge.guard.check import Asked
from edge.guard.guard import Guard, Rejected
from edge.guard.identify import Identify
from edge.http.body import read_bytes
from edge.http.openapi import contract_route
from edge.http.readers import BodyReaders
from edge.http.responses import StreamResponse, StreamTimes, WholeResponse, json_response
from edge.idempotency.idempotency import Claim, Idempotency, OnceResponse
from edge.identity import Identity
from edge.problems import Problem
from edge.settings import Settings
from edge.stored.responses import StoredResponses

log = structlog.get_logger()


class ContractEndpoint:
    """Takes a request in one contract through all steps."""

    def __init__(
        self,
        contract: Contract,
        settings: Settings,
        identify: Identify,
        capacity: Capacity,
        readers: BodyReaders,
        guard: Guard,
        cache: ResponseCache,
        exchanges: ExchangeDependencies,
        idempotency: Idempotency,
        stored: StoredResponses | None = None,
    ) -> None:
        """`cache` keeps the answers of this contract; `stored` what its later requests go on from, None: none does."""
        self._contract = contract
        self._max_body_bytes = settings.max_body_bytes
        self._times = StreamTimes(
            keepalive_seconds=settings.keepalive_seconds,
            status_hold_seconds=settings.status_hold_seconds,
            client_gone_grace_seconds=settings.client_gone_grace_seconds,
        )
        self._identify = identify
        self._capacity = capacity
        self._readers = readers
        self._guard = guard
        self._cache = cache
        self._exchanges = exchanges
        self._idempotency = idempotency
        self._stored = stored

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        for path in self._contract.paths:
            router.add_api_route(
                path,
                self.answer,
                methods=["POST"],
                operation_id=path.strip("/").replace("/", "_"),
                **contract_route(self._contract),
            )
        return router

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        contract = self._contract
        identity = await self._identify.identify(request)
        identity.require(contract.permission)
        place = request.state.until_end.enter_context(self._capacity.place(identity.holder))
        headers = request.headers
        wish = read_wish(headers.getlist("cache-control"), headers.getlist(MODE_HEADER), contract.cache_mode)
        raw = await read_bytes(request, self._max_body_bytes, place.hold)
        content = await self._readers.read(contract, request.url.path, raw, headers)
        if self._stored is not None and isinstance(content, Conversation):
            content = await self._stored.complete(identity.tenant, content)
        if "idempotency-key" not in headers:
            return await self._admit(request, identity, content, wish, place)
        keys = headers.getlist("idempotency-key")
        claim = await self._idempotency.claim(keys, identity, request.url.path, raw)
        if isinstance(claim, Response):
            claim.headers.update(contract.headers(request.state.request_id))
            return claim
        return await self._admit(request, identity, content, wish, place, claim)

    async def _admit(
        self,
        request: Request,
        identity: Identity,
        content: Content,
        wish: CacheWish,
        place: Place,
        claim: Claim | None = None,
    ) -> Response:
        if claim is None:
            return await self._run(request, identity, content, wish, place)
        try:
            response = await self._run(request, identity, content, wish, place)
        except BaseException:
            await claim.free()
            raise
        if not isinstance(response, StreamResponse | WholeResponse):
            await claim.free()
            return response
        # The client's own values are put back for the client alone, and kept nowhere.
        may_keep = wish.control.may_write and not response.exchange.inspected.originals
        return OnceResponse(response, claim, lambda: response.is_whole, may_keep=may_keep)

    async def _run(
        self, request: Request, identity: Identity, content: Content, wish: CacheWish, place: Place
    ) -> Response:
        contract = self._contract
        await place.begin(request.state.accepted)
        verdict = await self._guard.admit(self._asked(request, identity, content, wish, place), request.state.steps)
        if isinstance(verdict, Rejected):
            self._exchanges.metrics.refusals.labels(verdict.problem.code).inc()
            return self._refusal(request, verdict.problem, verdict.headers)
        # From here on the request is on record, and has to be run.
        exchange = Exchange(
            self._exchanges,
            verdict.facts,
            verdict.inspected,
            verdict.look_up,
            self._cache,
            place.has_begun,
            verdict.reservations,
            self._stored.keeping if self._stored is not None and wish.control.may_write else None,
        )
        headers = {
            **verdict.headers,
            **contract.headers(verdict.facts.request_id),
            "cache-status": _cache_status(verdict.look_up),
        }
        steps, times = request.state.steps, self._times
        if content.is_streaming:
            ends = self._exchanges.metrics.stream_ends
            return StreamResponse(exchange, contract, {**headers, "server-timing": steps.header()}, times, ends)
        return WholeResponse(exchange, contract, headers, times.client_gone_grace_seconds, steps)

    def _asked(self, request: Request, identity: Identity, content: Content, wish: CacheWish, place: Place) -> Asked:
        facts = RequestFacts(
            request_id=request.state.request_id,
            identity=identity,
            endpoint=content.endpoint,
            requested_model=content.requested_model or "",
            is_streaming=content.is_streaming,
            accepted=request.state.accepted,
            client_request_id=request.state.client_request_id,
        )
        return Asked(facts, content, self._cache, wish, place.outside)

    def _refusal(self, request: Request, problem: Problem, headers: Mapping[str, str]) -> Response:
        log.info("request_rejected", reason=problem.code, param=logged_param(problem.param, self._contract))
        request_id = request.state.request_id
        body = self._contract.error(problem, request_id)
        own = self._contract.headers(request_id)
        return json_response(body, problem.kind.status, {**headers, **own, **problem.headers()})


def _cache_status(look_up: LookUp) -> str:
    """Write what the response cache did, after RFC 9211."""
    if isinstance(look_up, Hit):
        return "edge; hit"
    return f"edge; fwd=bypass; detail={look_up.reason}" if isinstance(look_up, Bypass) else "edge; fwd=miss"
