"""The one way to end a completion early: the router ends it, and reports all that it has spent (ADR 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import Counter

from edge.router.client import CompletionCall, RouterClient

# A router that has accepted the request to stop begins nothing any more, and a machine may be busy.
_LAST_REPORT_SECONDS = 10.0


class EarlyStop:
    """Stops one call, once, as soon as the router that runs it is known."""

    def __init__(
        self,
        router: RouterClient,
        request_id: str,
        secret: bytes,
        call: CompletionCall,
        *,
        has_open: Callable[[], bool],
        unanswered: Counter,
    ) -> None:
        """`secret` is the one that the call was made with.

        `has_open` says whether an attempt has begun and was not reported yet; `unanswered` counts calls that had to be
        cancelled because the router did not act on the request to stop.
        """
        self._router = router
        self._request_id = request_id
        self._secret = secret
        self._call = call
        self._has_open = has_open
        self._unanswered = unanswered
        self._address: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._gives_up = False
        self.is_requested = False
        """Whether the call is to end early."""

    def request(self) -> None:
        """End the call; when no attempt has begun yet, then as soon as one has."""
        self.is_requested = True
        if self._task is None and self._address is not None:
            self._task = asyncio.create_task(self._stop(self._address))

    def attempt_started(self, address: str) -> None:
        """Learn that an attempt has begun, and where its router takes the request to stop."""
        if self._address is None:
            self._address = address
        if self._gives_up:
            self._call.cancel()
        elif self.is_requested:
            self.request()

    async def _stop(self, address: str) -> None:
        if await self._router.stop(address, self._request_id, self._secret):
            await asyncio.sleep(_LAST_REPORT_SECONDS)  # cancelled by the end of the call
        self._unanswered.inc()
        # Between two attempts the next one may have begun unknown to this edge: then its announcement is awaited.
        self._gives_up = True
        if self._has_open():
            self._call.cancel()

    def call_ended(self) -> None:
        """Leave the router alone from now on."""
        if self._task is not None:
            self._task.cancel()
