"""A channel that shows a certificate, and another one when that is replaced."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import grpc
import structlog

from servicekit.rpc import create_channel
from servicekit.tls_files import TlsFiles

log = structlog.get_logger()

# Longer than the longest call, as a server's patience with a connection that has its age.
_RETIREMENT_SECONDS = 600.0
_CONNECT_TIMEOUT_SECONDS = 10.0


class TlsChannel(grpc.aio.Channel):
    """To its callers one channel for good; behind it a gRPC channel for each set of files.

    A gRPC channel keeps the certificate it was made with. So a new one is made and connected beside it, then new calls
    go there, and the old one ends with its last call.
    """

    def __init__(self, address: str, files: TlsFiles) -> None:
        """Prepare a channel to `address`; the peer's certificate must have the name or the IP address in it."""
        self._address = address
        self._files = files
        self.current = _Generation(address, files)
        """Where new calls go."""
        self.retiring: set[asyncio.Task[None]] = set()
        """What goes on for calls that began before; each ends with the last of them."""

    async def renew(self, files: TlsFiles) -> bool:
        """Show the certificate in `files` from now on, as soon as a peer has accepted it; False when none did.

        Then all stays as it is, and whoever asked should do so again.
        """
        if files == self._files:
            return True
        fresh = _Generation(self._address, files)
        if not await fresh.is_accepted():
            log.error("tls_channel_not_renewed", address=self._address, reason="no peer accepts the new files")
            return False
        retiring = asyncio.create_task(self.current.retire())
        self.retiring.add(retiring)
        retiring.add_done_callback(self.retiring.discard)
        self.current, self._files = fresh, files
        return True

    async def close(self, grace: float | None = None) -> None:
        """Cancel what runs, after `grace` seconds, and end."""
        for retiring in self.retiring:
            retiring.cancel()
        if self.retiring:
            await asyncio.wait(self.retiring)
        await self.current.channel.close(grace)

    async def __aenter__(self) -> TlsChannel:
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
    """A channel that shows one certificate, and the calls over it."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        self.channel = create_channel(address, files.channel_credentials())
        # gRPC ends a call that nobody holds any more, so this must not hold it.
        self.calls: weakref.WeakSet[grpc.aio.Call] = weakref.WeakSet()

    async def is_accepted(self) -> bool:
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

    def __init__(self, channel: TlsChannel, arity: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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
