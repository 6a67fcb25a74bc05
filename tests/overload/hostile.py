"""Connections that mean no good: each opens, misbehaves, is shut out, and comes again.

`python -m tests.overload.hostile HOST PORT KEY SEED SECONDS CONNECTIONS` prints at its end what came of them, as JSON.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

# Not the address of the others: an edge may count connections by where they come from.
ADDRESS = "127.0.0.2"
_PAUSE_SECONDS = 0.2
_LONGEST_SECONDS = 45.0
_MOST_BYTES = 8 * 1024 * 1024
_LONGEST_BODY_BYTES = 32 * 1024 * 1024

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _send(writer: asyncio.StreamWriter, unit: bytes, most_bytes: int = _MOST_BYTES) -> None:
    """Send `unit` again and again, as fast as it is taken."""
    for _ in range(most_bytes // len(unit)):
        writer.write(unit)
        await writer.drain()


async def _drip(writer: asyncio.StreamWriter, text: bytes) -> None:
    """Send a byte every half second."""
    for index in range(len(text)):
        writer.write(text[index : index + 1])
        await writer.drain()
        await asyncio.sleep(0.5)


async def long_line(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A request line without an end."""
    writer.write(b"GET /")
    await _send(writer, b"a" * 16_384)


async def long_header(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A header without an end."""
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ")
    await _send(writer, b"a" * 16_384)


async def many_headers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Headers without an end."""
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
    await _send(writer, b"a: b\r\n" * 2000)


async def pipeline(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Requests one behind the other, and no answer read."""
    await _send(writer, b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n" * 500)


async def slow_head(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head that never ends, a byte at a time."""
    await _drip(writer, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * 20)


async def unknown_key(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A long body from nobody that is known."""
    length = _MOST_BYTES
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-spillway-0-0\r\n"
    writer.write(f"{head}content-length: {length}\r\n\r\n".encode())
    await _send(writer, b" " * 16_384, length)


async def endless_chunk_size(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A chunk's extension without an end."""
    writer.write(b"POST /chat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;")
    await _send(writer, b"a" * 16_384)


async def endless_trailers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Trailers without an end."""
    writer.write(b"POST /chat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
    await _send(writer, b"a: b\r\n" * 2000)


async def flood_of_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Paths that do not exist, one after the other."""
    for _ in range(200):
        writer.write(b"GET /wp-login.php HTTP/1.1\r\nhost: x\r\n\r\n")
        if not await reader.read(4096):
            return


async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Only holds the connection."""
    await reader.read(1)


ATTACKS: tuple[Attack, ...] = (
    *(long_line, long_header, many_headers, pipeline, slow_head, unknown_key, endless_chunk_size),
    *(endless_trailers, flood_of_nothing, says_nothing),
)
# Of one who has a key. The edge gives its own share of places to each.
_KEYED = (
    b'{"model":"good","messages":[' + b"{}," * 1_300_000 + b"{}]}",
    b'{"model":"good","messages":[{"role":"user","content":"' + b"\\n" * 2_000_000 + b'"}]}',
    b"[" * 4_000_000,
)


@dataclass
class HostileClient:
    """One that has one connection at a time."""

    host: str
    port: int
    key: str
    rng: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    """What was done, and how the connection ended."""

    async def run(self, until: float) -> None:
        """Attack until then, one connection after the other."""
        loop, own = asyncio.get_running_loop(), (self._keyed, self._slow_body)
        while loop.time() < until:
            attack = self.rng.choice(ATTACKS) if self.rng.random() < 0.9 else self.rng.choice(own)
            end = "shut out"
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    await self._once(attack)
                    end = "went to its end"
            except TimeoutError:
                end = "held on"
            except OSError:
                pass
            self.seen[f"{attack.__name__.strip('_')}: {end}"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _once(self, attack: Attack) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=(ADDRESS, 0))
        try:
            await attack(reader, writer)
        finally:
            sock: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # a reset
            writer.close()

    async def _keyed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = self.rng.choice(_KEYED)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        await reader.read(4096)

    async def _slow_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Announce the longest body that is taken, and send it slowly: its memory is kept for it meanwhile."""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
        writer.write(f"{head}content-length: {_LONGEST_BODY_BYTES}\r\n\r\n".encode())
        reading = asyncio.ensure_future(reader.read(4096))
        try:
            while not reading.done():
                writer.write(b" " * 1024)
                await writer.drain()
                await asyncio.sleep(0.5)
        finally:
            reading.cancel()


async def _main(host: str, port: int, key: str, seed: int, seconds: float, connections: int) -> None:
    rng = random.Random(seed)
    clients = [HostileClient(host, port, key, random.Random(rng.random())) for _ in range(connections)]
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(client.run(until) for client in clients))
    seen = sum((client.seen for client in clients), Counter[str]())
    print(orjson.dumps(seen).decode(), flush=True)  # noqa: T201 - what the caller reads


if __name__ == "__main__":
    _host, _port, _key, _seed, _seconds, _connections = sys.argv[1:]
    asyncio.run(_main(_host, int(_port), _key, int(_seed), float(_seconds), int(_connections)))
