"""Liveness, readiness, the state of the dependencies, and the metrics: what operators ask, and who may ask it where."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from servicekit.health import Health

_REPORT_TIMEOUT_SECONDS = 10.0
# What clients ask, without a key, to learn whether there is a way here: Claude Code with `HEAD`, before anything else.
_GREETINGS = ("/", "/api/hello")


class EdgeHealth(Health):
    """Takes requests from its first price book, to quote costs with, until it drains.

    After that no dependency has a say here, and the first price book is awaited for half a minute at most: one sick
    dependency must not take all edges away at once.
    """

    def __init__(self, stop: asyncio.Event, quotes: Quotes) -> None:
        super().__init__(stop)
        self._quotes = quotes

    def readiness(self) -> str:
        """Return `ok`, or why requests should go elsewhere."""
        self.is_serving = self._quotes.is_ready
        return super().readiness()


@dataclass(slots=True)
class HealthEndpoints:
    """Asked by people, by Kubernetes and by Prometheus; no key is needed."""

    router_client: RouterClient
    ledger: LedgerClient
    store: RedisStore
    spool: Spool
    state: EdgeHealth
    registry: CollectorRegistry

    def router(self, exposed: Sequence[str]) -> APIRouter:
        """Return the routes on the public port: greetings, probes, and of `health` and `metrics` what is exposed."""
        router = APIRouter(tags=["operation"])
        for path in _GREETINGS:
            router.add_api_route(path, self.live, methods=["GET"], include_in_schema=False)
        router.add_api_route("/health/live", self.live, methods=["GET"], **LIVE)
        router.add_api_route("/health/ready", self.ready, methods=["GET"], **READY)
        if "health" in exposed:
            router.add_api_route("/health", self.health, methods=["GET"], **HEALTH)
        if "metrics" in exposed:
            router.add_api_route("/metrics", self.metrics, methods=["GET"], **METRICS)
        return router

    async def live(self) -> dict[str, str]:
        """Say that the process runs."""
        return {"status": "ok"}

    async def ready(self) -> Response:
        """Say whether this process takes requests: once it can quote costs, until it drains."""
        status = self.state.readiness()
        return json_response({"status": status}, 200 if status == "ok" else 503, {})

    async def health(self) -> Response:
        """Report on each dependency; 503 only when no question can be answered."""
        body = await self._report()
        return json_response(body, 503 if body["status"] == "unavailable" else 200, {})

    def report_from_thread(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Return what `/health` says, in a thread while the `loop` runs; TimeoutError when it does not get to it."""
        return asyncio.run_coroutine_threadsafe(self._report(), loop).result(_REPORT_TIMEOUT_SECONDS)

    async def _report(self) -> dict[str, Any]:
        router, ledger, redis = await asyncio.gather(
            self.router_client.is_serving(), self.ledger.is_serving(), self.store.is_reachable()
        )
        status = "unavailable" if not router else "ok" if ledger and redis and not self.spool.depth else "degraded"
        dependencies: dict[str, Any] = {
            "llm-router": _state(router, "no answers"),
            "cost-ledger": _state(ledger, "costs cannot be read; cost events wait in Redis"),
            "redis": _state(redis, "no response cache; cost events go to the spool"),
        }
        return {"status": status, "dependencies": dependencies, "spool_events": self.spool.depth}

    async def metrics(self) -> Response:
        """Expose the metrics of this process to Prometheus."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})


def _state(is_up: bool, consequence: str) -> dict[str, str]:
    return {"status": "ok"} if is_up else {"status": "down", "consequence": consequence}
