"""What a fuzz target is, and what all of them need: ways to cut bytes, coroutines without a loop."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, TypeVar

from .mutation import Mutate

ResultT = TypeVar("ResultT")
# Byte by byte, a long input would take most of the time.
_MAX_PIECES = 60


@dataclass(frozen=True, slots=True)
class Target:
    """One place where bytes come in that somebody else has written."""

    name: str
    check: Callable[[bytes], None]
    """Takes one input; fails (by any exception) when what becomes of it is not among the promised results."""
    mutate: Mutate
    """How inputs of this kind are changed."""


def ways_to_cut(data: bytes) -> list[list[bytes]]:
    """Return the data in one piece, and in pieces: always the same ones for the same data."""
    rng = Random(zlib.crc32(data))
    edges = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 12)))
    some = [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]
    step = max(rng.choice((1, 2, 3, 7)), len(data) // _MAX_PIECES)
    return [[data], some, [data[at : at + step] for at in range(0, len(data), step)]]


def finish(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine that never has to wait, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: ResultT = stop.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


def finish_in_loop(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine in this thread's loop, which is kept."""
    return _loop().run_until_complete(coroutine)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()
