"""The keys of one issuer as they are now: followed in a file, or fetched and kept while their server is away."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import structlog

from edge.fetch import Fetcher, FetchFailed
from edge.metrics import Metrics
from edge.tokens.issuers import Issuer
from edge.tokens.key_set import KeySet, KeySetUnusable, read_key_set, secret_key_set

log = structlog.get_logger()

FETCH_TIMEOUT_SECONDS = 5.0
_URL_INTERVAL_SECONDS = 300.0
_FILE_INTERVAL_SECONDS = 1.0
# After a failure, and before a token with an unknown `kid` may have the document fetched again: however many come.
_RETRY_SECONDS = 10.0
_MAX_DOCUMENT_BYTES = 256 * 1024


class KeySource:
    """Keeps the last keys that could be read; an issuer that has become unreachable has not changed them."""

    def __init__(
        self, issuer: Issuer, fetcher: Fetcher, metrics: Metrics, retry_seconds: float = _RETRY_SECONDS
    ) -> None:
        self._issuer = issuer
        self._fetcher = fetcher
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._began = -math.inf
        self._failed = False
        self._content = b""
        self._running: asyncio.Task[None] | None = None
        self.keys: KeySet = {}

    def refresh_if_due(self) -> None:
        """Begin to read the keys when it is time; never waits."""
        interval = _FILE_INTERVAL_SECONDS if self._issuer.jwks_url is None else _URL_INTERVAL_SECONDS
        if self._failed:
            interval = min(interval, self._retry_seconds)
        if time.monotonic() - self._began >= interval:
            self._begin()

    async def refresh_for_unknown(self) -> None:
        """Read the keys once more because a token names one that is not known; all who ask wait for the same reading.

        Without effect when that was done just now.
        """
        if self._running is None and time.monotonic() - self._began < self._retry_seconds:
            return
        await asyncio.shield(self._running or self._begin())

    async def close(self) -> None:
        """Stop reading."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _begin(self) -> asyncio.Task[None]:
        if self._running is None:
            self._began = time.monotonic()
            self._running = asyncio.create_task(self._refresh())
            self._running.add_done_callback(self._ended)
        return self._running

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._running = None

    async def _refresh(self) -> None:
        name = self._issuer.name
        try:
            content = await self._read()
            if content != self._content:
                self.keys, self._content = self._parsed(content), content
                log.info("jwks_read", issuer=name, keys=len(self.keys))
        except (FetchFailed, KeySetUnusable, OSError) as error:
            self._metrics.jwks_failures.labels(name).inc()
            if not self._failed:
                log.warning("jwks_failed", issuer=name, reason=str(error), keys=len(self.keys))
            self._failed = True
            return
        self._failed = False

    async def _read(self) -> bytes:
        if self._issuer.jwks_url is not None:
            return await self._fetcher.fetch(self._issuer.jwks_url, FETCH_TIMEOUT_SECONDS)
        return await asyncio.to_thread(_read_file, Path(self._issuer.jwks_file or self._issuer.secret_file or ""))

    def _parsed(self, content: bytes) -> KeySet:
        if self._issuer.secret_file is not None:
            return secret_key_set(content.strip())
        return read_key_set(content, self._issuer.algorithms)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_DOCUMENT_BYTES + 1)
    if len(content) > _MAX_DOCUMENT_BYTES:
        raise KeySetUnusable("too_large")
    return content
