"""An llm-router with a script, and an edge in front of it that is called over ASGI: no sockets for clients, so that
they can be told to vanish at a given moment."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import orjson
from starlette.types import ASGIApp, Message, Scope

from servicekit.errors import abort_with
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

Response = routerpb.StreamCompletionResponse
Context = grpc.aio.ServicerContext[Any, Any]
Script = Sequence[Response | Callable[[Context], Awaitable[None]]]


def started(number: int = 1, router_address: str = "") -> Response:
    """Say that an attempt begins."""
    event = Response(
        started=routerpb.Started(
            attempt_number=number,
            target=f"t{number}",
            provider="openai",
            target_model="m",
            router_address=router_address,
        )
    )
    event.started.started_at.GetCurrentTime()
    return event


def texts(*chunks: str) -> Response:
    """Send text of choice 0."""
    return Response(delta=routerpb.Delta(texts=chunks))


def choices(*chunks: object) -> Response:
    """Send chunks that are more than text."""
    return Response(delta=routerpb.Delta(choices=[orjson.dumps(chunk) for chunk in chunks]))


def messages_events(*events: object) -> Response:
    """Send events of the Messages API that OpenAI JSON cannot say."""
    return Response(delta=routerpb.Delta(messages_events=[orjson.dumps(event) for event in events]))


def attempted(number: int = 1, outcome: routerpb.Outcome.ValueType = routerpb.OUTCOME_OK) -> Response:
    """Report an attempt."""
    attempt = routerpb.Attempt(
        attempt_number=number, target=f"t{number}", provider="openai", target_model="m", outcome=outcome
    )
    if outcome == routerpb.OUTCOME_OK:
        attempt.usage.CopyFrom(routerpb.Usage(input_tokens=10, output_tokens=2))
        attempt.usage_source = routerpb.USAGE_SOURCE_REPORTED
    return Response(attempt_finished=routerpb.AttemptFinished(attempt=attempt))


def finished(*reasons: routerpb.FinishReason.ValueType) -> Response:
    """Say that the answer is whole."""
    usage = routerpb.Usage(input_tokens=10, output_tokens=2)
    return Response(finished=routerpb.Finished(finish_reasons=reasons, response_model="m-1", usage=usage))


STOP = finished(routerpb.FINISH_REASON_STOP)
GOOD: Script = [started(), texts("Pa"), texts("ris", "."), attempted(), STOP]


def fails(
    code: str, status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, *, retry_after: float = 0, message: str = ""
) -> Any:
    """End with the router's own error."""
    detail = routerpb.CompletionError(code=code, message=message or f"reported: {code}")
    if retry_after:
        detail.retry_after.FromMilliseconds(int(retry_after * 1000))

    async def step(context: Context) -> None:
        await abort_with(context, status, detail.message, detail)

    return step


