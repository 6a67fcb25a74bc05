"""A real llm-router for embeddings: all targets of a route have one model, whose first calls fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import orjson

from kit.router.process import running_llm_router
from servicekit.errors import detail_of
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc

# In front of a model: which of its target's timers are short.
_SHORT_TIMERS: Mapping[str, dict[str, float]] = {
    "!": {"first_content_seconds": 1.0, "gap_seconds": 1.0},
    "~": {"stream_seconds": 1.0},
}
# The first call, or the first two, of a route's model fail.
FAULTS: Mapping[str, str] = {
    "500": "flaky?fail=2&status=500",
    "503": "flaky?fail=2&status=503",
    "529": "flaky?fail=2&status=529",
    "reset": "flaky?fail=2&fault=reset",
    "429": "flaky?status=429",
    "429-long": "flaky?status=429&retry_after=30",
    "429-short": "flaky?fail=2&status=429&retry_after=1",
    "401": "flaky?status=401",
    "quota": "flaky?fault=insufficient-quota",
    "context": "flaky?fault=context-too-long",
    "silence": "!flaky?fault=silence",
    "silent-headers": "!flaky?fault=silence&after_headers=1",
    "stall": "!flaky?fault=stall",
    "too-long": "~flaky?fault=silence",
    "cut": "flaky?fault=cut",
    "malformed": "flaky?fault=malformed",
    "error-frame": "flaky?fail=2&fault=error-frame",
    "empty": "flaky?fault=empty",
    "wrong-count": "flaky?fault=wrong-count",
    "wrong-index": "flaky?fault=wrong-index",
    "wrong-dimensions": "flaky?fault=wrong-dimensions",
    "not-finite": "flaky?fault=not-finite",
}
# Route -> targets as (provider, model).
ROUTES: Mapping[str, list[tuple[str, str]]] = {
    "ok": [("openai", "ok?dimensions=5&test=em-ok")],
    "engine": [("vllm", "floats?test=em-engine")],
    "no-usage": [("openai", "no-usage?test=em-no-usage")],
    "large": [("openai", "ok?dimensions=20000&test=em-large")],
    "slow": [("openai", "slow-first?seconds=20&test=em-slow")],
    "slow-twice": [("openai", "slow-first?seconds=20&test=em-slow-twice")] * 2,
    "stumbles": [("openai", "flaky?test=em-stumbles")] * 2,
    "claude-first": [("anthropic", "ok?test=em-claude"), ("openai", "ok?test=em-after-claude")],
    "claude-only": [("anthropic", "ok?test=em-claude")],
    "other-model": [("openai", "status-500?test=em-down"), ("openai", "ok?test=em-other")],
    "all-down": [("openai", "status-500?test=em-all-down"), ("vllm", "status-500?test=em-all-down")],
    **{
        f"down-{n}": [("openai", f"status-500?test=em-down-{n}"), ("vllm", f"status-500?test=em-down-{n}")]
        for n in range(7)
    },
    "equal-rank": [("openai", "ok?test=em-rank-a"), ("openai", "ok?test=em-rank-b"), ("vllm", "ok?test=em-rank-a")],
    "refused-once": [("openai", "flaky?status=401&test=em-refused-once")] * 2,
    "refused": [("openai", "status-401?test=em-refused")],
    "all-limited": [("openai", "status-429?retry_after=7&test=em-limited")] * 2,
    "all-too-small": [("openai", "context-too-long?test=em-small")] * 2,
    **{f"first-{name}": [("openai", f"{model}&test=em-{name}")] * 2 for name, model in FAULTS.items()},
    **{f"status-{n}": [("openai", f"status-{n}?test=em-{n}")] * 2 for n in (400, 404, 422)},
}


@dataclass
class Reply:
    """How one Embed ended."""

    response: routerpb.EmbedResponse | None = None
    started: routerpb.Started | None = None
    """What the initial metadata announced."""
    status: grpc.StatusCode = grpc.StatusCode.OK
    error: routerpb.CompletionError = field(default_factory=routerpb.CompletionError)

    @property
    def attempts(self) -> list[routerpb.Attempt]:
        """Every attempt, of a good answer or of an error."""
        return list(self.response.attempts if self.response else self.error.attempts)

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Number of the target and error code (or outcome) of each attempt."""
        return [
            (attempt.target[-1], attempt.error_code or routerpb.Outcome.Name(attempt.outcome)[8:].lower())
            for attempt in self.attempts
        ]


class EmbedRouter:
    """A client of the router process."""

    def __init__(self, channel: grpc.aio.Channel, pid: int) -> None:
        self.pid = pid
        self._stub = router_pb2_grpc.RouterServiceStub(channel)

    def call(
        self, route: str, embedded: object, *, budget: int = 0, timeout_seconds: float = 60.0, **fields: object
    ) -> grpc.aio.UnaryUnaryCall[routerpb.EmbedRequest, routerpb.EmbedResponse]:
        """Start a call."""
        body = embedded if isinstance(embedded, bytes) else orjson.dumps({"input": embedded, **fields})
        request = routerpb.EmbedRequest(request_id="test", tenant="t", route=route, body=body, attempt_budget=budget)
        return self._stub.Embed(request, timeout=timeout_seconds)

    async def embed(
        self,
        route: str,
        embedded: object = "hello",
        *,
        budget: int = 0,
        timeout_seconds: float = 60.0,
        **fields: object,
    ) -> Reply:
        """Run one call to its end."""
        call = self.call(route, embedded, budget=budget, timeout_seconds=timeout_seconds, **fields)
        reply = Reply()
        try:
            reply.response = await call
        except grpc.aio.AioRpcError as error:
            reply.status = error.code()
            reply.error = detail_of(error, routerpb.CompletionError) or routerpb.CompletionError()
        for key, value in await call.initial_metadata():
            if key == "spillway-started-bin":
                assert isinstance(value, bytes)
                reply.started = routerpb.Started.FromString(value)
        return reply


@asynccontextmanager
async def running_embed_router(folder: Path, provider_url: str) -> AsyncIterator[EmbedRouter]:
    """Run a router process on ROUTES while the block runs."""
    (folder / "key").write_text("sk-test-credential")
    routes = _routes_file(provider_url, folder / "key")
    async with running_llm_router(folder, routes, folder / "llm-router.log") as process:
        channel = create_channel(f"127.0.0.1:{process.port}")
        try:
            yield EmbedRouter(channel, process.pid)
        finally:
            await channel.close()


def _routes_file(url: str, key: Path) -> dict[str, object]:
    targets: dict[str, object] = {}
    routes: dict[str, object] = {}
    for route, members in ROUTES.items():
        names = [f"{route}-{number}" for number in range(1, len(members) + 1)]
        routes[route] = {"targets": names}
        for name, (provider, model) in zip(names, members, strict=True):
            targets[name] = {
                "provider": provider,
                "model": model.lstrip("!~"),
                "base_url": url if provider == "anthropic" else f"{url}/v1",
                **({} if provider == "vllm" else {"credential_file": str(key)}),
                "timeouts": _SHORT_TIMERS.get(model[0], {}),
            }
    routes["equal-rank"] = {"targets": [["equal-rank-1", "equal-rank-2", "equal-rank-3"]]}
    return {"targets": targets, "routes": routes}
