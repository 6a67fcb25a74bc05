"""When a second target is tried although the first one has not failed."""

from __future__ import annotations

from llm_router.routes.file import Hedge
from llm_router.strategies.latency import Latencies

# The maximum that a route can save up, in hedges: a burst of slow answers must not double the bill.
_MAX_SAVED = 2.0


class HedgeAllowances:
    """Bounds the cost of hedging: each route has a share of its requests, saved up to a small maximum."""

    def __init__(self) -> None:
        self._saved: dict[str, float] = {}

    def add_request(self, route: str, hedge: Hedge) -> None:
        """Count a request of `route`, which earns a part of a hedge."""
        self._saved[route] = min(self._saved.get(route, 1.0) + hedge.max_extra_ratio, _MAX_SAVED)

    def take(self, route: str) -> bool:
        """Take one hedge; False when it would cost more than the route allows."""
        saved = self._saved.get(route, 0.0)
        if saved < 1:
            return False
        self._saved[route] = saved - 1
        return True

    def put_back(self, route: str) -> None:
        """Give back a hedge that was taken and not made."""
        self._saved[route] = self._saved.get(route, 0.0) + 1


def hedge_delay(hedge: Hedge, target: str, latencies: Latencies) -> float:
    """Return after how many seconds of silence of `target` the next one starts too."""
    usual = latencies.percentile_95(target)
    if usual is None:
        return hedge.max_delay_seconds
    return min(max(usual, hedge.min_delay_seconds), hedge.max_delay_seconds)
