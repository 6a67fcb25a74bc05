"""What open streams hold: memory, files and connections of edge and router, at several numbers of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import orjson
import psutil

from bench.client import messages
from bench.scale.slopes import OpenStreams
from bench.subjects import Subject
from bench.usage import memory_of
from bench.wire import Plan, has_content

LEVELS = (20, 100, 400)
# A chunk now and then, for longer than the measurement takes, and within the deadline of a request.
IDLE_SLOW = Plan(24, 4000)
_AT_ONCE = 4
_SETTLE_SECONDS = 4.0
_TRIES, _PAUSE_SECONDS = 60, 0.5


class NotOpened(Exception):
    """A stream that was refused again and again. The message has the last answer."""


async def open_streams(subject: Subject, say: Callable[[str], None]) -> list[OpenStreams]:
    """Open more and more streams; return what edge and router hold at each level."""
    found: list[OpenStreams] = []
    async with AsyncExitStack() as stack:
        turns = asyncio.Semaphore(_AT_ONCE)
        for level in LEVELS:
            opened = found[-1].streams if found else 0
            async with asyncio.TaskGroup() as group:
                for number in range(opened, level):
                    group.create_task(_open(subject, number, turns, stack))
            await asyncio.sleep(_SETTLE_SECONDS)
            found.append(_held(subject, level))
            parts = ", ".join(f"{part} {kib / 1024:.1f} MiB" for part, kib in found[-1].pss_kib.items())
            say(f"{level} streams open: {parts}; files {dict(found[-1].files)}")
    return found


async def _open(subject: Subject, number: int, turns: asyncio.Semaphore, stack: AsyncExitStack) -> None:
    """Open one stream and wait for its first content; it stays open until the stack is closed."""
    address = urlsplit(subject.url)
    body = orjson.dumps({"model": IDLE_SLOW.model, "stream": True, "messages": messages(f"stream {number}")})
    headers = {"Host": address.netloc, "Content-Type": "application/json", **subject.headers}
    lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    seen = b""
    for _ in range(_TRIES):
        async with turns:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request)
            seen = b""
            while not has_content(seen) and (data := await reader.read(4096)):
                seen += data
                if not seen.startswith(b"HTTP/1.1 200"):
                    break
        if has_content(seen):
            stack.callback(writer.close)
            return
        writer.close()
        await asyncio.sleep(_PAUSE_SECONDS)
    raise NotOpened(seen[:300].decode(errors="replace"))


def _held(subject: Subject, streams: int) -> OpenStreams:
    processes = {part: psutil.Process(subject.parts[part]) for part in subject.gateway}
    return OpenStreams(
        streams,
        {part: memory_of(process.pid).pss_mib * 1024 for part, process in processes.items()},
        {part: process.num_fds() for part, process in processes.items()},
        _connections(*processes.values()),
    )


def _connections(caller: psutil.Process, called: psutil.Process) -> int:
    listening = {each.laddr.port for each in called.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return sum(1 for each in caller.net_connections("tcp") if each.raddr and each.raddr.port in listening)
