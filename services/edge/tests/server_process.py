"""A process with the edge's HTTP server in front of a small application, and clients that write raw bytes to it."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from edge.http.connection.connections import ConnectionLimits
from edge.http.connection.protocol import Connection
from edge.http.server import HttpServer, open_listeners
from edge.metrics import Metrics
from servicekit.lifecycle import run, stop_requested
from spillway_local import processes

MEGABYTE = 1024 * 1024


class ServerProcess:
    """A running server, as its clients and its kernel see it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    @property
    def rss(self) -> int:
        """The bytes of memory that the process uses."""
        return int(self._process.memory_info().rss)

    @property
    def open_files(self) -> int:
        """How many files and connections the process has open."""
        return int(self._process.num_fds())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the process do nothing for the block."""
        self._process.suspend()
        try:
            yield
        finally:
            self._process.resume()

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that the process has used."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def client(self, *, receive_buffer: int | None = None, address: str = "127.0.0.1") -> RawClient:
        """Connect from an address of this machine."""
        connection = socket.socket()
        connection.bind((address, 0))
        if receive_buffer:  # or the kernel reads on in the client's place
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        return RawClient(connection)

    def ask(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and return all that comes until it closes."""
        with self.client() as client:
            client.send(data)
            return client.rest()

    def counted(self, name: str, **labels: str) -> float:
        """Return a metric of the server."""
        with self.client() as client:
            client.send(get(f"/counted?name={name}&labels={json.dumps(labels).replace(' ', '')}"))
            return float(client.answer().body)

    def wait_until(self, name: str, expected: float | Callable[[float], bool], **labels: str) -> float:
        """Wait until a metric has the value, or one that is as expected; return it."""
        is_so = expected if callable(expected) else expected.__eq__
        deadline = time.monotonic() + 60
        while not is_so(counted := self.counted(name, **labels)):
            assert time.monotonic() < deadline, f"{name} is {counted}"
            time.sleep(0.1)
        return counted


class Answer:
    """A response, taken apart."""

    def __init__(self, raw_head: bytes, body: bytes) -> None:
        first, *lines = raw_head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.version = first.split()[0]
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self.body = body

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class RawClient:
    """A connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._read = bytearray()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, data: bytes) -> None:
        """Write; a server that has hung up meanwhile has its reasons."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(data)

    def end(self) -> None:
        """Close this half of the connection."""
        self.connection.shutdown(socket.SHUT_WR)

    def until_anything(self) -> None:
        """Wait until something comes, or the connection is closed or broken off."""
        with suppress(ConnectionResetError, BrokenPipeError):
            self._read += self.connection.recv(65536)

    def until(self, mark: bytes) -> bytes:
        """Read up to and with the mark."""
        while mark not in self._read:
            data = self.connection.recv(65536)
            assert data, f"closed after {bytes(self._read)!r}"
            self._read += data
        end = self._read.index(mark) + len(mark)
        found = bytes(self._read[:end])
        del self._read[:end]
        return found

    def answer(self) -> Answer:
        """Read one response that has a length."""
        head = self.until(b"\r\n\r\n")
        length = Answer(head[:-4], b"").headers.get("content-length", "0")
        while len(self._read) < int(length):
            data = self.connection.recv(65536)
            assert data
            self._read += data
        body = bytes(self._read[: int(length)])
        del self._read[: int(length)]
        return Answer(head[:-4], body)

    def rest(self) -> bytes:
        """Read until the connection is closed, or broken off."""
        while True:
            try:
                data = self.connection.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                break
            if not data:
                break
            self._read += data
        return bytes(self._read)


