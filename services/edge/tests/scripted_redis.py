"""A Redis that misbehaves: a TCP server in front of a real one, and a real one that is killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from spillway_local import processes, valkey
from spillway_local.ports import free_port


class FakeRedis:
    """Passes everything on to a real Redis while `answers` is set; its replies wait while it is not."""

    def __init__(self, real_url: str) -> None:
        self._real = urlsplit(real_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.answers = asyncio.Event()
        self.answers.set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """The address that a client connects to, with the real one's credentials."""
        credentials, separator, _ = self._real.netloc.rpartition("@")
        return f"redis://{credentials}{separator}127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[FakeRedis]:
        """Listen on a free port while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        real_reader, real_writer = await asyncio.open_connection(self._real.hostname, self._real.port)
        try:
            with suppress(asyncio.CancelledError, ConnectionError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, real_writer, None))
                    group.create_task(_copy(real_reader, writer, self.answers))
        finally:
            for end in (writer, real_writer):
                end.close()
                with suppress(ConnectionError, asyncio.CancelledError):
                    await end.wait_closed()


class OwnValkey:
    """A real server on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._password = valkey.ensure_password(folder)
        self.url = valkey.url(self._port, self._password)

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self._folder / "valkey.log"
        self._process = processes.start(valkey.command(self._folder, self._port), log)
        processes.wait_until_ready(self._process, lambda: valkey.answers_ping(self._port, self._password), log, 30.0)

    def kill(self) -> None:
        """End it without a chance to write."""
        processes.kill(self._process)
        self._process.wait()

    def written_bytes(self) -> int:
        """Return how long the file with its latest writes is."""
        return self._increments().stat().st_size

    def cut(self, length: int) -> None:
        """Shorten that file of a server that was killed: as if what came later had not reached the disk."""
        os.truncate(self._increments(), length)

    def _increments(self) -> Path:
        (file,) = (self._folder / "appendonlydir").glob("*.incr.aof")
        return file


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None) -> None:
    while data := await reader.read(65_536):
        if gate is not None:
            await gate.wait()
        writer.write(data)
        await writer.drain()
    raise asyncio.CancelledError  # one end closed, so the other one has to


@asynccontextmanager
async def redis_client(url: str) -> AsyncIterator[redis.Redis]:
    """Yield a client like the edge's own, which waits longer for a connection: a test machine may be slow."""
    pool = redis.BlockingConnectionPool.from_url(
        url, max_connections=8, timeout=20, retry=Retry(NoBackoff(), 0), socket_connect_timeout=20
    )
    client = redis.Redis.from_pool(pool)
    try:
        yield client
    finally:
        await client.aclose()
