"""Who does not show the token is refused before anything of his is read or done, over plain text and over TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, Counter, Gauge

from kit.echo.server import SERVICE, EchoServer, stream, who
from kit.tls_secret import Authority, SecretFolder
from servicekit.rpc import create_channel, is_serving
from servicekit.rpc_token import OneToken, RpcTokenUnusable, TokenGuard, guard_calls, read_rpc_tokens, refusal_in
from servicekit.tls_files import Role
from servicekit.transport import Transport, open_transport

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-more-than-32-characters"
WRONG = [None, TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "x" * 100_000]


class Refusals:
    """What a guard has counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counter = Counter("refused", "Refused calls.", ["reason"], registry=self.registry)

    def of(self, reason: str) -> float:
        """Return the number of calls refused for `reason`."""
        return self.registry.get_sample_value("refused_total", {"reason": reason}) or 0.0


@pytest.fixture(name="stack")
async def _stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(name="refusals")
def _refusals() -> Refusals:
    return Refusals()


@pytest.fixture(name="echo")
async def _echo(stack: AsyncExitStack, refusals: Refusals) -> EchoServer:
    return await start_server(stack, guard=TokenGuard(OneToken(TOKEN), refusals.counter), reflects=True)


async def start_server(stack: AsyncExitStack, **options: Any) -> EchoServer:
    """Run a server until the stack ends."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    echo = EchoServer(address, **options)
    await echo.server.start()
    stack.push_async_callback(echo.server.stop, 0)
    return echo


async def channel_to(stack: AsyncExitStack, echo: EchoServer, token: str | None) -> grpc.aio.Channel:
    """Return a channel that shows `token`."""
    return await stack.enter_async_context(
        create_channel(echo.address, tokens=None if token is None else OneToken(token))
    )


async def refusal_of(call: Any) -> str:
    """Return what the server says of a call that it refuses."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert grpc.StatusCode.UNAUTHENTICATED == caught.value.code()
    return str(caught.value.details())


async def test_who_shows_the_token_is_served(stack: AsyncExitStack, echo: EchoServer, refusals: Refusals) -> None:
    """Unary calls, streams and health checks; metadata of the caller's own goes with it."""
    channel = await channel_to(stack, echo, TOKEN)
    method = channel.unary_unary(f"/{SERVICE}/Who", lambda value: value, bytes)
    call = method(b"", metadata=(("traceparent", "00-1"),))

    assert echo.address.encode() in await call
    assert echo.address == (await who(channel)).value
    assert echo.address == (await stream(channel).read()).value
    assert await is_serving(channel, SERVICE, 20)
    assert 0 == refusals.of("token_missing") + refusals.of("token_wrong")


@pytest.mark.parametrize("token", WRONG, ids=lambda token: repr(token)[:20])
async def test_who_does_not_is_refused(
    stack: AsyncExitStack, echo: EchoServer, refusals: Refusals, token: str | None
) -> None:
    """Nothing is done, every kind of call is counted, and the answer does not say what is right."""
    channel: Any = await stack.enter_async_context(grpc.aio.insecure_channel(echo.address))
    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    reason = "token_missing" if token is None else "token_wrong"
    calls = [
        channel.unary_unary(f"/{SERVICE}/Who")(b"", metadata=metadata),
        channel.unary_stream(f"/{SERVICE}/Stream")(b"", metadata=metadata).read(),
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", metadata=metadata),
        channel.unary_unary("/no.such.Service/Method")(b"", metadata=metadata),
    ]

    assert {reason.replace("_", " ")} == {await refusal_of(call) for call in calls}
    assert [] == echo.calls
    assert 4 == refusals.of(reason)


async def test_the_contract_is_only_told_to_those_who_may_call(stack: AsyncExitStack, echo: EchoServer) -> None:
    """Reflection is guarded where it is on."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    for token, is_told in ((TOKEN, True), (None, False)):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(await channel_to(stack, echo, token))  # type: ignore[arg-type]
        call = stub.ServerReflectionInfo(iter([request]))
        if is_told:
            assert (await call.read()).list_services_response.service
        else:
            await refusal_of(call.read())


async def test_health_can_be_watched_without_the_token(stack: AsyncExitStack, echo: EchoServer) -> None:
    """Channels watch it below the calls, and cannot send metadata there; it tells nothing else."""
    stub: Any = health_pb2_grpc.HealthStub(await channel_to(stack, echo, None))
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=""))

    assert health_pb2.HealthCheckResponse.SERVING == (await watching.read()).status


async def test_a_large_message_is_refused_unread(stack: AsyncExitStack, echo: EchoServer) -> None:
    """The answer comes while most of it is still on the caller's side."""
    channel: Any = await channel_to(stack, echo, None)
    method = channel.unary_unary(f"/{SERVICE}/Who")
    texts = await asyncio.gather(*(refusal_of(method(b"x" * 30_000_000)) for _ in range(10)))

    assert {"token missing"} == set(texts)
    assert [] == echo.calls


