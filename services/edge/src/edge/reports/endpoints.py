"""The endpoints that only read: models, costs, receipts, cache figures."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from edge.cache.exact import TTL_SECONDS
from edge.guard.identify import Caller, Identify
from edge.http.responses import json_response
from edge.ledger.client import LedgerClient
from edge.problems import Problem
from edge.reports.csv import CsvStream, csv_headers, csv_lines
from edge.reports.examples import CACHE_STATS, COSTS, MODEL, MODELS, RECEIPT, REQUESTS
from edge.reports.query import DIMENSIONS, LARGEST_PAGE, CostsQuery, RequestsQuery, day_range
from edge.reports.receipts import REQUEST_KEYS, receipt_object, request_object
from edge.router.models import ModelList
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

Json = dict[str, Any]

# Of one export, in rows and in pages: where few requests match, pages are short.
_MOST_ROWS, _MOST_PAGES = 100_000, 500
# The contract wants a time of creation and a route has none: 2026-01-01, the same for all and for ever.
_MODELS_CREATED = 1_767_225_600
_FIGURES = tuple(field.name for field in ledgerpb.SpendFigures.DESCRIPTOR.fields)


@dataclass(frozen=True, slots=True)
class ReportEndpoints:
    """Each answers for the tenant of the key it is asked with."""

    identify: Identify
    models: ModelList
    ledger: LedgerClient

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["reports"], dependencies=[Depends(self.identify)])
        router.add_api_route("/v1/models", self.list_models, methods=["GET"], **MODELS)
        # A model's name may hold slashes.
        router.add_api_route("/v1/models/{model:path}", self.show_model, methods=["GET"], **MODEL)
        router.add_api_route("/v1/costs", self.costs, methods=["GET"], **COSTS)
        router.add_api_route("/v1/requests", self.requests, methods=["GET"], **REQUESTS)
        router.add_api_route("/v1/requests/{request_id}", self.receipt, methods=["GET"], **RECEIPT)
        router.add_api_route("/v1/cache/stats", self.cache_stats, methods=["GET"], **CACHE_STATS)
        return router

    async def list_models(self) -> Json:
        """List the models that a request may name."""
        return {"object": "list", "data": [_model(name) for name in await self.models.known()]}

    async def show_model(self, model: Annotated[str, Path(description="A name from `GET /v1/models`.")]) -> Json:
        """Show one of the models that a request may name."""
        await self.models.require(model)
        return _model(model)

    async def costs(self, request: Request, caller: Caller, query: Annotated[CostsQuery, Query()]) -> Response:
        """Tell what was spent: today, and over a range of days in total and by user, model and day, or as asked."""
        (first, last), names = query.days(), query.dimensions()
        is_csv = query.is_csv(request)
        if is_csv and not names:
            names = ["day"]
        spend = await self.ledger.spend(caller.tenant, str(first), str(last), [DIMENSIONS[name] for name in names])
        if is_csv:
            headers = csv_headers(f"spillway-costs-{first}-{last}")
            if spend.is_truncated:
                headers["x-truncated"] = "true"
            rows = [[*group.keys, *_figures(group.figures).values()] for group in spend.groups]
            return Response(csv_lines([[*names, *_FIGURES], *rows]), headers=headers)
        told = {
            "currency": "USD",
            "from": str(first),
            "to": str(last),
            "today": {"day": spend.today_day, **_figures(spend.today)},
            "total": _figures(spend.total),
        }
        return json_response(told | (_groups(names, spend) if names else _summary(spend)), 200, {})

    async def requests(self, request: Request, caller: Caller, query: Annotated[RequestsQuery, Query()]) -> Response:
        """List requests, newest first, page by page; as CSV all of them that match, at most 100,000."""
        asked, is_csv = query.to_proto(caller.tenant), query.is_csv(request)
        is_export = is_csv and query.limit is None
        if is_export:
            asked.page_size = LARGEST_PAGE
        # Also of an export the first page is there before the status: a refusal is a status.
        page = await self.ledger.requests(asked)
        if is_export:
            return CsvStream(self._export(asked, page), csv_headers("spillway-requests"))
        if is_csv:
            headers = csv_headers("spillway-requests")
            if page.next_page_token:
                headers["x-next-cursor"] = page.next_page_token
            return Response(csv_lines([REQUEST_KEYS]) + _request_lines(page), headers=headers)
        found = [request_object(record) for record in page.records]
        told = {"object": "list", "data": found, "next_cursor": page.next_page_token or None}
        return json_response(told, 200, {})

    async def receipt(
        self, caller: Caller, request_id: Annotated[str, Path(description="The `x-request-id` of a response.")]
    ) -> Json:
        """Show one request: how it ended, its attempts, what each of them cost."""
        try:
            canonical = str(uuid.UUID(request_id))
        except ValueError as error:
            raise Problem("request_not_found", f"{request_id!r} is no request id", param="request_id") from error
        return receipt_object(await self.ledger.receipt(caller.tenant, canonical))

    async def cache_stats(self, caller: Caller) -> Json:
        """Tell how often the response cache answered over the last 30 days, and what that saved."""
        first, last = day_range(None, None)
        total = (await self.ledger.spend(caller.tenant, first.isoformat(), last.isoformat())).total
        asked = total.cache_hits + total.cache_misses
        return {
            "from": first.isoformat(),
            "to": last.isoformat(),
            "hits": total.cache_hits,
            "misses": total.cache_misses,
            "bypasses": total.cache_bypasses,
            "hit_ratio": round(total.cache_hits / asked, 4) if asked else None,
            "saved_cost_usd": total.saved_cost_usd,
            "ttl_seconds": TTL_SECONDS,
        }

    async def _export(
        self, asked: ledgerpb.ListRequestsRequest, page: ledgerpb.ListRequestsResponse
    ) -> AsyncIterator[bytes]:
        """Yield `page` and those that follow as CSV; a last row says so when there is more than an export may have."""
        yield csv_lines([REQUEST_KEYS])
        rows = pages = 0
        while True:
            yield _request_lines(page)
            rows, pages = rows + len(page.records), pages + 1
            if not page.next_page_token:
                return
            if rows >= _MOST_ROWS or pages >= _MOST_PAGES:
                break
            asked.page_token = page.next_page_token
            page = await self.ledger.requests(asked)
        note = f"# cut here: more follows with cursor={page.next_page_token}"
        yield csv_lines([[note, *[None] * (len(REQUEST_KEYS) - 1)]])


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "spillway"}


def _summary(spend: ledgerpb.GetSpendResponse) -> Json:
    return {
        "by_user": [{"user": group.key, **_figures(group.figures)} for group in spend.by_user],
        "by_model": [{"model": group.key, **_figures(group.figures)} for group in spend.by_model],
        "by_day": [{"day": group.key, **_figures(group.figures)} for group in spend.by_day],
    }


def _groups(names: list[str], spend: ledgerpb.GetSpendResponse) -> Json:
    return {
        "group_by": names,
        "groups": [{**dict(zip(names, group.keys, strict=True)), **_figures(group.figures)} for group in spend.groups],
        "truncated": spend.is_truncated,
    }


def _figures(figures: ledgerpb.SpendFigures) -> Json:
    return {name: getattr(figures, name) for name in _FIGURES}


def _request_lines(page: ledgerpb.ListRequestsResponse) -> bytes:
    return csv_lines(list(request_object(record).values()) for record in page.records)