async def dies(context: Context) -> None:
    """Break off without a word about why, as a router that is killed."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def waits_for(event: asyncio.Event) -> Any:
    """Say nothing until the event is set."""

    async def step(_context: Context) -> None:
        await event.wait()

    return step


async def is_silent(_context: Context) -> None:
    """Say nothing more."""
    await asyncio.Event().wait()


async def two_vectors(_context: Context) -> routerpb.EmbedResponse:
    """Answer a request for the vectors of two inputs."""
    attempt = attempted().attempt_finished.attempt
    attempt.usage.output_tokens = 0
    vectors = [struct.pack("<3f", 0.5, -1.0, 0.1), struct.pack("<3f", 2.0, 0.0, 3e38)]
    usage = attempt.usage
    return routerpb.EmbedResponse(vectors=vectors, response_model="m-1", usage=usage, attempts=[attempt])


async def announce_attempt(context: Context) -> None:
    """Say, as the router does before the first attempt of a request for vectors, that it begins."""
    await context.send_initial_metadata((("spillway-started-bin", started().started.SerializeToString()),))


class FakeRouter(router_pb2_grpc.RouterServiceServicer):
    """Plays `script` for each request, and remembers what it was asked and whether it was cancelled."""

    def __init__(self) -> None:
        self.script: Script = GOOD
        self.requests: list[routerpb.StreamCompletionRequest] = []
        self.embed: Callable[[Context], Awaitable[routerpb.EmbedResponse]] = two_vectors
        self.embed_requests: list[routerpb.EmbedRequest] = []
        self.cancelled = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stop_requests: list[routerpb.StopRequest] = []
        self.address = ""
        self.is_away = False
        self.is_stuck = False
        self.times_listed = 0
        self.models = ["default"]
        self.economy: dict[str, str] = {}
        self.aliases: dict[str, list[str]] = {}
        self.cache_modes: dict[str, routerpb.CacheMode.ValueType] = {}

    async def StreamCompletion(  # noqa: N802 - gRPC's spelling
        self, request: routerpb.StreamCompletionRequest, context: Context
    ) -> AsyncIterator[Response]:
        """Play the script."""
        self.requests.append(request)
        try:
            for step in self.script:
                if isinstance(step, Response):
                    yield step
                else:
                    await step(context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def Stop(  # noqa: N802 - gRPC's spelling
        self, request: routerpb.StopRequest, _context: Context
    ) -> routerpb.StopResponse:
        """Remember it; the script may wait for `stopped`."""
        self.stop_requests.append(request)
        self.stopped.set()
        return routerpb.StopResponse()

    async def Embed(  # noqa: N802 - gRPC's spelling
        self, request: routerpb.EmbedRequest, context: Context
    ) -> routerpb.EmbedResponse:
        """Answer as `embed` does."""
        self.embed_requests.append(request)
        try:
            return await self.embed(context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def ListModels(  # noqa: N802 - gRPC's spelling
        self, _request: routerpb.ListModelsRequest, context: Context
    ) -> routerpb.ListModelsResponse:
        """List the `models`, unless the router `is_away`, or `is_stuck` and never does."""
        self.times_listed += 1
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        models = [
            routerpb.Model(
                route=name,
                economy=self.economy.get(name, ""),
                aliases=self.aliases.get(name, []),
                cache_mode=self.cache_modes.get(name, routerpb.CACHE_MODE_UNSPECIFIED),
            )
            for name in self.models
        ]
        return routerpb.ListModelsResponse(models=models)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port while the block runs; yield the address."""
        server = grpc.aio.server()
        router_pb2_grpc.add_RouterServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call,unused-ignore]
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield self.address
        finally:
            await server.stop(0)


class Visit:
    """One HTTP request to the edge, running; `gone` makes its client vanish."""

    def __init__(
        self, app: ASGIApp, path: str, body: object, headers: Sequence[tuple[str, str]], method: str = "POST"
    ) -> None:
        self._body: bytes | None = orjson.dumps(body)
        self._gone = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = b""
        self.is_complete = False
        self.before_content: Callable[[bytes], Awaitable[None]] | None = None
        """Called with each piece of the body before the client has it."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def done(self) -> Visit:
        """Wait for the end of the response."""
        await asyncio.wait_for(self.task, 20)
        return self

    async def until(self, is_so: Callable[[Visit], bool]) -> None:
        """Wait until the response so far is as described."""
        async with asyncio.timeout(20):
            while not is_so(self):
                assert not self.task.done(), self.content
                await asyncio.sleep(0.002)

    def gone(self) -> None:
        """Close the connection."""
        self._gone.set()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.content)

    @property
    def frames(self) -> list[dict[str, str]]:
        """The fields of each SSE frame; a comment is a field without a name."""
        assert not self.content or self.content.endswith(b"\n\n")
        frames = self.content.decode().split("\n\n")[:-1]
        return [dict(_field(line) for line in frame.split("\n")) for frame in frames]

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Name and data of each named event, without comments."""
        return [(frame["event"], orjson.loads(frame["data"])) for frame in self.frames if "event" in frame]

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        assert not self.is_complete
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert self.status
        if self.before_content is not None:
            await self.before_content(message["body"])
        self.content += message["body"]
        self.is_complete = not message.get("more_body", False)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
