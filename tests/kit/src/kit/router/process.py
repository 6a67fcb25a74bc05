"""A real llm-router over gRPC, in front of the real fault provider."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import httpx2
import orjson
import yaml

from kit.decision_table import table_routes
from servicekit.errors import detail_of
from servicekit.rpc import create_channel, is_serving
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc
from spillway_local import processes
from spillway_local.ports import free_port

# Route -> targets as (provider, model of the fault provider). `!` in front: the target's timers are short.
ROUTES: Mapping[str, list[tuple[str, str]]] = {
    "ok": [("openai", "ok?test=ok")],
    "ok-anthropic": [("anthropic", "ok?cached=5&cache_write=3&test=ok-anthropic")],
    "rapid": [("openai", "ok?chunks=64&interval_ms=2&first_ms=50&test=rapid")],
    "slow": [("openai", "ok?chunks=20&interval_ms=100&test=slow")],
    **table_routes(),
    **{
        f"{fault}-{provider}": [(provider, f"{model}&test={fault}-{provider}-x"), ("openai", "ok?test=never")]
        for provider in ("openai", "anthropic")
        for fault, model in {
            "content-filter": "content-filter?",
            "tool-call": "tool-call?",
            "missing-done": "missing-done?",
            "no-usage": "no-usage?",
            "empty": "empty?",
        }.items()
    },
    "flaky": [("openai", "flaky?fail=1&status=503&test=flaky")],
    "all-down": [("openai", "status-500?test=down-1"), ("anthropic", "status-529?test=down-2")],
    "all-limited": [
        ("openai", "status-429?retry_after=7&test=lim-1"),
        ("anthropic", "status-429?retry_after=5&test=lim-2"),
    ],
    "all-too-small": [("openai", "context-too-long?test=small-1"), ("anthropic", "context-too-long?test=small-2")],
    "refused": [("vllm", "nobody-listens"), ("openai", "ok?test=refused")],
    # a second answerer beside a silent first one
    "hedge-silence": [("openai", "silence?test=hs-1"), ("anthropic", "ok?test=hs-2")],
    "hedge-late": [("openai", "slow-first?seconds=0.8&test=hl-1"), ("anthropic", "slow-first?seconds=30&test=hl-2")],
    "hedge-quick": [("openai", "ok?test=hq-1"), ("openai", "ok?test=hq-2")],
    **{
        f"hedge-{name}": [("openai", f"slow-first?seconds=1.2&test=h{name}-1"), ("anthropic", f"{model}test=h{name}-2")]
        for name, model in {
            "error": "error-frame?after=0&",
            "pings": "pings-only?interval_ms=20&",
            "role": "role-only?",
            "refusal": "status-529?",
        }.items()
    },
    "hedge-timeout": [
        ("openai", "!silence?test=ht-1"),
        ("openai", "slow-first?seconds=1.8&test=ht-2"),
        ("openai", "ok?test=never"),
    ],
    "hedge-400": [("openai", "slow-first?seconds=30&test=h4-1"), ("openai", "status-400?test=h4-2")],
    "hedge-both": [("openai", "!silence?test=hb-1"), ("openai", "!silence?test=hb-2"), ("openai", "ok?test=hb-3")],
    "hedge-capped": [
        ("openai", "slow-first?seconds=0.7&test=hcap-1"),
        ("openai", "slow-first?seconds=30&test=hcap-2"),
    ],
    # another target that carries on
    **{
        f"carry-{fault}-{first}": [
            (first, f"{model}test=c-{fault}-{first}-1"),
            (second, f"ok?test=c-{fault}-{first}-2"),
        ]
        for first, second in (("openai", "anthropic"), ("anthropic", "openai"))
        for fault, model in {
            "cut": "cut?after=3&",
            "stall": "!stall?after=3&",
            "malformed": "malformed?after=3&",
            "missing-end": "missing-end?",
            "unknown-finish": "unknown-finish?",
            "error-frame": "error-frame?after=3&",
        }.items()
    },
    "carry-anchor": [
        ("openai", "cut?chunks=30&after=20&test=ca-1"),
        ("anthropic", "ok?first=10&chunks=20&interval_ms=5&test=ca-2"),
    ],
    "carry-elsewhere": [("openai", "cut?test=ce-1"), ("anthropic", "ok?text=x&test=ce-2")],
    "carry-third": [
        ("openai", "cut?test=ct-1"),
        ("anthropic", "ok?text=x&test=ct-2"),
        ("openai", "cut?after=5&test=ct-3"),
        ("openai", "ok?test=ct-4"),
    ],
    **{
        f"carry-not-{name}": [("openai", "cut?test=cnot"), ("openai", "ok?test=never")]
        for name in ("n", "logprobs", "schema", "json", "prefill", "wish", "budget")
    },
    "carry-repeated": [
        ("openai", "cut?test=cr-1"),
        ("anthropic", "!stall?after=3&test=cr-2"),
        ("openai", "ok?test=cr-3"),
    ],
    # stopped by their caller; what fails opens no breaker, or is in no other test
    "stop-context": [("openai", "context-too-long?test=st-1"), ("anthropic", "ok?test=st-2")],
    "stop-reset": [("openai", "reset?test=sr-1"), ("anthropic", "ok?test=sr-2")],
    "carry-stop": [("openai", "cut?after=3&test=sc-1"), ("anthropic", "ok?interval_ms=5&test=sc-2")],
    "carry-tool": [("openai", "tool-cut?test=cto-1"), ("openai", "ok?test=never")],
    "carry-nobody": [("openai", "cut?test=cn-1")],
    "plain-cut": [("openai", "cut?test=pc-1"), ("openai", "ok?test=pc-2")],
    # timers, breakers
    # a request that has a native form
    "native": [("anthropic", "ok?test=native")],
    "native-script": [("anthropic", "script?test=native-script")],
    "plain-script": [("openai", "script?test=plain-script")],
    "plain-wire": [("openai", "ok?test=plain-wire")],
    "engine-wire": [("vllm", "ok?test=engine-wire")],
    "plain-then-native": [("openai", "ok?test=ptn-1"), ("anthropic", "ok?test=ptn-2")],
    "native-carry": [("anthropic", "cut?after=3&test=nc-1"), ("anthropic", "ok?test=nc-2")],
    "carry-estimated": [("openai", "cut?after=3&test=cest-1"), ("openai", "no-usage?test=cest-2")],
    "native-cut-silent": [("anthropic", "cut?after=3&test=ncs-1"), ("openai", "ok?test=never")],
    "endless": [("openai", "ok?chunks=2000&interval_ms=50&test=endless")],
    "down-then-ok": [("openai", "status-503?test=dto-1"), ("openai", "ok?test=dto-2")],
    "hurried": [("openai", "slow-first?seconds=1.5&test=hurried"), ("openai", "ok?test=never")],
    "down-alone": [("openai", "status-503?test=da-1")],
    # what vendors really send: the request holds the bytes; one route for each kind, as some open breakers
    **{
        f"bytes-{kind}-{provider}": [(provider, f"{hurry}bytes?test=bytes-{kind}-{provider}")]
        for provider in ("openai", "anthropic")
        for kind, hurry in {
            "good": "",
            "ends": "",
            "lost": "",
            "hung": "!",
            "silent": "",
            "bad": "",
            "mine": "",
        }.items()
    },
    "bytes-xai": [("openai", "bytes?test=bytes-xai")],
    **{f"bytes-log-{number}": [("openai", f"bytes?test=bytes-log-{number}")] for number in range(8)},
}

# What stands in a route besides its targets.
OPTIONS: Mapping[str, Mapping[str, object]] = {
    **{
        route: {"hedge": {"min_delay_seconds": 0.1, "max_delay_seconds": 0.3, "max_extra_ratio": 1.0}}
        for route in ROUTES
        if route.startswith("hedge-")
    },
    "hedge-capped": {"hedge": {"min_delay_seconds": 0.1, "max_delay_seconds": 0.2, "max_extra_ratio": 0.1}},
    **{route: {"continuation": "allow"} for route in ROUTES if route.startswith("carry-")},
}
TARGETS: Mapping[str, Mapping[str, object]] = {
    **{f"bytes-silent-{provider}": {"may_omit_end": True} for provider in ("openai", "anthropic")},
    "bytes-xai": {"vendor": "xai"},
}
TIMEOUTS: Mapping[str, Mapping[str, float]] = {"endless": {"stream_seconds": 1.0}}


@dataclass
class Stream:
    """Everything one StreamCompletion said."""

    texts: list[str] = field(default_factory=list)
    choices: list[Any] = field(default_factory=list)
    messages_events: list[Any] = field(default_factory=list)
    contents: list[tuple[str, Any]] = field(default_factory=list)
    """Everything of the above in the order of its arrival, by the name of the field of the delta."""
    answering: list[int] = field(default_factory=list)
    """The attempts that answered, in the order of their first words."""
    continuations: list[routerpb.Continued] = field(default_factory=list)
    started: list[routerpb.Started] = field(default_factory=list)
    attempts: list[routerpb.Attempt] = field(default_factory=list)
    finished: routerpb.Finished | None = None
    status: grpc.StatusCode = grpc.StatusCode.OK
    error: routerpb.CompletionError | None = None

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Return provider and error code (or outcome when it went well) of each attempt."""
        return [(a.provider, a.error_code or routerpb.Outcome.Name(a.outcome)[8:].lower()) for a in self.attempts]


