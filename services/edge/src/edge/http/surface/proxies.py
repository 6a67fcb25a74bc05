"""Which peers may say where a request comes from: the proxies that the operator has named, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers

Network = IPv4Network | IPv6Network
# A header that proxies have written has a few; what is before them a client may have made up.
_MAX_HOPS = 16
_MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    address: str
    scheme: str


class TrustedProxies:
    """Reads `X-Forwarded-For` and `X-Forwarded-Proto` of peers in these networks."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = networks
        # The same few peers ask all the time.
        self.has = lru_cache(_MAX_REMEMBERED)(self._has) if networks else _nobody

    def origin(self, peer: str, scheme: str, headers: Headers) -> Origin:
        """Return who has sent a request that came from `peer`, by what is said on the way from the trusted ones.

        From the last hop to the first: the first that is no trusted proxy is the client. What cannot be an address is
        passed by no trusted proxy, so the proxy in front of it counts.
        """
        if not self.has(peer):
            return Origin(peer, scheme)
        address = peer
        hops = [hop.strip() for hop in ",".join(headers.getlist("x-forwarded-for")).split(",")]
        for hop in reversed(hops[-_MAX_HOPS:]):
            found = _read(hop)
            if found is None:
                break
            address = str(found)
            if not self.has(address):
                break
        proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return Origin(address, proto if proto in ("http", "https") else scheme)

    def _has(self, peer: str) -> bool:
        address = _read(peer)
        return address is not None and any(address in network for network in self._networks)


def _nobody(_: str) -> bool:
    return False


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, with or without a port; an IPv4 address in IPv6's clothes is one of IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
