"""Deletes captured texts whose time is over."""

from __future__ import annotations

import structlog

from cost_ledger.captures.captures import Captures
from cost_ledger.connections import OUTAGES
from cost_ledger.metrics import Metrics

log = structlog.get_logger()

EXPIRY_INTERVAL_SECONDS = 60.0


class CaptureExpiry:
    """Keeps nothing longer than was promised, turn by turn."""

    def __init__(self, captures: Captures, metrics: Metrics) -> None:
        self._captures = captures
        self._metrics = metrics

    async def turn(self) -> None:
        """Delete what has expired; while Postgres is away nobody is given it either, and the next turn deletes it."""
        try:
            expired = await self._captures.expire()
        except OUTAGES as error:
            self._metrics.database_errors.inc()
            log.warning("captures_not_expired", cause=type(error).__name__)
            return
        if expired:
            self._metrics.captures_expired.inc(expired)
            log.info("captures_expired", captures=expired)
