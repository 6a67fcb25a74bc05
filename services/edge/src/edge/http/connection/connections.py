"""All open connections: how many there may be, and a look at each of them every second.

One look at all of them costs less than a timer for each: 4,096 connections take 2 ms.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from edge.metrics import Metrics
from servicekit.log_limit import LimitedLog

CHECK_INTERVAL_SECONDS = 1.0
# For addresses that have no connection while all places are taken: a kubelet that gets no answer ends the process.
RESERVED_CONNECTIONS = 32
# A refused connection that waits until its client has read why.
MAX_LINGERING = 128
# The output of all connections together that their clients have not taken: beyond it the one that waits longest ends.
MAX_UNSENT_BYTES = 128 * 1024 * 1024
# While all places are taken, connections that have been idle for longer make room.
_MIN_EVICTION_SECONDS = 10.0


def _nobody(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What the clients of a server may take; the edge's settings explain each."""

    max_connections: int = 4096
    max_connections_per_address: int = 1024
    head_timeout_seconds: float = 30.0
    body_timeout_seconds: float = 600.0
    idle_timeout_seconds: float = 620.0
    stall_timeout_seconds: float = 60.0
    max_unsent_bytes: int = MAX_UNSENT_BYTES
    is_proxy: Callable[[str], bool] = _nobody
    """Tells of an address whether all kinds of clients come from it; it has no limit of its own."""


class Checked(Protocol):
    """A connection as this module knows it."""

    def check(self, now: float) -> None:
        """Do what is due by now."""

    def unsent(self) -> tuple[int, float]:
        """Return the bytes that the client has not taken, and since when it has been too slow."""

    def idle_since(self) -> float | None:
        """Return since when it is idle; None when it is not."""

    def end(self) -> None:
        """Close the idle connection."""

    def give_up(self) -> None:
        """Cut the connection: its client is taken for gone."""


class Connections:
    """Counts, and looks after, the open connections of one server."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.log = LimitedLog()
        self._open: set[Checked] = set()
        self._lingering: set[Checked] = set()  # refused ones that are not closed yet
        self._by_address: Counter[str] = Counter()
        self._refused = 0

    def admit(self, connection: Checked, address: str, *, is_proxy: bool = False) -> str:
        """Give the connection a place; else return why there is none, as a label of the metric."""
        mine, taken, limits = self._by_address[address], len(self._open), self.limits
        if mine >= limits.max_connections_per_address and not is_proxy:
            return "address"
        if taken >= limits.max_connections and (mine or taken >= limits.max_connections + RESERVED_CONNECTIONS):
            self._refused += 1
            return "total"
        self._open.add(connection)
        self._by_address[address] = mine + 1
        self.metrics.open_connections.inc()
        return ""

    def linger(self, connection: Checked) -> bool:
        """Look after a connection that has no place for a moment; False: there are too many of them."""
        if len(self._lingering) >= MAX_LINGERING:
            return False
        self._lingering.add(connection)
        return True

    def leave(self, connection: Checked, address: str) -> None:
        """Forget a connection that is closed."""
        self._lingering.discard(connection)
        if connection not in self._open:
            return
        self._open.remove(connection)
        self.metrics.open_connections.dec()
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    async def check(self) -> None:
        """Look at each connection, and make room."""
        now = time.monotonic()
        for connection in (*self._open, *self._lingering):
            connection.check(now)
        self.bound_unsent()
        if self._refused:
            self._make_room(now, self._refused)
            self._refused = 0

    def bound_unsent(self) -> None:
        """Cut those that have not taken their answers for longest, until the others fit into memory."""
        waiting = [(connection.unsent(), connection) for connection in self._open]
        total = sum(size for (size, _), _ in waiting)
        if total <= self.limits.max_unsent_bytes:
            return
        for (size, _), connection in sorted((each for each in waiting if each[0][0]), key=lambda each: each[0][1]):
            self.metrics.slow_clients.labels("memory").inc()
            connection.give_up()
            total -= size
            if total <= self.limits.max_unsent_bytes:
                return

    def _make_room(self, now: float, places: int) -> None:
        idle = [
            (since, number, connection)
            for number, connection in enumerate(self._open)
            if (since := connection.idle_since()) is not None and now - since > _MIN_EVICTION_SECONDS
        ]
        for _, _, connection in heapq.nsmallest(places, idle):
            connection.end()


def group_of(host: str) -> str:
    """Return the address as its connections are counted: of IPv6 the network, which is one customer's."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else f"{int(address) >> 64:x}::/64"