class Router:
    """A client of the router process."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = router_pb2_grpc.RouterServiceStub(channel)

    async def complete(
        self,
        route: str,
        body: object | None = None,
        *,
        budget: int = 0,
        timeout_seconds: float = 30.0,
        continuation: routerpb.Continuation.ValueType = routerpb.CONTINUATION_UNSPECIFIED,
        request_id: str = "test",
        stream: Stream | None = None,
        messages_form: routerpb.MessagesForm | None = None,
        estimated_input_tokens: int = 0,
    ) -> Stream:
        """Run one completion to its end; a `stream` that is given can be watched meanwhile."""
        payload = {"messages": [{"role": "user", "content": "hello"}]} if body is None else body
        request = routerpb.StreamCompletionRequest(
            request_id=request_id,
            tenant="t",
            route=route,
            body=orjson.dumps(payload),
            attempt_budget=budget,
            continuation=continuation,
            messages_form=messages_form,
            estimated_input_tokens=estimated_input_tokens,
        )
        stream = Stream() if stream is None else stream
        try:
            async for message in self.stub.StreamCompletion(request, timeout=timeout_seconds):
                _take(stream, message)
        except grpc.aio.AioRpcError as error:
            stream.status = error.code()
            stream.error = detail_of(error, routerpb.CompletionError)
        return stream


def _take(stream: Stream, message: routerpb.StreamCompletionResponse) -> None:
    match message.WhichOneof("event"):
        case "delta":
            _take_delta(stream, message.delta)
            stream.answering += [message.delta.attempt_number] if message.delta.attempt_number else []
        case "continued":
            stream.continuations.append(message.continued)
        case "started":
            stream.started.append(message.started)
        case "attempt_finished":
            stream.attempts.append(message.attempt_finished.attempt)
        case "finished":
            stream.finished = message.finished


def _take_delta(stream: Stream, delta: routerpb.Delta) -> None:
    choices = [orjson.loads(each) for each in delta.choices]
    events = [orjson.loads(each) for each in delta.messages_events]
    stream.texts += delta.texts
    stream.choices += choices
    stream.messages_events += events
    stream.contents += [("texts", text) for text in delta.texts]
    stream.contents += [("choices", each) for each in choices]
    stream.contents += [("messages_events", each) for each in events]


@dataclass(frozen=True)
class RouterProcess:
    """Where a running router is."""

    pid: int
    port: int
    metrics_port: int
    log: Path


@asynccontextmanager
async def running_llm_router(
    folder: Path, routes: Mapping[str, object], log_file: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[RouterProcess]:
    """Run a process with this routes file, and `settings` as environment variables, while the block runs."""
    (folder / "routes.yaml").write_text(yaml.safe_dump(routes))
    port, metrics_port = free_port(), free_port()
    environment = {
        **os.environ,
        "LLM_ROUTER_PORT": str(port),
        "LLM_ROUTER_METRICS_PORT": str(metrics_port),
        "LLM_ROUTER_ROUTES_FILE": str(folder / "routes.yaml"),
        **settings,
    }
    process = processes.start([sys.executable, "-m", "llm_router"], log_file, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, 60.0)
        async with create_channel(f"127.0.0.1:{port}") as channel:
            assert await is_serving(channel, "spillway.router.v1.RouterService", 10.0)
        yield RouterProcess(process.pid, port, metrics_port, log_file)
    finally:
        processes.stop(process, signal.SIGTERM, 10.0)


@asynccontextmanager
async def running_router(folder: Path, fault_provider_url: str, log_file: Path) -> AsyncIterator[Router]:
    """Run a process whose targets are all played by the fault provider; yield a client of it."""
    (folder / "key").write_text("sk-test-credential")
    async with running_llm_router(folder, routes_file(fault_provider_url, folder / "key"), log_file) as process:
        channel = create_channel(f"127.0.0.1:{process.port}")
        try:
            yield Router(channel)
        finally:
            await channel.close()


class Seen:
    """What the fault provider saw."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url)

    def attempts(self, test: str) -> list[dict[str, object]]:
        """Return the attempts whose model carries `test`."""
        attempts: list[dict[str, object]] = self._client.get("/admin/attempts", params={"test": test}).json()[
            "attempts"
        ]
        return attempts

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def routes_file(url: str, key: Path) -> dict[str, object]:
    """Return the routes file that sends ROUTES to the fault provider at `url`."""
    targets: dict[str, object] = {}
    routes: dict[str, object] = {}
    for route, members in ROUTES.items():
        names = []
        for number, (provider, model) in enumerate(members, 1):
            name = f"{route}-{number}"
            target: dict[str, object] = {"provider": provider, "model": model.removeprefix("!")}
            target["base_url"] = url if provider == "anthropic" else f"{url}/v1"
            if model == "nobody-listens":
                target["base_url"] = "http://127.0.0.1:9/v1"
            if provider != "vllm":
                target["credential_file"] = str(key)
            if model.startswith("!"):
                target["timeouts"] = {"first_content_seconds": 1.0, "gap_seconds": 1.0}
            if route in TIMEOUTS:
                target["timeouts"] = TIMEOUTS[route]
            targets[name] = {**target, **TARGETS.get(route, {})}
            names.append(name)
        routes[route] = {"targets": names, **OPTIONS.get(route, {})}
    return {"targets": targets, "routes": routes}
