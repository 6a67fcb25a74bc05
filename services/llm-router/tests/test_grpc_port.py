"""Whoever reaches the gRPC port: a message without sense is its sender's mistake, and calls are bounded in number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import orjson
import pytest

from kit.router.hostile import DONE, HANG, HostileProvider, HostileRouter, chunk, plays, running_hostile_router, said
from servicekit.errors import detail_of
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

MAX_CALLS = 20
MAX_HELD_BYTES = 8 * 1024 * 1024
ASKED = [{"role": "user", "content": "q"}]
BODY = orjson.dumps({"messages": ASKED, "max_tokens": 9})
LONG = "x" * (4 * 1024 * 1024)


def nested(depth: int) -> bytes:
    """Write a list in a list in a list."""
    return b"[" * depth + b"]" * depth


NO_BODIES = [
    b"", b"null", b"7", b"[]", b'"text"', b"{", b"\xff", b'{"messages": 7}', b'{"messages": null}', b"{}",
    b'{"messages": ' + nested(1000) + b"}", b'{"messages": ' + nested(300) + b"}", nested(1000), nested(100_000),
    b'{"messages": [], "tools": ' + nested(1000) + b"}", b'{"messages": [1e999]}', b'{"messages": [], "n": 0}',
    b'{"messages": [], "n": 1000000000}', b'{"messages": [], "n": "2"}', b'{"messages": [], "n": [1]}',
    b'{"messages": [], "n": true}', b'{"messages": [], "n": 1.5}',
]  # fmt: skip
ABSURD: list[object] = [
    None, True, -1, 0, 1e300, "", "x", LONG[:100_000], [], {}, [None], [[]], [{}], [7], ["x"], [{"type": None}],
    [{"type": "function"}], [{"type": "function", "function": 7}], {"type": 7}, [{"function": {"name": 7}}],
    [{"role": 7, "content": 7}], [{"role": "user", "content": [None]}], [{"role": "tool"}], {"a": {"a": {"a": [7]}}},
    [{"role": "assistant", "tool_calls": 7}], [{"role": "assistant", "content": None, "tool_calls": [{"function": 7}]}],
]  # fmt: skip
ROUTES = ("anthropic", "engine", "continued")
FIELDS = [
    *("messages", "tools", "tool_choice", "functions", "n", "max_tokens", "max_completion_tokens", "temperature"),
    *("stop", "response_format", "reasoning_effort", "user", "service_tier", "web_search_options", "plugins"),
    *("search_parameters", "prompt_logprobs", "logprobs", "model", "stream", "stream_options", "extra_body", "top_p"),
    *("system", "output_config", "thinking", "parallel_tool_calls", "safety_identifier", "metadata", "modalities"),
]


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    answer = [
        said("message_start", message={"model": "m"}),
        said("content_block_start", index=0, content_block={"type": "text", "text": "good"}),
        said("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        said("message_stop"),
    ]
    scripts = {
        "good": plays(chunk("good"), chunk(None, "stop"), DONE),
        "anthropic": plays(*answer),
        "hangs": plays(chunk("text"), HANG),
    }
    routes = {
        "good": ["openai:good"],
        "anthropic": ["anthropic:anthropic"],
        "engine": ["vllm:good"],
        "hangs": ["openai:hangs"],
        "continued": ["openai:good"],
    }
    async with (
        HostileProvider(scripts).serving() as provider,
        running_hostile_router(
            tmp_path_factory.mktemp("grpc"),
            provider,
            routes,
            settings={
                "LLM_ROUTER_MAX_CONCURRENT_CALLS": str(MAX_CALLS),
                "LLM_ROUTER_MAX_HELD_BYTES": str(MAX_HELD_BYTES),
            },
            options={"continued": {"continuation": "allow"}},
        ) as router,
    ):
        yield router


async def told(
    router: HostileRouter, request: routerpb.StreamCompletionRequest | routerpb.EmbedRequest
) -> grpc.StatusCode:
    """Make a call; return its status, whose detail is one of ours."""
    try:
        if isinstance(request, routerpb.EmbedRequest):
            await router.stub.Embed(request, timeout=30.0)
        else:
            async for _ in router.stub.StreamCompletion(request, timeout=30.0):
                pass
    except grpc.aio.AioRpcError as error:
        failure = error
    else:
        return grpc.StatusCode.OK
    detail = detail_of(failure, routerpb.CompletionError)
    assert detail is not None, failure
    assert len(detail.message) < 5000
    return failure.code()


@pytest.mark.parametrize("number", range(len(NO_BODIES)), ids=[repr(body[:40]) for body in NO_BODIES])
async def test_a_body_that_is_none(router: HostileRouter, number: int) -> None:
    """Of a chat, in both its forms, and of a request for vectors."""
    body = NO_BODIES[number]
    requests: list[routerpb.StreamCompletionRequest | routerpb.EmbedRequest] = [
        routerpb.StreamCompletionRequest(route="good", body=body),
        routerpb.StreamCompletionRequest(route="anthropic", body=BODY, messages_form=routerpb.MessagesForm(body=body)),
        routerpb.EmbedRequest(route="good", body=body),
        routerpb.EmbedRequest(route="good", body=body.replace(b"messages", b"input")),
    ]
    if b'"n"' in body:
        requests[1:] = []
    for request in requests:
        assert grpc.StatusCode.INVALID_ARGUMENT == await told(router, request), request


@pytest.mark.parametrize("field", FIELDS)
async def test_any_value_in_any_field(router: HostileRouter, field: str) -> None:
    """It is passed on, refused as the sender's mistake, or no target can take it; nothing crashes."""
    good = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
    places = asyncio.Semaphore(MAX_CALLS // 2)

    async def ask(route: str, value: object) -> None:
        body = orjson.dumps({"messages": ASKED, "max_tokens": 9} | {field: value})
        form = routerpb.MessagesForm(body=body, untranslatable=["top_k"], beta="b")
        async with places:
            for request in (
                routerpb.StreamCompletionRequest(route=route, body=body),
                routerpb.StreamCompletionRequest(route=route, body=BODY, messages_form=form),
            ):
                assert await told(router, request) in good, value

    await asyncio.gather(*(ask(route, value) for route in ROUTES for value in ABSURD))
    assert "request_crashed" not in router.log()


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": LONG}, {"tenant": LONG}, {"user": LONG}, {"estimated_input_tokens": -1},
        {"estimated_input_tokens": 2**62}, {"continuation": 77}, {"stop_secret": b"s" * 65},
        {"messages_form": routerpb.MessagesForm(body=BODY, beta=LONG)},
        {"messages_form": routerpb.MessagesForm(body=b'{"messages": [], "max_tokens": true}')},
    ],
    ids=lambda fields: repr(fields)[:40],
)  # fmt: skip
async def test_an_envelope_that_is_none(router: HostileRouter, fields: dict[str, object]) -> None:
    """None of it reaches a log or a provider."""
    request = routerpb.StreamCompletionRequest(**({"route": "good", "body": BODY} | fields))  # type: ignore[arg-type]
    assert grpc.StatusCode.INVALID_ARGUMENT == await told(router, request)
    if fields.keys() <= {"request_id", "tenant", "user", "estimated_input_tokens"}:
        embed = routerpb.EmbedRequest(**({"route": "good", "body": b'{"input": "x"}'} | fields))  # type: ignore[arg-type]
        assert grpc.StatusCode.INVALID_ARGUMENT == await told(router, embed)
    assert max(map(len, router.log().splitlines())) < 20_000


