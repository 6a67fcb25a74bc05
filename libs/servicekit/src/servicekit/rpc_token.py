"""A token that services share: who shows it may call, anybody else is refused before a message of his is read.

Where the ports of gRPC can be reached by others (any user of a machine reaches its loopback address), calls spend money
and name any tenant. A token in a file needs no authority and expires never; mutual TLS (`tls.py`) also encrypts. Both
may be used together.

The file may hold several tokens, one a line: callers show the first, servers accept each. So a token is replaced while
calls run: append the new one, then move it to the top, then remove the old one, with time between for all to read it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc
import structlog
from prometheus_client import Counter

log = structlog.get_logger()

_KEY = "authorization"
_MIN_CHARACTERS = 32
# gRPC itself watches the health of each server of a channel, without metadata. It learns whether a server is healthy.
_OPEN_METHOD = "/grpc.health.v1.Health/Watch"
_LOG_INTERVAL_SECONDS = 10.0
_LOOK_INTERVAL_SECONDS = 1.0


class RpcTokenUnusable(Exception):
    """The file has no token that can be used; the message names the file and the reason."""


class Tokens(Protocol):
    """Tokens that may change."""

    def current(self) -> Sequence[str]:
        """Return the tokens, that which callers show first."""


class OneToken:
    """A token that stays."""

    def __init__(self, token: str) -> None:
        self._tokens = (token,)

    def current(self) -> Sequence[str]:
        """Return it."""
        return self._tokens


class RpcTokens:
    """The tokens in a file, as they are now: looked at by calls, at most once a second.

    A file that has become unusable changes nothing, which is logged once; those that were there last stay in force.
    """

    def __init__(self, file: Path) -> None:
        """RpcTokenUnusable when there is none in it."""
        self._file = file
        self._tokens = _tokens_in(file)
        self._reason = ""
        self._look_at = time.monotonic() + _LOOK_INTERVAL_SECONDS

    def current(self) -> Sequence[str]:
        """See Tokens."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_INTERVAL_SECONDS
            self._look()
        return self._tokens

    def _look(self) -> None:
        try:
            tokens = _tokens_in(self._file)
        except RpcTokenUnusable as error:
            if str(error) != self._reason:
                self._reason = str(error)
                log.warning("rpc_token_refused", reason=self._reason)
            return
        self._reason = ""
        if tokens != self._tokens:
            self._tokens = tokens
            log.info("rpc_token_reloaded", tokens=len(tokens))


def _tokens_in(file: Path) -> tuple[str, ...]:
    try:
        tokens = tuple(file.read_text(encoding="ascii").split("\n"))
    except OSError as error:
        raise RpcTokenUnusable(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RpcTokenUnusable(f"{file}: not ASCII") from error
    tokens = tuple(token.strip() for token in tokens if token.strip())
    if not tokens or not all(_is_token(token) for token in tokens):
        raise RpcTokenUnusable(f"{file}: a token is one word of {_MIN_CHARACTERS} characters or more, each on its line")
    return tokens


def _is_token(token: str) -> bool:
    return len(token) >= _MIN_CHARACTERS and token.isprintable() and " " not in token


def read_rpc_tokens(file: Path | None) -> RpcTokens | None:
    """Return the tokens in `file`, None without a file; RpcTokenUnusable when there is none in it."""
    return None if file is None else RpcTokens(file)


def guard_calls(file: Path | None, refusals: Counter) -> TokenGuard | None:
    """Return the guard for a server whose callers must show a token in `file`; None without a file."""
    tokens = read_rpc_tokens(file)
    return None if tokens is None else TokenGuard(tokens, refusals)


def refusal_in(error: BaseException | None) -> str | None:
    """Return a sentence for the log when `error` is a server's refusal of our token; None when it is not."""
    if isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.UNAUTHENTICATED:
        return f"the server refuses our token ({error.details()}): both sides need the same content in rpc_token_file"
    return None


class TokenGuard(grpc.aio.ServerInterceptor):
    """Refuses calls without the token, health checks included; only health may be watched without."""

    def __init__(self, tokens: Tokens, refusals: Counter) -> None:
        """`refusals` has the label `reason`: `token_missing`, `token_wrong`."""
        self._tokens = tokens
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
                shown = _bytes(value)
                if any(hmac.compare_digest(shown, _value(token).encode()) for token in self._tokens.current()):
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
    """A channel that shows the first of the tokens with each call."""

    def __init__(self, channel: grpc.aio.Channel, tokens: Tokens) -> None:
        self._channel = channel
        self._tokens = tokens

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method whose calls carry the token; so do the other three."""
        return _with_token(self._channel.unary_unary(*args, **kwargs), self._tokens)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_token(self._channel.unary_stream(*args, **kwargs), self._tokens)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_token(self._channel.stream_unary(*args, **kwargs), self._tokens)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _with_token(self._channel.stream_stream(*args, **kwargs), self._tokens)

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


def _with_token(method: Callable[..., Any], tokens: Tokens) -> Callable[..., Any]:
    def call(*args: Any, metadata: Any = None, **kwargs: Any) -> Any:
        own = ((_KEY, _value(tokens.current()[0])),)
        return method(*args, metadata=(*metadata, *own) if metadata else own, **kwargs)

    return call


def _refuse_with(reason: str) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[None]]:
    async def refuse(_messages: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)

    return refuse
