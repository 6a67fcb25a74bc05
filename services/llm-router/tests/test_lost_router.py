"""A router that is killed has announced every attempt that reached a provider."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import grpc
import orjson
import pytest
import yaml
from prometheus_client import CollectorRegistry

from kit.router.process import Seen
from llm_router.breaker.breakers import Breakers
from llm_router.chain.attempts import ChainDependencies, Limits
from llm_router.chain.chain import Chain, ChatRequest
from llm_router.chain.outbox import Outbox
from llm_router.metrics import Metrics
from llm_router.providers.catalogue import create_provider
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.http.transport import Network
from llm_router.routes.fleet import Fleets
from llm_router.routes.load import load_routes
from llm_router.strategies.hedging import HedgeAllowances
from llm_router.strategies.latency import Latencies
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc
from spillway_local import processes
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

ROUNDS = 10
_REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}"


class FreezingProvider:
    """Refuses what is sent to a model named `down-...`; what another one is sent freezes the router in that moment."""

    def __init__(self) -> None:
        self.router_process_id = 0
        self.reached = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port while the block runs; yield the URL."""
        server = await asyncio.start_server(self._answer, "127.0.0.1")
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._refuses(reader):
                    writer.write(_REFUSAL)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _refuses(self, reader: asyncio.StreamReader) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        model: str = orjson.loads(await reader.readexactly(length))["model"]
        if model.startswith("down"):
            return True
        os.kill(self.router_process_id, signal.SIGSTOP)
        self.reached.set()
        return False


def routes(url: str, key: Path) -> dict[str, object]:
    """Return a routes file with a pair of targets for each round, since a breaker would pass one over."""
    names = [f"{kind}-{number}" for number in range(ROUNDS) for kind in ("down", "freezes")]
    return {
        "targets": {name: _target(f"{url}/v1", key, name) for name in names},
        "routes": {f"r{number}": {"targets": [f"down-{number}", f"freezes-{number}"]} for number in range(ROUNDS)},
    }


def _target(base_url: str, key: Path, model: str) -> dict[str, object]:
    return {"provider": "openai", "base_url": base_url, "credential_file": str(key), "model": model}


async def test_what_reached_a_provider_was_announced(tmp_path: Path) -> None:
    """As the first attempt and as a further one, however quick the provider is."""
    provider, port = FreezingProvider(), free_port()
    async with provider.serving() as url:
        (tmp_path / "key").write_text("sk-test-credential")
        (tmp_path / "routes.yaml").write_text(yaml.safe_dump(routes(url, tmp_path / "key")))
        log = tmp_path / "router.log"
        environment = {
            **os.environ,
            "LLM_ROUTER_PORT": str(port),
            "LLM_ROUTER_METRICS_PORT": str(free_port()),
            "LLM_ROUTER_ROUTES_FILE": str(tmp_path / "routes.yaml"),
        }
        process = processes.start([sys.executable, "-m", "llm_router"], log, environment=environment)
        channel = create_channel(f"127.0.0.1:{port}")
        try:
            await asyncio.to_thread(
                processes.wait_until_ready, process, lambda: '"started"' in log.read_text(), log, 60.0
            )
            provider.router_process_id = process.pid
            stub = router_pb2_grpc.RouterServiceStub(channel)
            for number in range(ROUNDS):
                assert [1, 2] == await _announced(stub, provider, process.pid, f"r{number}")
        finally:
            os.kill(process.pid, signal.SIGCONT)
            await channel.close()
            processes.stop(process, signal.SIGKILL, 10.0)


async def test_no_provider_is_called_before_the_announcement_is_sent(
    fault_provider_url: str, seen: Seen, tmp_path: Path
) -> None:
    """The chain waits until its announcement was taken."""
    (tmp_path / "key").write_text("sk-test-credential")
    models = {"first": "status-500?test=unsent-1", "second": "ok?test=unsent-2"}
    targets = {name: _target(f"{fault_provider_url}/v1", tmp_path / "key", model) for name, model in models.items()}
    (tmp_path / "routes.yaml").write_text(
        yaml.safe_dump({"targets": targets, "routes": {"r": {"targets": list(targets)}}})
    )
    outbox = Outbox()
    async with _chain(tmp_path / "routes.yaml", outbox) as chain:
        running = asyncio.create_task(chain.run())
        try:
            for number, test in enumerate(("unsent-1", "unsent-2"), 1):
                while number not in {message.started.attempt_number for message in await outbox.take()}:
                    pass
                await asyncio.sleep(0.3)  # to reach a provider on the same machine takes a hundredth of it
                assert [] == seen.attempts(test)
            await outbox.take()
            assert 1 == len(seen.attempts("unsent-2"))
        finally:
            running.cancel()
            await asyncio.wait((running,))


@asynccontextmanager
async def _chain(file: Path, outbox: Outbox) -> AsyncIterator[Chain]:
    """Yield a chain along the route `r` of a routes file."""
    metrics, rng = Metrics(CollectorRegistry()), random.Random(7)
    breakers = Breakers(metrics, clock=time.monotonic, rng=rng, lease_timeout_seconds=1.0)
    dependencies = ChainDependencies(
        breakers=breakers,
        latencies=Latencies(time.monotonic),
        allowances=HedgeAllowances(),
        metrics=metrics,
        rng=rng,
        router_address="",
    )
    fleets = Fleets(partial(create_provider, network=Network(0.0)))
    await fleets.replace(load_routes(file))
    with fleets.borrow() as fleet:
        route = fleet.routes["r"]
        breakers.keep({target.name: target.fingerprint for target in route.targets})
        dependencies.latencies.keep({target.name for target in route.targets})
        chat = ChatRequest(
            route=route,
            chat=ChatBody({"messages": [{"role": "user", "content": "x"}]}),
            input_tokens=1,
            limits=Limits(attempt_budget=2, deadline=asyncio.get_running_loop().time() + 30.0),
            may_continue=False,
        )
        yield Chain(chat, fleet.providers, outbox, dependencies)
    await fleets.close()


async def _announced(
    stub: router_pb2_grpc.RouterServiceAsyncStub, provider: FreezingProvider, process_id: int, route: str
) -> list[int]:
    """Ask, and return the attempts of which the caller knows when the second one has reached the provider."""
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    request = routerpb.StreamCompletionRequest(request_id=route, route=route, body=body, attempt_budget=2)
    provider.reached.clear()
    call, numbers = stub.StreamCompletion(request, timeout=60), []
    try:
        with suppress(grpc.aio.AioRpcError):
            while 2 not in numbers:
                # Frozen, it sends nothing more: what it has sent is on its way already.
                reading = asyncio.create_task(call.read())
                reached = asyncio.create_task(provider.reached.wait())
                await asyncio.wait((reading, reached), return_when=asyncio.FIRST_COMPLETED)
                reached.cancel()
                await asyncio.wait((reading,), timeout=1.0 if provider.reached.is_set() else None)
                if not reading.done():
                    break
                message = reading.result()
                if isinstance(message, routerpb.StreamCompletionResponse) and message.HasField("started"):
                    numbers.append(message.started.attempt_number)
        await asyncio.wait_for(provider.reached.wait(), 20.0)
    finally:
        os.kill(process_id, signal.SIGCONT)
        call.cancel()
    return numbers
