"""Free ports on the loopback address, and the processes that use the others."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator

import psutil

LOOPBACK = "127.0.0.1"
# Below the ephemeral range of Linux and macOS: an outgoing connection cannot take the port before its server does.
_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of the loopback address; PermissionError when this user may not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Ignore connections of an earlier server in TIME_WAIT, but not a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free_ports() -> Iterator[int]:
    """Yield currently free ports, each once, beginning at a random one."""
    start = random.randrange(len(_RANGE))  # noqa: S311 - spreads concurrent runs, protects nothing
    for offset in range(len(_RANGE)):
        port = _RANGE[(start + offset) % len(_RANGE)]
        if is_free(port):
            yield port


def free_port() -> int:
    """Return a currently free port; StopIteration when the whole range is in use."""
    return next(free_ports())


def process_on(port: int) -> str | None:
    """Name the process that listens on `port`, as `name (pid 123)`; None when it is unknown."""
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return None
    return None


def is_listening(pid: int, port: int) -> bool:
    """Say whether the process `pid` itself listens on `port`; False when it has ended."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        for connection in connections
    )
