"""A channel to its callers for good, behind which gRPC's own are replaced."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from typing import Any

import grpc

# Longer than the longest call, as a server's patience with a connection that has its age.
_RETIREMENT_SECONDS = 600.0
# Also for the answer to a question for a name: 3 s where the DNS has to ask elsewhere for the address of IPv6. gRPC's
# pauses between two such questions grow from 1 s to two minutes; within this time they are below 4 s.
_CONNECT_TIMEOUT_SECONDS = 10.0
# Pods come back one after the other, and a channel keeps to those that its name had when it was asked.
_SETTLE_SECONDS = 15.0


class LastingChannel(grpc.aio.Channel):
    """To its callers one channel for good; behind it a gRPC channel, and another one when that is of no use any more.

    The other one is connected beside it. Then new calls go there, and the old one ends with its last call.
    """

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel]) -> None:
        """`open_channel` makes a gRPC channel, now and whenever another one is wanted."""
        self._open = open_channel
        self._replacing = asyncio.Lock()
        self._settled_at = time.monotonic() + _SETTLE_SECONDS
        self.current = _Generation(open_channel())
        """Where new calls go."""
        self.retiring: set[asyncio.Task[None]] = set()
        """What goes on for calls that began before; each ends with the last of them."""

    async def look(self) -> None:
        """Replace a channel that reaches nobody by one that does; to be done once a second.

        gRPC asks ever more seldom for a name without an address: when all pods of a service had been away for five
        minutes, they were found 66 s after the first of them was back. Some time after it has found somebody the
        channel is replaced once more, by one that knows all who came after the first.
        """
        async with self._replacing:
            state = self.get_state()
            is_lost = state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
            is_new = state is grpc.ChannelConnectivity.READY and time.monotonic() >= self._settled_at
            if (is_lost or is_new) and await self._replace(self._open):
                self._settled_at = time.monotonic() + _SETTLE_SECONDS if is_lost else math.inf

    async def renew(self, open_channel: Callable[[], grpc.aio.Channel]) -> bool:
        """Use what `open_channel` makes from now on, as soon as it is connected; False when that is not so in time.

        Then all stays as it is, and whoever asked should do so again.
        """
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
        """Cancel what runs, after `grace` seconds, and end."""
        for retiring in self.retiring:
            retiring.cancel()
        if self.retiring:
            await asyncio.wait(self.retiring)
        await self.current.channel.close(grace)

    async def __aenter__(self) -> LastingChannel:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method that goes by whatever channel is current when it is called; so do the other three."""
        return _Method(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _Method(self, "stream_stream", args, kwargs)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Tell how the current channel is."""
        return self.current.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel is not like that any more."""
        await self.current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self.current.channel.channel_ready()


class _Generation:
    """A channel of gRPC's, and the calls over it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        # gRPC ends a call that nobody holds any more, so this must not hold it.
        self.calls: weakref.WeakSet[grpc.aio.Call] = weakref.WeakSet()

    async def is_connected(self) -> bool:
        """Connect; False, and the channel is closed, when no peer lets that happen in time."""
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

        gRPC's own `close` with a time of grace leaves the channel open for good when it is cancelled.
        """
        try:
            async with asyncio.timeout(_RETIREMENT_SECONDS):
                for call in tuple(self.calls):
                    await call.code()
        except TimeoutError:
            pass
        finally:
            await self.channel.close()


class _Method:
    """A method of a service; made once for each channel, since that is slower than a call of it."""

    def __init__(self, channel: LastingChannel, arity: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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
