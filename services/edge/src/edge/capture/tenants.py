"""Whose texts are captured: tenants whose account in the ledger says so, followed while the edge runs."""

from __future__ import annotations

import structlog

from edge.ledger.captures import CapturesAway, CapturesRefused, LedgerCaptures
from edge.metrics import Metrics

log = structlog.get_logger()

FOLLOW_INTERVAL_SECONDS = 2.0
# 100,000 tenants.
_MAX_PAGES = 100


class CapturingTenants:
    """Nobody, until the ledger has named somebody; what it said last while it is away: it stores nothing then."""

    def __init__(self, ledger: LedgerCaptures, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._tenants: frozenset[str] = frozenset()

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._tenants

    async def turn(self) -> None:
        """Ask the ledger; a failure is counted, and the next turn makes up for it."""
        try:
            found = await self._ask()
        except (CapturesAway, CapturesRefused):
            self._metrics.capture_tenants_unknown.inc()
            return
        if found != self._tenants:
            log.info("capturing_tenants_changed", tenants=len(found))
            self._tenants = found

    async def _ask(self) -> frozenset[str]:
        found: list[str] = []
        for _ in range(_MAX_PAGES):
            page = await self._ledger.tenants(found[-1] if found else "")
            found += page.tenants
            if not page.has_more or not page.tenants:
                break
        return frozenset(found)
