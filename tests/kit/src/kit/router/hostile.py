"""A provider that answers with whatever bytes a test wants, over real sockets, and a real llm-router before it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import orjson
import psutil

from kit.router.process import Router, RouterProcess, running_llm_router
from servicekit.rpc import create_channel

# Where a script waits until the router closes the connection.
HANG = b"\0hang"
DONE = b"data: [DONE]\n\n"
CREDENTIAL = "sk-hostile-4f9Kq7Zx1mVw83LrTbnE"


@dataclass
class Asked:
    """One request that came in, and how it went."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    sent_bytes: int = 0
    is_closed: bool = False
    """Whether the router closed the connection before the script was over."""


Script = Callable[[Asked], Iterable[bytes]]


@dataclass
class HostileProvider:
    """Plays a script for each request: that of the first part of its path."""

    scripts: dict[str, Script] = field(default_factory=dict)
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    url: str = ""

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileProvider]:
        """Serve on a free port while the block runs, with `tls` encrypted."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the end of the test
            asked = await _read_request(reader)
            name = asked.path.split("/")[1]
            self.asked.setdefault(name, []).append(asked)
            try:
                for piece in self.scripts[name](asked):
                    if piece == HANG:
                        await reader.read()
                        raise ConnectionResetError
                    writer.write(piece)
                    asked.sent_bytes += len(piece)
                    await writer.drain()
                    await asyncio.sleep(0)  # a drain that need not wait does not let others run
            except ConnectionError:
                asked.is_closed = True
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(head[0].split(" ")[1], headers, body)


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Write the head of a reply whose body ends with the connection."""
    lines = {"content-type": "text/event-stream", "connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return "".join([f"HTTP/1.1 {status}\r\n", *(f"{k}: {v}\r\n" for k, v in lines.items()), "\r\n"]).encode()


def forever(*pieces: bytes) -> Iterator[bytes]:
    """Repeat the pieces without end."""
    while True:
        yield from pieces


def event(data: object, name: str = "") -> bytes:
    """Write an event."""
    encoded = data if isinstance(data, bytes) else orjson.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + b"data: " + encoded + b"\n\n"


def chunk(content: object = None, reason: object = None, **more: object) -> bytes:
    """Write a chunk of OpenAI's wire as an event."""
    delta = {} if content is None else {"content": content}
    return event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more})


def delta_of(**delta: object) -> bytes:
    """Write a chunk of OpenAI's wire with this delta."""
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def said(kind: str, **more: object) -> bytes:
    """Write an event of Anthropic's wire."""
    return event({"type": kind, **more}, kind)


def plays(*pieces: bytes | Callable[[], Iterable[bytes]], headers: bytes | None = None) -> Script:
    """Send a head and then these pieces, and those that these functions return."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield head() if headers is None else headers
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece()

    return script


def endlessly(*pieces: bytes, first: bytes = b"", headers: bytes | None = None) -> Script:
    """Send a head, `first`, and then the pieces for ever."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield (head() if headers is None else headers) + first
        yield from forever(*pieces)

    return script


class HostileRouter(Router):
    """A client of a router whose targets are all played by the hostile provider."""

    def __init__(self, process: RouterProcess, provider: HostileProvider) -> None:
        super().__init__(create_channel(f"127.0.0.1:{process.port}"))
        self.process = process
        self.provider = provider

    def reset_peak(self) -> int:
        """Forget the highest memory so far; return what the process has now, in bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        """Return the highest memory since `reset_peak`, in bytes."""
        return self._memory("VmHWM")

    def cpu_seconds(self) -> float:
        """Return the time that the process has had of a processor."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def _memory(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    async def metric(self, line: str) -> float:
        """Return the value of a series, `0` when it is not there."""
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{self.process.metrics_port}/metrics")).text
        found = [each.rpartition(" ")[2] for each in text.splitlines() if each.rpartition(" ")[0] == line]
        return float(found[0]) if found else 0.0

    def log(self) -> str:
        """Return all that the process has logged."""
        return self.process.log.read_text()


@asynccontextmanager
async def running_hostile_router(
    folder: Path,
    provider: HostileProvider,
    routes: Mapping[str, list[str]],
    *,
    settings: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    target_options: Mapping[str, Mapping[str, object]] | None = None,
) -> AsyncIterator[HostileRouter]:
    """Run a router whose `routes` lead to targets `PROVIDER:NAME`.

    `options` are more fields of routes, `target_options` of targets, by name.
    """
    (folder / "key").write_text(CREDENTIAL)
    targets: dict[str, object] = {}
    document: dict[str, object] = {"targets": targets, "routes": {}}
    for route, members in routes.items():
        for member in members:
            wire, _, name = member.partition(":")
            targets[member] = {
                "provider": wire,
                "model": "m",
                "base_url": f"{provider.url}/{name}" + ("" if wire == "anthropic" else "/v1"),
                "credential_file": str(folder / "key"),
                "timeouts": {"first_content_seconds": 4.0, "gap_seconds": 4.0, "stream_seconds": 60.0},
                **(target_options or {}).get(member, {}),
            }
        document["routes"][route] = {"targets": members, **(options or {}).get(route, {})}  # type: ignore[index]
    async with running_llm_router(folder, document, folder / "llm-router.log", settings or {}) as process:
        router = HostileRouter(process, provider)
        try:
            yield router
        finally:
            await router.channel.close()