async def test_any_budget_and_any_route(router: HostileRouter) -> None:
    """More attempts than there may be are as many as there may be; a name that leads nowhere is not found."""
    for budget in (0, 1, 2**31, 2**32 - 1):
        request = routerpb.StreamCompletionRequest(route="good", body=BODY, attempt_budget=budget)
        assert grpc.StatusCode.OK == await told(router, request)
    for route in ("", "\0", LONG, "no\nsuch", "../good", "openai:good"):
        assert grpc.StatusCode.NOT_FOUND == await told(router, routerpb.StreamCompletionRequest(route=route, body=BODY))
        assert grpc.StatusCode.NOT_FOUND == await told(router, routerpb.EmbedRequest(route=route, body=b"{}"))


async def test_deadlines_of_any_length(router: HostileRouter) -> None:
    """One that is over, and one that never comes."""
    for seconds in (0.001, 1e8):
        stream = await router.complete("good", timeout_seconds=seconds)
        assert stream.status in {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert "request_crashed" not in router.log()


async def test_what_is_no_message(router: HostileRouter) -> None:
    """It is refused, and the next call is served."""
    for method in ("StreamCompletion", "Embed", "Stop", "ListModels"):
        call: Any = router.channel.unary_unary(f"/spillway.router.v1.RouterService/{method}")
        for junk in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(junk, timeout=10.0)
            assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "DecodeError" not in router.log()
    assert ["good"] == (await router.complete("good")).texts


class Held:
    """Calls that run until they are ended."""

    def __init__(self, router: HostileRouter) -> None:
        self._router = router
        self.calls: list[grpc.aio.UnaryStreamCall] = []  # type: ignore[type-arg]

    async def begin(self, body: bytes = BODY, **fields: object) -> routerpb.Started:
        """Begin one; return its announcement once it has content."""
        request = routerpb.StreamCompletionRequest(route="hangs", body=body, **fields)  # type: ignore[arg-type]
        call = self._router.stub.StreamCompletion(request, timeout=60.0)
        self.calls.append(call)
        started = routerpb.Started()
        async for message in call:
            if message.HasField("started"):
                started = message.started
            if message.HasField("delta"):
                return started
        raise AssertionError("it has ended")

    async def ended(self, number: int) -> grpc.StatusCode:
        """Read one to its end; return its status."""
        call = self.calls[number]
        async with asyncio.timeout(20):
            try:
                async for _ in call:
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    async def end(self) -> None:
        """End all, and wait until their places are free."""
        for call in self.calls:
            call.cancel()
        async with asyncio.timeout(20):
            while await self._router.metric("llm_router_open_streams"):
                await asyncio.sleep(0.02)


@pytest.fixture(name="held")
async def _held(router: HostileRouter) -> AsyncIterator[Held]:
    held = Held(router)
    yield held
    await held.end()


async def test_more_calls_than_there_are_places(router: HostileRouter, held: Held) -> None:
    """The next ones are refused at once, vectors too, with a code of their own; those that run go on."""
    for _ in range(MAX_CALLS):
        await held.begin()
    before = await router.metric('llm_router_calls_refused_total{reason="too_many_calls"}')
    for _ in range(3):
        stream = await router.complete("good", timeout_seconds=10.0)
        assert stream.error is not None
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded") == (stream.status, stream.error.code)
        assert (True, 1) == (stream.error.retryable, stream.error.retry_after.seconds)
        assert not stream.started
    embed = routerpb.EmbedRequest(route="good", body=b'{"input": "x"}')
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await told(router, embed)
    assert 4 == await router.metric('llm_router_calls_refused_total{reason="too_many_calls"}') - before
    assert (await router.stub.ListModels(routerpb.ListModelsRequest(), timeout=10.0)).models

    held.calls.pop().cancel()
    async with asyncio.timeout(20):
        while grpc.StatusCode.OK != (await router.complete("good")).status:
            await asyncio.sleep(0.02)


async def test_more_bytes_than_can_be_held(router: HostileRouter, held: Held) -> None:
    """Few long calls need as much as many short ones; one is never too long by itself."""
    body = orjson.dumps({"messages": [{"role": "user", "content": LONG}]})
    await held.begin(body)
    before = await router.metric('llm_router_calls_refused_total{reason="too_many_bytes"}')
    request = routerpb.StreamCompletionRequest(route="good", body=body)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await told(router, request)
    native = routerpb.StreamCompletionRequest(
        route="anthropic", body=BODY, messages_form=routerpb.MessagesForm(body=body)
    )
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await told(router, native)
    embed = routerpb.EmbedRequest(route="good", body=orjson.dumps({"input": LONG}))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await told(router, embed)
    assert 3 == await router.metric('llm_router_calls_refused_total{reason="too_many_bytes"}') - before
    assert grpc.StatusCode.OK == (await router.complete("good")).status
    await held.end()

    longest = orjson.dumps({"messages": [{"role": "user", "content": LONG * 4}]})
    assert grpc.StatusCode.OK == await told(router, routerpb.StreamCompletionRequest(route="good", body=longest))


async def test_a_body_of_32_mb_comes_in_both_forms(router: HostileRouter) -> None:
    """As the edge sends what came in Anthropic's contract; a translation may have two characters for one."""
    megabyte = "x" * 1024 * 1024
    native = orjson.dumps({"max_tokens": 9, "messages": [{"role": "user", "content": megabyte * 32}]})
    body = orjson.dumps({"messages": [{"role": "user", "content": megabyte * 64}]})
    form = routerpb.MessagesForm(body=native)
    request = routerpb.StreamCompletionRequest(route="anthropic", body=body, messages_form=form)

    assert grpc.StatusCode.OK == await told(router, request)


@pytest.mark.parametrize("given", [b"", b"of-another-call-", b"own-secret", b"own-secret-is-this-and-more"])
async def test_a_call_is_stopped_by_its_own_caller(router: HostileRouter, held: Held, given: bytes) -> None:
    """Another's secret is refused and counted, whatever request id it names."""
    request_id, secret = str(uuid4()), b"own-secret-is-this"
    started = await held.begin(request_id=request_id, stop_secret=secret)
    other = await held.begin(request_id=request_id, stop_secret=b"of-another-calls")
    assert started.router_address == other.router_address
    before = await router.metric("llm_router_stops_refused_total")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await router.stub.Stop(routerpb.StopRequest(request_id=request_id, stop_secret=given), timeout=10.0)
    assert grpc.StatusCode.PERMISSION_DENIED == caught.value.code()
    assert 1 == await router.metric("llm_router_stops_refused_total") - before
    assert secret.decode() not in router.log()

    await router.stub.Stop(routerpb.StopRequest(request_id=request_id, stop_secret=secret), timeout=10.0)
    assert grpc.StatusCode.ABORTED == await held.ended(0)
    assert not held.calls[1].done()


async def test_a_call_of_an_older_edge_needs_no_secret(router: HostileRouter, held: Held) -> None:
    """It cannot send one."""
    request_id = str(uuid4())
    await held.begin(request_id=request_id)
    with pytest.raises(grpc.aio.AioRpcError):
        await router.stub.Stop(routerpb.StopRequest(request_id=request_id, stop_secret=b"any"), timeout=10.0)
    await router.stub.Stop(routerpb.StopRequest(request_id=request_id), timeout=10.0)
    assert grpc.StatusCode.ABORTED == await held.ended(0)