async def test_refusals_are_logged_at_most_so_often(
    stack: AsyncExitStack, echo: EchoServer, refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop of calls fills no log; each line says how many there were."""
    monkeypatch.setattr("servicekit.rpc_token._LOG_INTERVAL_SECONDS", 3600.0)
    channel = await channel_to(stack, echo, TOKEN + "x")
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            await refusal_of(who(channel))

    assert [("calls_refused", "token_wrong", f"/{SERVICE}/Who", 1)] == [
        (line["event"], line["reason"], line["method"], line["calls"]) for line in logs
    ]
    assert 50 == refusals.of("token_wrong")
    assert TOKEN not in str(logs)


async def test_a_caller_learns_for_its_log_what_is_wrong(stack: AsyncExitStack, echo: EchoServer) -> None:
    """And not for other failures."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await who(await channel_to(stack, echo, TOKEN + "x"))
    with pytest.raises(grpc.aio.AioRpcError) as other:
        await who(await stack.enter_async_context(create_channel("127.0.0.1:1")))

    assert (
        "the server refuses our token (token wrong): both sides need the same content in rpc_token_file"
        == refusal_in(caught.value)
    )
    assert refusal_in(other.value) is None
    assert refusal_in(None) is None


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "tls"])
async def test_all_channels_of_a_transport_show_the_token(
    stack: AsyncExitStack, refusals: Refusals, tmp_path: Path, has_tls: bool
) -> None:
    """Those that last, after they were replaced too, and those for a few calls."""
    folders: list[Path | None] = [None, None]
    if has_tls:
        authority = Authority()
        for index, side in enumerate(("server", "client")):
            folder = SecretFolder(tmp_path / side)
            folder.put(authority.sign("localhost"), authority.certificate)
            folders[index] = folder.path
    server, client = _transport(folders[0], "server", None), _transport(folders[1], "client", TOKEN)
    echo = await start_server(
        stack, credentials=server.server_credentials(), guard=TokenGuard(OneToken(TOKEN), refusals.counter)
    )
    address = echo.address.replace("127.0.0.1", "localhost")
    channel = await stack.enter_async_context(client.open_channel(address))
    brief = await stack.enter_async_context(client.open_brief_channel(address, "localhost"))

    assert echo.address == (await who(channel)).value
    assert echo.address == (await who(brief)).value
    first = channel.current
    assert await channel.renew(channel._open)
    assert first is not channel.current
    assert echo.address == (await who(channel)).value


def _transport(folder: Path | None, role: Role, token: str | None) -> Transport:
    registry = CollectorRegistry()
    expires = Gauge("expires_timestamp_seconds", "Expires.", ["file"], registry=registry)
    stale = Gauge("stale", "Stale.", registry=registry)
    return open_transport(folder, role, expires=expires, stale=stale, tokens=None if token is None else OneToken(token))


async def test_a_token_is_replaced_while_calls_run(
    stack: AsyncExitStack, refusals: Refusals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appended, moved to the top, the old one removed: whichever side reads a step first, no call is refused."""
    monkeypatch.setattr("servicekit.rpc_token._LOOK_INTERVAL_SECONDS", 0.0)
    new = TOKEN.upper()
    at_server, at_client = tmp_path / "server", tmp_path / "client"
    for file in (at_server, at_client):
        file.write_text(f"{TOKEN}\n")
    echo = await start_server(stack, guard=guard_calls(at_server, refusals.counter))
    channel = await stack.enter_async_context(create_channel(echo.address, tokens=read_rpc_tokens(at_client)))
    for step, first in ((f"{TOKEN}\n{new}\n", at_server), (f"{new}\n{TOKEN}", at_client), (f"{new}\n", at_server)):
        for file in (first, at_client if first is at_server else at_server):
            file.write_text(step)
            assert echo.address == (await who(channel)).value

    assert 0 == refusals.of("token_wrong")
    assert "token wrong" == await refusal_of(who(await channel_to(stack, echo, TOKEN)))
    assert echo.address == (await who(await channel_to(stack, echo, new))).value


@pytest.mark.parametrize("content", [None, b"", b"short"])
async def test_a_file_that_becomes_unusable_changes_nothing(
    stack: AsyncExitStack, refusals: Refusals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """The token that was there last is asked for and shown, and the log says once what is wrong."""
    monkeypatch.setattr("servicekit.rpc_token._LOOK_INTERVAL_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    echo = await start_server(stack, guard=guard_calls(file, refusals.counter))
    channel = await channel_to(stack, echo, TOKEN)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert echo.address == (await who(channel)).value

    assert ["rpc_token_refused"] == [line["event"] for line in logs]
    assert "token wrong" == await refusal_of(who(await channel_to(stack, echo, TOKEN + "x")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "one word"),
        (b"short", "one word"),
        (b"two words of more than 32 characters", "one word"),
        (b"x" * 40 + b"\n" + b"short", "each on its line"),
        (b"\xff" * 40, "not ASCII"),
        (None, "No such file"),
    ],
)
def test_a_file_without_a_token_is_refused_by_name(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """An empty file must not mean that everybody may call."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RpcTokenUnusable, match=f"token: .*{reason}"):
        read_rpc_tokens(file)


def test_without_a_file_there_is_no_token_and_no_guard(tmp_path: Path, refusals: Refusals) -> None:
    """As before; a newline at the end of a file is none of the token."""
    (tmp_path / "token").write_text(TOKEN + "\n")

    assert read_rpc_tokens(None) is None
    assert guard_calls(None, refusals.counter) is None
    tokens = read_rpc_tokens(tmp_path / "token")
    assert tokens is not None
    assert (TOKEN,) == tokens.current()
    assert guard_calls(tmp_path / "token", refusals.counter) is not None
