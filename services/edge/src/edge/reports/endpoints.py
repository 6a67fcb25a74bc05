"""The read-only endpoints: models, costs, lists of requests, receipts, figures of the response cache."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from edge.cache.exact import TTL_SECONDS
from edge.guard.identify import Caller, Identify, requires
from edge.http.responses import json_response
from edge.ledger.client import LedgerClient
from edge.ledger.visible import visible_to
from edge.problems import Problem
from edge.reports.csv import CsvStream, CsvTable, csv_headers
from edge.reports.examples import CACHE_STATS, COSTS, MODEL, MODELS, RECEIPT, REQUESTS
from edge.reports.query import DIMENSIONS, MAX_PAGE_SIZE, CostsQuery, RequestsQuery, day_range
from edge.reports.receipts import REQUEST_KEYS, receipt_object, request_object
from edge.router.models import ModelList
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

Json = dict[str, Any]

# Limits of one export. Pages are limited too, because a page may be short or empty when few requests match.
_MAX_EXPORT_ROWS = 100_000
_MAX_EXPORT_PAGES = 500
# Both contracts require a time of creation, which a route does not have: a constant.
_MODELS_CREATED, _MODELS_CREATED_AT = 1_767_225_600, "2026-01-01T00:00:00Z"
_FIGURES = tuple(field.name for field in ledgerpb.SpendFigures.DESCRIPTOR.fields)
_REQUEST_TABLE = CsvTable(REQUEST_KEYS)


@dataclass(frozen=True, slots=True)
class ReportEndpoints:
    """Every report covers what the caller may see of its tenant: its own, its team's, or all of it."""

    identify: Identify
    models: ModelList
    ledger: LedgerClient

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["reports"], dependencies=[Depends(self.identify)])
        router.add_api_route("/v1/models", self.list_models, methods=["GET"], **MODELS)
        # The name of a model may contain slashes.
        router.add_api_route("/v1/models/{model:path}", self.show_model, methods=["GET"], **MODEL)
        usage: Json = {"methods": ["GET"], "dependencies": [requires("usage:read")]}
        router.add_api_route("/v1/costs", self.costs, **usage, **COSTS)
        router.add_api_route("/v1/requests", self.requests, **usage, **REQUESTS)
        router.add_api_route("/v1/requests/{request_id}", self.receipt, **usage, **RECEIPT)
        router.add_api_route("/v1/cache/stats", self.cache_stats, **usage, **CACHE_STATS)
        return router

    async def list_models(self, caller: Caller) -> Json:
        """List the models that a request of the caller may name, with their aliases; wildcards are names of none.

        There is one page, whatever `limit` says: OpenAI's clients expect one, Anthropic's go by `has_more`.
        """
        names = await self.models.listed(caller)
        first, last = (names[0], names[-1]) if names else (None, None)
        data = [_model(name) for name in names]
        return {"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last}

    async def show_model(
        self, caller: Caller, model: Annotated[str, Path(description="A name from `GET /v1/models`.")]
    ) -> Json:
        """Show one of the models that a request may name, by any of its names."""
        await self.models.require(model, caller)
        return _model(model)

    async def costs(self, request: Request, caller: Caller, query: Annotated[CostsQuery, Query()]) -> Response:
        """Return what was spent today and over a range of days: by user, model and day, or grouped as requested."""
        days, names = query.days(), query.dimensions()
        is_csv = query.is_csv(request)
        if is_csv and not names:
            names = ["day"]
        dimensions = [DIMENSIONS[name] for name in names]
        spend = await self.ledger.spend(visible_to(caller), str(days.first), str(days.last), dimensions)
        if is_csv:
            headers = csv_headers(f"spillway-costs-{days.first}-{days.last}")
            if spend.is_truncated:
                headers["x-truncated"] = "true"
            table = CsvTable([*names, *_FIGURES])
            return Response(table.header() + table.lines(_groups(names, spend)), headers=headers)
        report = {
            "currency": "USD",
            "from": str(days.first),
            "to": str(days.last),
            "today": {"day": spend.today_day, **_figures(spend.today)},
            "total": _figures(spend.total),
        }
        return json_response(report | (_grouped(names, spend) if names else _summary(spend)), 200, {})

    async def requests(self, request: Request, caller: Caller, query: Annotated[RequestsQuery, Query()]) -> Response:
        """List requests, newest first, in pages; CSV without a limit exports all that match, up to 100,000."""
        listing, is_csv = query.to_proto(visible_to(caller)), query.is_csv(request)
        is_export = is_csv and query.limit is None
        if is_export:
            listing.page_size = MAX_PAGE_SIZE
        # An export, too, fetches its first page before the status line, so that a refusal has a status of its own.
        page = await self.ledger.requests(listing)
        if is_export:
            return CsvStream(self._export(listing, page), csv_headers("spillway-requests"))
        if is_csv:
            headers = csv_headers("spillway-requests")
            if page.next_page_token:
                headers["x-next-cursor"] = page.next_page_token
            return Response(_REQUEST_TABLE.header() + _request_lines(page), headers=headers)
        data = [request_object(record) for record in page.records]
        body = {"object": "list", "data": data, "next_cursor": page.next_page_token or None}
        return json_response(body, 200, {})

    async def receipt(
        self, caller: Caller, request_id: Annotated[str, Path(description="The `x-request-id` of a response.")]
    ) -> Json:
        """Show one request: how it ended, its attempts and what each of them cost."""
        try:
            canonical = str(uuid.UUID(request_id))
        except ValueError as error:
            raise Problem("request_not_found", f"{request_id!r} is no request id", param="request_id") from error
        return receipt_object(await self.ledger.receipt(visible_to(caller), canonical))

    async def cache_stats(self, caller: Caller) -> Json:
        """Return how often the response cache answered over the last 30 days, and what that saved."""
        days = day_range()
        total = (await self.ledger.spend(visible_to(caller), str(days.first), str(days.last))).total
        look_ups = total.cache_hits + total.cache_misses
        return {
            "from": str(days.first),
            "to": str(days.last),
            "hits": total.cache_hits,
            "misses": total.cache_misses,
            "bypasses": total.cache_bypasses,
            "hit_ratio": round(total.cache_hits / look_ups, 4) if look_ups else None,
            "saved_cost_usd": total.saved_cost_usd,
            "ttl_seconds": TTL_SECONDS,
        }

    async def _export(
        self, listing: ledgerpb.ListRequestsRequest, page: ledgerpb.ListRequestsResponse
    ) -> AsyncIterator[bytes]:
        """Yield `page` and the pages after it as CSV; at the limit of an export the last row names the next cursor."""
        yield _REQUEST_TABLE.header()
        rows = pages = 0
        while True:
            yield _request_lines(page)
            rows, pages = rows + len(page.records), pages + 1
            if not page.next_page_token:
                return
            if rows >= _MAX_EXPORT_ROWS or pages >= _MAX_EXPORT_PAGES:
                break
            listing.page_token = page.next_page_token
            page = await self.ledger.requests(listing)
        note = f"# cut here: more follows with cursor={page.next_page_token}"
        yield _REQUEST_TABLE.lines([{REQUEST_KEYS[0]: note}])


def _model(name: str) -> Json:
    """Return what is told of a model: the fields of OpenAI's contract and those of Anthropic's."""
    openai = {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "spillway"}
    return {**openai, "type": "model", "display_name": name, "created_at": _MODELS_CREATED_AT}


def _summary(spend: ledgerpb.GetSpendResponse) -> Json:
    return {
        "by_user": [{"user": group.key, **_figures(group.figures)} for group in spend.by_user],
        "by_model": [{"model": group.key, **_figures(group.figures)} for group in spend.by_model],
        "by_day": [{"day": group.key, **_figures(group.figures)} for group in spend.by_day],
    }


def _grouped(names: list[str], spend: ledgerpb.GetSpendResponse) -> Json:
    return {"group_by": names, "groups": _groups(names, spend), "truncated": spend.is_truncated}


def _groups(names: list[str], spend: ledgerpb.GetSpendResponse) -> list[Json]:
    return [{**dict(zip(names, group.keys, strict=True)), **_figures(group.figures)} for group in spend.groups]


def _figures(figures: ledgerpb.SpendFigures) -> Json:
    return {name: getattr(figures, name) for name in _FIGURES}


def _request_lines(page: ledgerpb.ListRequestsResponse) -> bytes:
    return _REQUEST_TABLE.lines(map(request_object, page.records))
