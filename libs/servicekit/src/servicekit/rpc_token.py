"""A token that services share: who shows it may call, anybody else is refused before a message of his is read.

Where the ports of gRPC can be reached by others (any user of a machine reaches its loopback address), calls spend money
and name any tenant. A token in a file needs no authority and expires never; mutual TLS (`tls.py`) also encrypts. Both
may be used together.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
from prometheus_client import Counter

log = structlog.get_logger()

_KEY = "authorization"
_MIN_CHARACTERS = 32
# gRPC itself watches the health of each server of a channel, without metadata. It learns whether a server is healthy.
_OPEN_METHOD = "/grpc.health.v1.Health/Watch"
_LOG_INTERVAL_SECONDS = 10.0


class RpcTokenUnusable(Exception):
    """The file has no token that can be used; the message names the file and the reason."""


def read_rpc_token(file: Path | None) -> str | None:
    """Return the token in `file`, read once, None without a file; RpcTokenUnusable when there is none in it."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise RpcTokenUnusable(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RpcTokenUnusable(f"{file}: not ASCII") from error
    if len(token) < _MIN_CHARACTERS or not token.isprintable() or " " in token:
        raise RpcTokenUnusable(f"{file}: a token is one word of {_MIN_CHARACTERS} characters or more")
    return token


def guard_calls(file: Path | None, refusals: Counter) -> TokenGuard | None:
    """Return the guard for a server whose callers must show the token in `file`; None without a file."""
    token = read_rpc_token(file)
    return None if token is None else TokenGuard(token, refusals)


def refusal_in(error: BaseException | None) -> str | None:
    """Return a sentence for the log when `error` is a server's refusal of our token; None when it is not."""
    if isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.UNAUTHENTICATED:
        return f"the server refuses our token ({error.details()}): both sides need the same content in rpc_token_file"
    return None


class TokenGuard(grpc.aio.ServerInterceptor):
    """Refuses calls without the token, health checks included; only health may be watched without."""

    def __init__(self, token: str, refusals: Counter) -> None:
        """`refusals` has the label `reason`: `token_missing`, `token_wrong`."""
        self._expected = _value(token).encode()
        self._refusals = refusals
        self._refuse: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            reason: grpc.stream_stream_rpc_method_handler(_refuse_with(reason.replace("_", " ")))
            for reason in ("token_missing", "token_wrong")
        }
        self._unlogged = 0
        self._log_at = 0.0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Let the call pass, or answer it with UNAUTHENTICATED."""
        reason = "token_missing"
        for key, value in handler_call_details.invocation_metadata:
            if key == _KEY:
                if hmac.compare_digest(_bytes(value), self._expected):
                    return await continuation(handler_call_details)
                reason = "token_wrong"
        if handler_call_details.method == _OPEN_METHOD:
            return await continuation(handler_call_details)
        self._count(reason, handler_call_details.method)
        # As a stream whose messages nobody reads: one of 32 MB is not taken into memory to be refused.
        return self._refuse[reason]

    def _count(self, reason: str, method: str) -> None:
        self._refusals.labels(reason).inc()
        self._unlogged += 1
        now = time.monotonic()
        if now >= self._log_at:
            log.warning("calls_refused", reason=reason, method=method[:100], calls=self._unlogged)
            self._log_at, self._unlogged = now + _LOG_INTERVAL_SECONDS, 0


class TokenChannel(grpc.aio.Channel):
    """A channel that shows the token with each call."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = ((_KEY, _value(token)),)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method whose calls carry the token; so do the other three."""
        return _with_metadata(self._channel.unary_unary(*args, **kwargs), self._metadata)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_metadata(self._channel.unary_stream(*args, **kwargs), self._metadata)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_metadata(self._channel.stream_unary(*args, **kwargs), self._metadata)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_metadata(self._channel.stream_stream(*args, **kwargs), self._metadata)

    async def close(self, grace: float | None = None) -> None:
        """Close, and cancel the calls in progress after `grace` seconds."""
        await self._channel.close(grace)

    async def __aenter__(self) -> TokenChannel:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connectivity."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel has left that state."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel is connected."""
        await self._channel.channel_ready()


def _value(token: str) -> str:
    return f"Bearer {token}"


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="replace")


def _with_metadata(method: Callable[..., Any], own: tuple[tuple[str, str], ...]) -> Callable[..., Any]:
    def call(*args: Any, metadata: Any = None, **kwargs: Any) -> Any:
        return method(*args, metadata=(*metadata, *own) if metadata else own, **kwargs)

    return call


def _refuse_with(reason: str) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[None]]:
    async def refuse(_messages: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)

    return refuse
