"""Clients of echo servers, one at a time or twenty without a pause."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc

from kit.echo.server import stream, who


def addresses_at(port: int, count: int) -> list[str]:
    """Return `count` addresses that share a port."""
    return [f"127.0.0.{number}:{port}" for number in range(1, count + 1)]


class Callers:
    """Clients that call without a pause, until the block ends."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._tasks: list[asyncio.Task[None]] = []
        self.answered: Counter[str] = Counter()
        """Calls by the address of who answered."""
        self.failed: list[grpc.aio.AioRpcError] = []

    async def __aenter__(self) -> Callers:
        """Start twenty."""
        self._tasks = [asyncio.create_task(self._call()) for _ in range(20)]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def until(self, calls: int, address: str | None = None) -> None:
        """Wait for this many more answers, of one server or of any."""

        def count() -> int:
            return self.answered[address] if address else self.answered.total()

        enough = count() + calls
        async with asyncio.timeout(60):
            while count() < enough:
                await asyncio.sleep(0.005)

    async def _call(self) -> None:
        while True:
            try:
                self.answered[(await who(self._channel)).value] += 1
            except grpc.aio.AioRpcError as error:
                self.failed.append(error)
                await asyncio.sleep(0.005)


async def reach_all(channel: grpc.aio.Channel, addresses: Sequence[str]) -> None:
    """Call until every server has answered: a channel begins with the first that is connected."""
    missing = set(addresses)
    async with asyncio.timeout(60):
        while missing:
            missing.discard((await who(channel)).value)


async def opened(channel: grpc.aio.Channel, address: str) -> Any:
    """Return a running stream that `address` answers."""
    while True:
        call = stream(channel)
        if (await call.read()).value == address:
            return call
        call.cancel()
