"""Clients that read slowly: each asks for a whole answer, takes its time with it, and asks again."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

import orjson

from .provider import GOOD, GOOD_TEXT

# From the end of the request to the head of the response. A person waits no longer for a sign of life.
AT_ONCE_SECONDS = 1.0
# What one is given at a time, and how often it takes it: 64 KB last for some seconds.
_BITE_BYTES, _BITE_SECONDS = 4096, 0.2
_RECEIVE_BUFFER = 4096
_PAUSE_SECONDS = (0.5, 2.0)
_PATIENCE_SECONDS = 60.0


@dataclass
class Seen:
    """What all of them have seen."""

    served: int = 0
    refused: int = 0
    slow: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    """Answers that are neither whole nor an honest refusal."""
    statuses: Counter[int] = field(default_factory=Counter)
    longest_seconds: float = 0.0


@dataclass
class SlowReader:
    """One of them."""

    host: str
    port: int
    key: str
    name: str
    rng: random.Random
    seen: Seen

    async def run(self, until: float) -> None:
        """Ask until then."""
        loop, number = asyncio.get_running_loop(), 0
        while loop.time() < until:
            number += 1
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._ask(f"{self.name}-{number}")
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.seen.wrong[repr(error)[:60]] += 1
            await asyncio.sleep(self.rng.uniform(*_PAUSE_SECONDS))

    async def _ask(self, question: str) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (self.host, self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=_BITE_BYTES)
        try:
            await self._exchange(reader, writer, question)
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: str) -> None:
        body = orjson.dumps({"model": GOOD, "messages": [{"role": "user", "content": question}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
        writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        asked = time.monotonic()
        line = await reader.readline()
        seconds = time.monotonic() - asked
        status = int(line.split()[1]) if line else 0
        content = await self._read_slowly(reader) if status == 200 else await reader.read(_BITE_BYTES)
        self._note(status, seconds, content)

    async def _read_slowly(self, reader: asyncio.StreamReader) -> bytes:
        content = bytearray()
        while bite := await reader.read(_BITE_BYTES):
            content += bite
            await asyncio.sleep(_BITE_SECONDS)
        return bytes(content)

    def _note(self, status: int, seconds: float, content: bytes) -> None:
        seen = self.seen
        seen.statuses[status] += 1
        seen.longest_seconds = max(seen.longest_seconds, seconds)
        if seconds > AT_ONCE_SECONDS:
            seen.slow += 1
        elif status == 200:
            seen.served += 1
        else:
            seen.refused += 1
        if status == 200 and GOOD_TEXT.encode() not in content:
            seen.wrong["not whole"] += 1
        elif status not in (200, 429, 503):
            seen.wrong[f"status {status}"] += 1