def parse(raw: bytes) -> Answer:
    """Take apart the only response in these bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return Answer(head, body)


def get(path: str, *headers: str, host: str = "host: edge") -> bytes:
    """Write a request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", *filter(None, [host]), *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Write a request with a body."""
    lines = [f"POST {path} HTTP/1.1", "host: edge", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def running_server(folder: Path, *, open_files: int = 0, **limits: float) -> Iterator[ServerProcess]:
    """Run a server with these limits; it may open only so many files."""
    log_file = folder / f"server-{time.monotonic_ns()}.log"
    command = [sys.executable, __file__, json.dumps(limits), str(open_files)]
    process = processes.start(command, log_file)
    try:
        processes.wait_until_ready(process, lambda: b"port " in log_file.read_bytes(), log_file, 60.0)
        port = next(int(line.split()[1]) for line in log_file.read_text().splitlines() if line.startswith("port "))
        yield ServerProcess(process, port)
    finally:
        processes.kill(process)
        process.wait()


def _app(registry: CollectorRegistry) -> Starlette:
    seen = {"gone": 0}

    async def echo(request: Request) -> Response:
        """Say what came: nobody can ask for more than the application sees."""
        try:
            body = await request.body()
        except ClientDisconnect:
            seen["gone"] += 1
            return PlainTextResponse("gone", 400)
        headers = [[name.decode(), value.decode("latin-1")] for name, value in request.scope["headers"]]
        seen_body = body.decode("latin-1") if len(body) < MEGABYTE else ""
        answer = {"path": request.scope["path"], "headers": headers, "length": len(body), "body": seen_body}
        waited_seconds = time.monotonic() - request.scope["state"]["arrived"]
        return JSONResponse({"method": request.method, "waited_seconds": waited_seconds, **answer})

    async def unread(_: Request) -> Response:
        """Answer before the body was read."""
        return PlainTextResponse("no", 401)

    async def large(request: Request) -> Response:
        """Answer with so many bytes in one piece."""
        return Response(b"x" * int(request.query_params["bytes"]))

    async def slow(request: Request) -> Response:
        """Answer after so many seconds, unless the client has left."""
        message: Message = {}
        try:
            async with asyncio.timeout(float(request.query_params["seconds"])):
                while message.get("type") != "http.disconnect":
                    message = await request.receive()
        except TimeoutError:
            return PlainTextResponse("slow")
        seen["gone"] += 1
        return PlainTextResponse("gone")

    async def stream(request: Request) -> Response:
        """Answer with so many pieces, so many seconds apart."""
        query = request.query_params
        piece = b"x" * int(query.get("bytes", "10"))

        async def pieces() -> Any:
            for number in range(int(query["pieces"])):
                yield b"%d " % number + piece + b"\n"
                await asyncio.sleep(float(query["seconds"]))

        return StreamingResponse(_counted_if_left(pieces(), seen))

    async def gone(_: Request) -> Response:
        return PlainTextResponse(str(seen["gone"]))

    async def counted(request: Request) -> Response:
        labels: Mapping[str, str] = json.loads(request.query_params["labels"])
        value = registry.get_sample_value(request.query_params["name"], dict(labels))
        return PlainTextResponse(str(value or 0.0))

    async def connections(_: Request) -> Response:
        """Count the connections that are in memory, from the first time on without any garbage collection."""
        gc.disable()
        return PlainTextResponse(str(sum(type(each) is Connection for each in gc.get_objects())))

    routes = {
        "/connections": connections,
        "/large": large,
        "/slow": slow,
        "/stream": stream,
        "/gone": gone,
        "/counted": counted,
        "/unread": unread,
    }
    return Starlette(
        routes=[
            *(Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in routes.items()),
            Route("/{path:path}", echo, methods=["GET", "POST", "OPTIONS"]),
        ]
    )


async def _counted_if_left(pieces: Any, seen: dict[str, int]) -> Any:
    is_whole = False
    try:
        async for piece in pieces:
            yield piece
        is_whole = True
    finally:
        seen["gone"] += not is_whole


async def _serve(limits: dict[str, Any]) -> None:
    registry = CollectorRegistry()
    (listener,) = open_listeners("127.0.0.1", 0, stall_timeout_seconds=60.0)  # the kernel's; what is tested is ours
    app = _app(registry)
    server = HttpServer(app, [listener], 5.0, ConnectionLimits(**limits), Metrics(registry))
    sys.stdout.write(f"port {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    serving = asyncio.create_task(server.serve())
    await stop_requested().wait()
    await server.drain()
    await serving


if __name__ == "__main__":
    if files := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    run(lambda: _serve(json.loads(sys.argv[1])))
