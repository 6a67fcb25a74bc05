"""The endpoints that only read: models, costs, receipts, cache figures."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from edge.cache import TTL_SECONDS
from edge.guard import Guard
from edge.ledger_client import LedgerClient
from edge.models import ModelList
from edge.notation import attempt_object, finish_reason_name, outcome_name
from edge.openapi import CACHE_STATS, COSTS, MODEL, MODELS, RECEIPT
from edge.problems import Problem
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

Json = dict[str, Any]

_DEFAULT_DAYS = 30
_LONGEST_DAYS = 366
# The contract wants a time of creation and a route has none: 2026-01-01, the same for all and for ever.
_MODELS_CREATED = 1_767_225_600
Day = Annotated[date | None, Query(description="UTC day, YYYY-MM-DD, included.")]


@dataclass(frozen=True, slots=True)
class ReportEndpoints:
    """Each answers for the tenant of the key it is asked with."""

    guard: Guard
    models: ModelList
    ledger: LedgerClient

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["reports"])
        router.add_api_route("/v1/models", self.list_models, methods=["GET"], **MODELS)
        # A model's name may hold slashes.
        router.add_api_route("/v1/models/{model:path}", self.show_model, methods=["GET"], **MODEL)
        router.add_api_route("/v1/costs", self.costs, methods=["GET"], **COSTS)
        router.add_api_route("/v1/requests/{request_id}", self.receipt, methods=["GET"], **RECEIPT)
        router.add_api_route("/v1/cache/stats", self.cache_stats, methods=["GET"], **CACHE_STATS)
        return router

    async def list_models(self, request: Request) -> Json:
        """List the models that a request may name."""
        self.guard.identify(request.headers.get("authorization"))
        return {"object": "list", "data": [_model(name) for name in await self.models.known()]}

    async def show_model(
        self, request: Request, model: Annotated[str, Path(description="A name from `GET /v1/models`.")]
    ) -> Json:
        """Show one of the models that a request may name."""
        self.guard.identify(request.headers.get("authorization"))
        await self.models.require(model)
        return _model(model)

    async def costs(self, request: Request, from_: Annotated[Day, Query(alias="from")] = None, to: Day = None) -> Json:
        """Tell what was spent: today, and over a range of days in total, by user, by model and by day."""
        identity = self.guard.identify(request.headers.get("authorization"))
        first, last = _range(from_, to)
        spend = await self.ledger.spend(identity.tenant, first.isoformat(), last.isoformat())
        return {
            "currency": "USD",
            "from": first.isoformat(),
            "to": last.isoformat(),
            "today": {"day": spend.today_day, **_figures(spend.today)},
            "total": _figures(spend.total),
            "by_user": [{"user": group.key, **_figures(group.figures)} for group in spend.by_user],
            "by_model": [{"model": group.key, **_figures(group.figures)} for group in spend.by_model],
            "by_day": [{"day": group.key, **_figures(group.figures)} for group in spend.by_day],
        }

    async def receipt(
        self, request: Request, request_id: Annotated[str, Path(description="The `x-request-id` of a response.")]
    ) -> Json:
        """Show one request: how it ended, its attempts, what each of them cost."""
        identity = self.guard.identify(request.headers.get("authorization"))
        try:
            canonical = str(uuid.UUID(request_id))
        except ValueError as error:
            raise Problem("request_not_found", f"{request_id!r} is no request id", param="request_id") from error
        return _receipt(await self.ledger.receipt(identity.tenant, canonical))

    async def cache_stats(self, request: Request) -> Json:
        """Tell how often the response cache answered over the last 30 days, and what that saved."""
        identity = self.guard.identify(request.headers.get("authorization"))
        first, last = _range(None, None)
        total = (await self.ledger.spend(identity.tenant, first.isoformat(), last.isoformat())).total
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


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "spillway"}


def _range(first: date | None, last: date | None) -> tuple[date, date]:
    last = last or datetime.now(UTC).date()
    first = first or last - timedelta(days=_DEFAULT_DAYS - 1)
    if first > last:
        raise Problem("invalid_request", f"from ({first}) is after to ({last})", param="from")
    if (last - first).days >= _LONGEST_DAYS:
        raise Problem("invalid_request", f"at most {_LONGEST_DAYS} days at a time", param="from")
    return first, last


def _figures(figures: ledgerpb.SpendFigures) -> Json:
    return {field.name: getattr(figures, field.name) for field in figures.DESCRIPTOR.fields}


def _receipt(record: ledgerpb.RequestRecord) -> Json:
    request, settled = record.request, record.settled
    is_settled = record.HasField("settled")
    return {
        "request_id": request.request_id,
        "state": ledgerpb.RequestState.Name(record.state).removeprefix("REQUEST_STATE_").lower(),
        "tenant": request.tenant,
        "user": request.user,
        "key_id": request.key_id,
        "endpoint": request.endpoint,
        "requested_model": request.requested_model,
        "is_streaming": request.is_streaming,
        "admitted_at": request.admitted_at.ToJsonString(),
        "settled_at": settled.settled_at.ToJsonString() if is_settled else None,
        "outcome": outcome_name(settled.outcome) if is_settled else None,
        "finish_reason": finish_reason_name(settled.finish_reason) if settled.finish_reason else None,
        "error_code": settled.error_code or None,
        "cache_status": ledgerpb.CacheStatus.Name(settled.cache_status)[13:].lower() if is_settled else None,
        "cache_bypass_reason": settled.cache_bypass_reason or None,
        "duration_seconds": settled.duration.ToMicroseconds() / 1e6 if is_settled else None,
        "time_to_first_token_seconds": settled.time_to_first_token.ToMicroseconds() / 1e6
        if settled.HasField("time_to_first_token")
        else None,
        "cost_usd": record.cost_usd if record.HasField("cost_usd") else None,
        "saved_cost_usd": record.saved_cost_usd if record.HasField("saved_cost_usd") else None,
        "attempts": [_attempt(attempt) for attempt in record.attempts],
    }


def _attempt(record: ledgerpb.AttemptRecord) -> Json:
    cost = record.cost_usd if record.HasField("cost_usd") else None
    return {
        "event_id": record.event_id,
        **attempt_object(record.attempt, cost),
        "price_version": record.price_version or None,
    }
