"""Liveness, readiness, the state of the dependencies, and the metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from edge.events.redis import RedisStore
from edge.events.spool import Spool
from edge.http.openapi import HEALTH, LIVE, METRICS, READY
from edge.http.responses import json_response
from edge.ledger.client import LedgerClient
from edge.ledger.quotes import Quotes
from edge.router.client import RouterClient


@dataclass(slots=True)
class HealthEndpoints:
    """Asked by people, by Kubernetes and by Prometheus; no key is needed."""

    router_client: RouterClient
    ledger: LedgerClient
    store: RedisStore
    spool: Spool
    quotes: Quotes
    registry: CollectorRegistry
    is_draining: bool = False

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["operation"])
        router.add_api_route("/health/live", self.live, methods=["GET"], **LIVE)
        router.add_api_route("/health/ready", self.ready, methods=["GET"], **READY)
        router.add_api_route("/health", self.health, methods=["GET"], **HEALTH)
        router.add_api_route("/metrics", self.metrics, methods=["GET"], **METRICS)
        return router

    async def live(self) -> dict[str, str]:
        """Say that the process runs."""
        return {"status": "ok"}

    async def ready(self) -> Response:
        """Say whether this process takes requests: from its first price book, to quote costs with, until it drains.

        After that no dependency has a say here, and the first price book is awaited for half a minute at most: one sick
        dependency must not take all edges away at once.
        """
        if self.is_draining:
            return json_response({"status": "draining"}, 503, {})
        if not self.quotes.is_ready:
            return json_response({"status": "starting"}, 503, {})
        return json_response({"status": "ok"}, 200, {})

    async def health(self) -> Response:
        """Report on each dependency; 503 only when no question can be answered."""
        router, ledger, redis = await asyncio.gather(
            self.router_client.is_serving(), self.ledger.is_serving(), self.store.is_reachable()
        )
        status = "unavailable" if not router else "ok" if ledger and redis and not self.spool.depth else "degraded"
        dependencies: dict[str, Any] = {
            "llm-router": _state(router, "no answers"),
            "cost-ledger": _state(ledger, "costs cannot be read; cost events wait in Redis"),
            "redis": _state(redis, "no response cache; cost events go to the spool"),
        }
        body = {"status": status, "dependencies": dependencies, "spool_events": self.spool.depth}
        return json_response(body, 200 if router else 503, {})

    async def metrics(self) -> Response:
        """Expose the metrics of this process to Prometheus."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})


def _state(is_up: bool, consequence: str) -> dict[str, str]:
    return {"status": "ok"} if is_up else {"status": "down", "consequence": consequence}
