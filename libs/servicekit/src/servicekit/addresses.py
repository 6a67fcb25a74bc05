"""Addresses of IPv4 and IPv6: written with a port, and listened on. `::` means every address, of both."""

from __future__ import annotations

import errno
import socket

EVERY_ADDRESS = "::"
_EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - it is what somebody asks for who asks for every address
# What a machine says that does not have one of them.
_ABSENT = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def host_of_both(host: str) -> str:
    """Return the address for one socket that takes IPv4 as well; for `::` that of IPv4 where there is no IPv6."""
    return _EVERY_IPV4 if host == EVERY_ADDRESS and not socket.has_dualstack_ipv6() else host


def listen(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return sockets that listen; for `::` one for each of IPv6 and IPv4 that this machine has.

    Two, so that the address of a client of IPv4 reads as such. OSError when the port is taken.
    """
    if host != EVERY_ADDRESS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [socket.create_server((host, port), family=family, backlog=backlog)]
    sockets: list[socket.socket] = []
    for family, every in ((socket.AF_INET6, EVERY_ADDRESS), (socket.AF_INET, _EVERY_IPV4)):
        try:
            sockets.append(socket.create_server((every, port), family=family, backlog=backlog))
        except OSError as error:
            if error.errno not in _ABSENT or (family == socket.AF_INET and not sockets):
                for each in sockets:
                    each.close()
                raise
    return sockets
