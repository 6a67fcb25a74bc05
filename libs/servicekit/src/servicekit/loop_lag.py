"""How late an event loop is: everything that a process does waits at least that long."""

from __future__ import annotations

import asyncio

from prometheus_client import Histogram

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_INTERVAL_SECONDS = 0.1


async def watch_loop_lag(lags: Histogram) -> None:
    """Observe, until cancelled, how much later than asked for the loop gets to a task, ten times a second."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        lags.observe(max(0.0, loop.time() - due))
