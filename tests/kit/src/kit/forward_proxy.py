"""A forward proxy as companies have them: tunnels (CONNECT) for https, requests passed on for http, with a password.

`python -m kit.forward_proxy UPSTREAM_PORT [--user USER:PASSWORD] [--answer STATUS | --hang]` listens on a free port of
loopback, and whatever host it is asked for is at UPSTREAM_PORT there. Its first line of output is its port; then a line
for each request: what was asked, and whether the credentials were right.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spillway_local import processes

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class _ForwardProxy:
    def __init__(self, upstream_port: int, user: str, answer: int, *, hangs: bool) -> None:
        self._upstream_port = upstream_port
        self._authorization = f"Basic {b64encode(user.encode()).decode()}" if user else ""
        self._answer = answer
        self._hangs = hangs

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, and what is behind it."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        given = [line for line in lines if line.lower().startswith("proxy-authorization:")]
        is_known = not self._authorization or [self._authorization] == [line.partition(": ")[2] for line in given]
        _say(f"{method} {target} {'known' if is_known else 'stranger'}")
        if self._hangs:
            await reader.read()
        elif not is_known or self._answer:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno" % (self._answer or 407))
            await writer.drain()
        else:
            others = [line for line in lines if line not in given]
            await self._pass_on(method, target, others, reader, writer)

    async def _pass_on(
        self, method: str, target: str, lines: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        behind, towards = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        if method == "CONNECT":
            writer.write(_ESTABLISHED)
        else:
            path = "/" + target.split("/", 3)[3]
            towards.write("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
        await asyncio.gather(_pipe(reader, towards), _pipe(behind, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    writer.close()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the caller reads


class RunningProxy:
    """A proxy that runs in a process of its own."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._log.read_text().split()[0])

    @property
    def asked(self) -> list[str]:
        """What it was asked for so far, e.g. `CONNECT api.test:443 known`."""
        return self._log.read_text().splitlines()[1:]

    def url(self, user: str = "") -> str:
        """Return its URL, with credentials if there are any."""
        return f"http://{f'{user}@' if user else ''}127.0.0.1:{self.port}"


@contextmanager
def running_proxy(log: Path, upstream_port: int, *options: str) -> Iterator[RunningProxy]:
    """Run one while the block runs."""
    process = processes.start([sys.executable, "-m", "kit.forward_proxy", str(upstream_port), *options], log)
    try:
        processes.wait_until_ready(process, lambda: "\n" in log.read_text(), log, 30.0)
        yield RunningProxy(log)
    finally:
        processes.stop(process, signal.SIGTERM, 10.0)


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="forward_proxy")
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("--user", default="")
    parser.add_argument("--answer", type=int, default=0)
    parser.add_argument("--hang", action="store_true")
    arguments = parser.parse_args()
    proxy = _ForwardProxy(arguments.upstream_port, arguments.user, arguments.answer, hangs=arguments.hang)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    _say(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
