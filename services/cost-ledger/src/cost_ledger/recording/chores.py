"""What the serving ledger does at intervals, beside recording and answering."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from cost_ledger.budgets.publish import BudgetPublisher
from cost_ledger.metrics import Metrics
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.backlog import measure_backlog, move_former_dead_letters, remove_idle_members
from cost_ledger.recording.store import Store
from cost_ledger.schema.partitions import PartitionKeeper
from cost_ledger.settings import Settings
from servicekit.lifecycle import repeat
from servicekit.redis_client import RedisClient

log = structlog.get_logger()

# With the edge's own interval of 15 s: every quote and every cost uses a new price within 30 s.
_PRICES_INTERVAL_SECONDS = 10.0
_SWEEP_INTERVAL_SECONDS = 10.0
_BACKLOG_INTERVAL_SECONDS = 5.0
# At least between two publications of figures.
_PUBLISH_INTERVAL_SECONDS = 1.0
_PARTITIONS_INTERVAL_SECONDS = 60 * 60.0
# When the ledger lags behind by more than this, the end of a recorded request may still be on the stream.
_MAX_LAG_SECONDS = 5.0
# A running member reads twice a second when it is idle, and holds entries when it is not. After ten times the time in
# which others claim what it held, it is not coming back under this name.
_IDLE_CLAIMS = 10


class Chores:
    """The periodic work of one ledger."""

    def __init__(
        self,
        settings: Settings,
        client: RedisClient,
        store: Store,
        prices: PriceList,
        budgets: BudgetPublisher,
        partitions: PartitionKeeper,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._client = client
        self._store = store
        self._prices = prices
        self._budgets = budgets
        self._partitions = partitions
        self._metrics = metrics

    def start(self) -> list[asyncio.Task[None]]:
        """Start a task for each; it goes on when a turn of it fails."""
        chores = {
            "refresh_prices": (_PRICES_INTERVAL_SECONDS, self._prices.refresh),
            "give_up_requests": (_SWEEP_INTERVAL_SECONDS, self._give_up),
            "measure_backlog": (_BACKLOG_INTERVAL_SECONDS, self._measure_backlog),
            "remove_idle_members": (_SWEEP_INTERVAL_SECONDS, self._remove_idle_members),
            "publish_budgets": (_PUBLISH_INTERVAL_SECONDS, self._budgets.turn),
            "keep_partitions": (_PARTITIONS_INTERVAL_SECONDS, self._keep_partitions),
        }
        return [asyncio.create_task(repeat(name, interval, work)) for name, (interval, work) in chores.items()]

    async def _give_up(self) -> None:
        backlog = await measure_backlog(self._client)
        if backlog.oldest_seconds > _MAX_LAG_SECONDS:
            self._metrics.sweeps_put_off.inc()
            log.warning("sweep_put_off", events=backlog.events, oldest_seconds=round(backlog.oldest_seconds, 1))
            return
        count = await self._store.give_up(self._settings.unsettled_after_seconds)
        if count:
            self._metrics.unsettled_requests.inc(count)
            log.error("requests_unsettled", requests=count)

    async def _measure_backlog(self) -> None:
        backlog = await measure_backlog(self._client)
        self._metrics.backlog_events.set(backlog.events)
        self._metrics.oldest_event_seconds.set(backlog.oldest_seconds)
        self._metrics.dead_letter_events.set(backlog.dead_letters)

    async def _remove_idle_members(self) -> None:
        removed = await remove_idle_members(self._client, self._settings.claim_after_seconds * _IDLE_CLAIMS)
        if removed:
            log.info("members_removed", members=removed)
        if moved := await move_former_dead_letters(self._client):
            log.info("dead_letters_moved", dead_letters=moved)

    async def _keep_partitions(self) -> None:
        await self._partitions.turn(datetime.now(UTC).date())
