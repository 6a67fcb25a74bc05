"""Everywhere that a system on this machine writes: each place with a name and its bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import psutil
import redis.asyncio as redis

from kit.front_door.edge_client import Behind, Stores

# A partition of a month counts as the table above it.
_PARTITION = re.compile(r"_\d{4}_\d\d$")

Finding = tuple[str, str]
"""The name of a canary, and the place where it was found."""


def find(canaries: Mapping[str, str], place: str, content: bytes) -> set[Finding]:
    """Return which canaries are in these bytes, in plain or encoded as programs write secrets."""
    return {(name, place) for name, value in canaries.items() if any(form in content for form in _forms(value))}


def _forms(value: str) -> Iterator[bytes]:
    """Yield the text itself, in hexadecimal, as UTF-16, and in base64 wherever it may begin in what is encoded."""
    plain = value.encode()
    yield plain
    yield plain.hex().encode()
    yield value.encode("utf-16-le")
    for before in range(3):
        # Without the first and the last characters, which depend on the neighbours too.
        yield base64.b64encode(bytes(before) + plain)[4:-4]


async def find_in_stores(canaries: Mapping[str, str], stores: Stores) -> set[Finding]:
    """Look at every key and value of Redis, and at every column of every table of PostgreSQL."""
    found: set[Finding] = set()
    async for name, content in _redis_contents(stores.redis_url):
        found |= find(canaries, f"redis {name}", content)
    async for name, content in _postgres_contents(stores.postgres_url):
        found |= find(canaries, f"postgres {name}", content)
    return found


async def _redis_contents(url: str) -> AsyncIterator[tuple[str, bytes]]:
    opened: Any = redis.Redis.from_url(url)  # its types do not know that without decoding all replies are bytes
    async with opened as client:
        async for key in client.scan_iter():
            # spillway:cache:..., {spillway:breaker}:...
            kind = ":".join(key.decode(errors="replace").replace("{", "").replace("}", "").split(":")[:2])
            yield kind, key
            match await client.type(key):
                case b"string":
                    yield kind, await client.get(key) or b""
                case b"hash":
                    yield kind, repr(await client.hgetall(key)).encode()
                case b"list":
                    yield kind, b"\n".join(await client.lrange(key, 0, -1))
                case b"set":
                    yield kind, b"\n".join(await client.smembers(key))
                case b"zset":
                    yield kind, b"\n".join(await client.zrange(key, 0, -1))
                case b"stream":
                    for _, fields in await client.xrange(key):
                        yield kind, b"\n".join([*fields.keys(), *fields.values()])
                case b"none":
                    pass  # it has expired
                case other:
                    raise AssertionError(f"{key!r}: nobody has looked into a {other!r} yet")


async def _postgres_contents(url: str) -> AsyncIterator[tuple[str, bytes]]:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        assert tables
        for schema, table in tables:
            for row in await connection.fetch(f'SELECT * FROM "{schema}"."{table}"'):  # noqa: S608 - names of tables
                for column, value in row.items():
                    content = value if isinstance(value, bytes) else str(value).encode()
                    yield f"{_PARTITION.sub('', table)}.{column}", content
    finally:
        await connection.close()


def find_in_files(canaries: Mapping[str, str], home: Path) -> set[Finding]:
    """Look at every file of the home, byte by byte: logs, spool, the stores' own files, whatever else is there."""
    found: set[Finding] = set()
    for file in home.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with suppress(FileNotFoundError):  # PostgreSQL recycles its files
                found |= find(canaries, _name_of(file.relative_to(home)), file.read_bytes())
    return found


def _name_of(file: Path) -> str:
    """Return the file's name, or its folder's where files come and go."""
    if file.match("up*.log"):
        return "console"
    if file.parts[0] == "postgres" and len(file.parts) > 2:
        return "file postgres/"
    if file.parts[0] == "valkey" and len(file.parts) > 2:
        return "file valkey/"
    return f"file {file.parts[0]}/" if file.parts[0] in {"logs", "spool"} else f"file {file}"


async def find_in_metrics(canaries: Mapping[str, str], behind: Behind) -> set[Finding]:
    """Look at the metrics of every service, and at the edge's health."""
    addresses = [process["metrics_address"] for process in behind.run["processes"] if process["metrics_address"]]
    urls = [f"http://{address}/metrics" for address in addresses] + [f"{behind.run['url']}/health"]
    async with httpx2.AsyncClient(timeout=60) as client:
        responses = [(await client.get(url)).raise_for_status() for url in urls]
    return {finding for response in responses for finding in find(canaries, "metrics", response.content)}


def find_in_command_lines(canaries: Mapping[str, str], pids: Iterable[int]) -> set[Finding]:
    """Look at what any user of the machine sees of the processes."""
    found: set[Finding] = set()
    for pid in pids:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found |= find(canaries, "command lines", "\0".join(each.cmdline()).encode())
    return found
