"""Two PostgreSQL servers, the second a streaming standby of the first, and what a fail-over does to them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port
from spillway_local.postgres import (
    STOP_SIGNAL,
    PostgresCluster,
    accepts_connections,
    cluster_of,
    ensure_cluster,
    program,
)


@dataclass
class Server:
    """One of the two."""

    cluster: PostgresCluster
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Return the URL of its database `postgres`, with the password."""
        return self.cluster.url(self.port, with_password=True)

    @property
    def _log_file(self) -> Path:
        return _log_file(self.cluster, self.port)

    async def execute(self, *statements: str) -> None:
        """Run each statement in a transaction of its own."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def promote(self) -> None:
        """Make the standby a primary, with `pg_ctl promote`; return when it takes writes, a moment after that ends."""
        command = [program("pg_ctl"), "promote", "-w", "-D", str(self.cluster.directory)]
        await asyncio.to_thread(processes.run_to_end, command, self._log_file, 30.0, owner=self.cluster.owner)
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval("SELECT pg_is_in_recovery()"):
                await asyncio.sleep(0.01)
        finally:
            await connection.close()

    def demote(self) -> None:
        """Restart it as a standby that answers on its old port; it follows nobody."""
        self.stop()
        (self.cluster.directory / "standby.signal").touch()
        cluster = cluster_of(self.cluster.directory, self.cluster.password_file)
        self.process = _start(cluster, self.port)

    def stop(self) -> None:
        """Shut it down."""
        processes.stop(self.process, STOP_SIGNAL, 20.0)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it during the block: its port accepts connections and nothing answers."""
        server = psutil.Process(self.process.pid)
        family = [server, *server.children(recursive=True)]
        _signal(family, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(family, signal.SIGCONT)


def _signal(family: list[psutil.Process], signum: signal.Signals) -> None:
    for each in family:
        # Some serve for a moment only; the server, which is the first, collects those that have ended.
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signum)


@dataclass(frozen=True)
class Pair:
    """A primary and its standby."""

    first: Server
    second: Server

    def url(self, database: str) -> str:
        """Return the URL of `database` that names both servers, the first one first."""
        parts = urlsplit(self.first.url)
        hosts = f"{LOOPBACK}:{self.first.port},{LOOPBACK}:{self.second.port}"
        return f"postgresql://postgres:{parts.password}@{hosts}/{database}?target_session_attrs=read-write"


@contextmanager
def replicated_postgres(folder: Path) -> Iterator[Pair]:
    """Run both; a commit on the first one waits until the second one has it, so that a fail-over loses nothing."""
    cluster = ensure_cluster(folder / "first", folder / "initdb.log")
    first = Server(cluster, port := free_port(), _start(cluster, port))
    try:
        copy = _copy(first, folder / "second")
        second = Server(copy, port := free_port(), _start(copy, port))
        try:
            yield Pair(first, second)
        finally:
            second.stop()
    finally:
        first.stop()


def _copy(first: Server, directory: Path) -> PostgresCluster:
    command = [
        program("pg_basebackup"),
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
        "-D",
        str(directory),
    ]
    connection = ["-h", LOOPBACK, "-p", str(first.port), "-U", "postgres"]
    environment = {**os.environ, "PGPASSWORD": first.cluster.password_file.read_text()}
    subprocess.run([*command, *connection], env=environment, check=True, timeout=60, capture_output=True)
    return cluster_of(directory, first.cluster.password_file)


def _start(cluster: PostgresCluster, port: int) -> subprocess.Popen[bytes]:
    log_file = _log_file(cluster, port)
    process = processes.start(cluster.command(port), log_file, death_signal=STOP_SIGNAL, owner=cluster.owner)
    processes.wait_until_ready(process, lambda: accepts_connections(port), log_file, 30.0)
    return process


def _log_file(cluster: PostgresCluster, port: int) -> Path:
    return cluster.directory.with_name(f"postgres-{port}.log")
