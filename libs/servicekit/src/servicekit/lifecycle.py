"""How a service process starts and ends."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
import uvloop

log = structlog.get_logger()

# How many more objects than at the last collection there may be. Python's own 700 make a collection out of every other
# request.
_OBJECTS_BEFORE_COLLECTION = 10_000


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` to its end on a uvloop event loop.

    The garbage collector leaves alone what has been imported, and looks for cycles less often: requests leave few. The
    process may open as many files as the system allows it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    _open_as_many_files_as_allowed()
    uvloop.run(main())


def _open_as_many_files_as_allowed() -> None:
    """Raise the soft limit: it is 1,024 almost everywhere for the sake of programs that use `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS has a smaller one that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_requested() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; must be called on the running loop, once per process."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, event.set)
    return event


async def repeat(name: str, interval_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` every `interval_seconds` until cancelled; a failure is logged, and the next run takes place.

    This is a process boundary: whatever `work` raises must not end the loop silently.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("background_task_failed", task=name)
        await asyncio.sleep(interval_seconds)
