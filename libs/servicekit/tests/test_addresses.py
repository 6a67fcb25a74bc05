"""Addresses of both families are written and listened on."""

from __future__ import annotations

import asyncio
import errno
import socket
import urllib.request
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from servicekit.addresses import host_of_both, join_address, listen
from servicekit.health import Health
from servicekit.metrics import serve_metrics
from spillway_local.ports import free_port

has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
real_create_server = socket.create_server


@pytest.mark.parametrize(
    ("host", "written"),
    [("127.0.0.1", "127.0.0.1:80"), ("::", "[::]:80"), ("[::1]", "[::1]:80"), ("edge.svc", "edge.svc:80")],
)
def test_an_address_of_ipv6_has_brackets_before_its_port(host: str, written: str) -> None:
    """Otherwise the port reads as a part of it."""
    assert written == join_address(host, 80)


def greeted(sockets: list[socket.socket], host: str, port: int) -> str:
    """Connect; return from which address that came to the one of the sockets that took it."""
    with socket.create_connection((host, port), timeout=5):
        for listener in sockets:
            listener.settimeout(0.2)
            try:
                taken, address = listener.accept()
            except TimeoutError:
                continue
            taken.close()
            return str(address[0])
    raise AssertionError("nobody took it")


@has_ipv6
@pytest.mark.integration
def test_every_address_is_one_of_both_families() -> None:
    """A client of IPv4 has an address of IPv4: limits and networks of proxies go by it."""
    port = free_port()
    with ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in listen("::", port, 5)]
        assert 2 == len(sockets)
        assert ["127.0.0.1", "::1"] == [greeted(sockets, host, port) for host in ("127.0.0.1", "::1")]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("absent", "code"),
    [
        (socket.AF_INET6, errno.EAFNOSUPPORT),
        (socket.AF_INET6, errno.EADDRNOTAVAIL),
        (socket.AF_INET, errno.EAFNOSUPPORT),
    ],
)
def test_a_machine_without_one_of_them_has_the_other(
    monkeypatch: pytest.MonkeyPatch, absent: socket.AddressFamily, code: int
) -> None:
    """The default of a chart fits clusters of either kind."""

    def create(address: Any, *, family: Any, backlog: int) -> socket.socket:
        if family == absent:
            raise OSError(code, "no such family")
        return real_create_server(address, family=family, backlog=backlog)

    monkeypatch.setattr(socket, "create_server", create)
    (only,) = listen("::", free_port(), 5)
    with only:
        assert absent != only.family


@pytest.mark.integration
@pytest.mark.parametrize("host", ["::", "127.0.0.1"])
def test_a_port_that_is_taken_is_an_error(host: str) -> None:
    """Half a service would be none, and nothing stays open."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen(host, port, 5)
        if host == "::" and socket.has_dualstack_ipv6():
            with socket.create_server(("::1", port), family=socket.AF_INET6):
                pass


@has_ipv6
@pytest.mark.integration
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_metrics_are_read_over_both(host: str) -> None:
    """Of one socket: nobody goes by the address of who reads them."""
    port = free_port()

    def read() -> int:
        with urllib.request.urlopen(f"http://{host}:{port}/health/live", timeout=5) as reply:
            return int(reply.status)

    with serve_metrics(CollectorRegistry(), Health(asyncio.Event()), "::", port):
        assert 200 == await asyncio.to_thread(read)


def test_one_socket_is_of_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for every address: one that was named is used as it is."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    every_ipv4, *named = [host_of_both(host) for host in ("::", "::1", "10.0.0.1")]

    assert socket.inet_aton(every_ipv4) == bytes(4)
    assert ["::1", "10.0.0.1"] == named
