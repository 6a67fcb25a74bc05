"""A gRPC channel that is replaced behind its callers when it has lost its servers or its certificate has changed."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from servicekit.lifecycle import repeat
from servicekit.rpc import CONNECTION_GRACE_SECONDS

# Includes resolving the name: 3 s where the DNS has to ask elsewhere for the IPv6 address. gRPC's pauses between two
# resolutions grow from 1 s to two minutes; within this time they stay below 4 s.
_CONNECT_TIMEOUT_SECONDS = 10.0
# Pods come back one after the other, and a channel keeps to those that its name had when it was resolved.
_SETTLE_SECONDS = 15.0
_CHECK_INTERVAL_SECONDS = 1.0


class ReconnectingChannel(grpc.aio.Channel):
    """One channel for its callers; behind it a gRPC channel that is replaced when it is of no use any more.

    Its successor is connected beside it. Then new calls use the successor, and the old one is closed after its last
    call.
    """

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel]) -> None:
        """`open_channel` makes a gRPC channel, now and whenever a successor is needed."""
        self._open = open_channel
        self._replacing = asyncio.Lock()
        self._settled_at = time.monotonic() + _SETTLE_SECONDS
        self.current = _Generation(open_channel())
        """Where new calls go."""
        self.retiring: set[asyncio.Task[None]] = set()
        """One for each replaced channel with calls in progress; ends with the last of them."""

    async def check(self) -> None:
        """Replace a channel that reaches no server by one that does; call it once a second.

        gRPC resolves a name without an address ever more seldom: when all pods of a service had been away for five
        minutes, they were found 66 s after the first of them was back. Some time after the successor has connected it
        is replaced once more, by one that knows all the pods that came after the first.
        """
        async with self._replacing:
            state = self.get_state()
            is_lost = state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
            is_new = state is grpc.ChannelConnectivity.READY and time.monotonic() >= self._settled_at
            if (is_lost or is_new) and await self._replace(self._open):
                self._settled_at = time.monotonic() + _SETTLE_SECONDS if is_lost else math.inf

    async def renew(self, open_channel: Callable[[], grpc.aio.Channel]) -> bool:
        """Switch to channels made by `open_channel` once one is connected; False, and nothing changes, on a timeout."""
        async with self._replacing:
            is_renewed = await self._replace(open_channel)
            if is_renewed:
                self._open = open_channel
            return is_renewed

    async def _replace(self, open_channel: Callable[[], grpc.aio.Channel]) -> bool:
        fresh = _Generation(open_channel())
        if not await fresh.is_connected():
            return False
        retiring = asyncio.create_task(self.current.retire())
        self.retiring.add(retiring)
        retiring.add_done_callback(self.retiring.discard)
        self.current = fresh
        return True

    async def close(self, grace: float | None = None) -> None:
        """Close, and cancel the calls in progress after `grace` seconds."""
        for retiring in self.retiring:
            retiring.cancel()
        if self.retiring:
            await asyncio.wait(self.retiring)
        await self.current.channel.close(grace)

    async def __aenter__(self) -> ReconnectingChannel:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method that uses the channel that is current at each call; so do the other three."""
        return _Method(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "stream_stream", args, kwargs)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connectivity of the current channel."""
        return self.current.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel has left that state."""
        await self.current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self.current.channel.channel_ready()


class _Generation:
    """A gRPC channel and the calls over it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        # gRPC ends a call that is not referenced any more, so this must not keep it.
        self.calls: weakref.WeakSet[grpc.aio.Call] = weakref.WeakSet()

    async def is_connected(self) -> bool:
        """Connect; False, and the channel is closed, when that does not succeed in time."""
        is_connected = False
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                await self.channel.channel_ready()
            is_connected = True
        except TimeoutError:
            pass
        finally:
            if not is_connected:
                await self.channel.close()
        return is_connected

    async def retire(self) -> None:
        """Close the channel when its last call has ended, or at once when this is cancelled.

        gRPC's own `close` with a grace leaves the channel open for good when it is cancelled.
        """
        try:
            async with asyncio.timeout(CONNECTION_GRACE_SECONDS):
                for call in tuple(self.calls):
                    await call.code()
        except TimeoutError:
            pass
        finally:
            await self.channel.close()


class _Method:
    """A method of a service, made once for each channel: making one takes longer than calling it."""

    def __init__(self, channel: ReconnectingChannel, arity: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._channel = channel
        self._arity = arity
        self._args, self._kwargs = args, kwargs
        self._generation: _Generation | None = None
        self._callable: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        generation = self._channel.current
        if self._generation is not generation:
            self._generation = generation
            self._callable = getattr(generation.channel, self._arity)(*self._args, **self._kwargs)
        call = self._callable(*args, **kwargs)
        generation.calls.add(call)
        return call


async def keep_connected(channels: Iterable[ReconnectingChannel]) -> None:
    """Check each of `channels` once a second until cancelled; one that is connecting delays no other."""
    async with asyncio.TaskGroup() as group:
        for channel in channels:
            group.create_task(repeat("check_channel", _CHECK_INTERVAL_SECONDS, channel.check))
