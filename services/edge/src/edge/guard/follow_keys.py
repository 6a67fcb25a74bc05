"""Follows the changes of the ledger's API keys: what is created works, and what is disabled is dead, within seconds.

While the ledger does not answer, Redis has what it last published, also for an edge that starts then; while neither
does, what is in memory stays.
"""

from __future__ import annotations

import time
from typing import Protocol

import structlog

from edge.guard.recorded_keys import RecordedKeys
from edge.ledger.key_changes import Changes, ChangesUnknown
from edge.metrics import Metrics
from spillway.accounts.v1 import accounts_pb2 as accountspb

log = structlog.get_logger()

FOLLOW_INTERVAL_SECONDS = 1.0


class Source(Protocol):
    """Where changes are read from."""

    async def since(self, revision: int) -> Changes:
        """Return the next changes after a revision, none when there are none; ChangesUnknown when it cannot tell."""


class KeyFollower:
    """Keeps `keys` up to date, turn by turn."""

    def __init__(self, ledger: Source, redis: Source, keys: RecordedKeys, metrics: Metrics) -> None:
        self._ledger = ledger
        self._redis = redis
        self._keys = keys
        self._metrics = metrics
        self._revision = 0
        self._answered = "ledger"

    async def turn(self) -> None:
        """Take all changes there are; never fails because of a source."""
        answered = "ledger"
        try:
            await self._catch_up(self._ledger, may_go_back=True)
        except ChangesUnknown:
            answered = await self._fall_back()
            self._metrics.account_keys_fallbacks.labels(answered).inc()
        if answered != self._answered:
            log.warning("account_keys_source", source=answered, revision=self._revision)
            self._answered = answered

    async def _fall_back(self) -> str:
        try:
            # Redis may be behind: what is newer here stays.
            await self._catch_up(self._redis, may_go_back=False)
        except ChangesUnknown:
            return "memory"
        return "redis"

    async def _catch_up(self, source: Source, *, may_go_back: bool) -> None:
        began = time.time()
        while True:
            changes = await source.since(self._revision)
            if may_go_back and changes.latest < self._revision:
                await self._start_over(source)
            elif changes.records:
                self._keys.apply(changes.records)
                self._revision = changes.revision
                continue
            self._metrics.account_keys_current.set(began)
            return

    async def _start_over(self, source: Source) -> None:
        """Read all keys of a database from a backup, and only then forget those of the former one."""
        log.warning("account_keys_went_back", revision=self._revision)
        records: list[accountspb.KeyRecord] = []
        revision = 0
        while (changes := await source.since(revision)).records:
            records += changes.records
            revision = changes.revision
        self._keys.replace(records)
        self._revision = revision
