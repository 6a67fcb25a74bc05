"""A DNS server for one name, as a headless service has it: an address for each pod, and they change."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

_A, _IN = 1, 1


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with `addresses`, and every other one with nothing."""

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ()
        self.port = 0
        self.questions: list[str] = []
        """The types that were asked for, as numbers of RFC 1035, and the name."""
        self._transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[NameServer]:
        """Answer while the block runs."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question (RFC 1035, section 4)."""
        end, labels = 12, []
        while length := data[end]:
            labels.append(data[end + 1 : end + 1 + length].decode())
            end += 1 + length
        (kind,) = struct.unpack_from("!H", data, end + 1)
        self.questions.append(f"{kind} {'.'.join(labels)}")
        addresses = self.addresses if kind == _A else ()
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", _A, _IN, 5, 4) + socket.inet_aton(address) for address in addresses
        ]
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
        assert self._transport is not None
        self._transport.sendto(header + data[12 : end + 5] + b"".join(records), addr)
