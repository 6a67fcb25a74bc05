"""Servers that refuse fields they do not know get what they know, and are asked about it once."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from kit.router.hostile import (
    DONE,
    Asked,
    HostileProvider,
    HostileRouter,
    Script,
    chunk,
    event,
    head,
    running_hostile_router,
)
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.http.transport import Network
from llm_router.providers.openai.dialect import Dialect
from llm_router.providers.openai.provider import OpenAIProvider
from llm_router.target import Target
from llm_router.vendors import VENDORS
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

Json = dict[str, Any]
JSON_HEAD = {"content_type": "application/json"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
# How servers name a field that they do not know: see test_refusal_words.py for more of them.
WORDINGS: dict[str, Callable[[str], tuple[str, object]]] = {
    "mistral": lambda field: (
        "422 Unprocessable Entity",
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": "x"}]}},
    ),
    "fastapi": lambda field: ("422 No", {"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": "x"}]}),
    "openai": lambda field: (
        "400 Bad Request",
        {"error": {"message": f"Unsupported parameter: '{field}'", "param": field, "code": "unsupported_parameter"}},
    ),
    "groq": lambda field: ("400 Bad Request", {"error": {"message": f"property '{field}' is unsupported"}}),
    "xai": lambda field: ("400 Bad Request", {"code": "400", "error": f"Argument not supported: {field}"}),
}


def strict(wording: str, *unknown: str) -> Script:
    """Refuse a request with one of these fields, one at a time; answer others, with usage where it was asked for."""

    def script(asked: Asked) -> list[bytes]:
        body = orjson.loads(asked.body)
        for field in unknown:
            if field in body:
                status, refusal = WORDINGS[wording](field)
                return [head(status, **JSON_HEAD), orjson.dumps(refusal)]
        usage = [event({"choices": [], "usage": USAGE})] if "stream_options" in body else []
        return [head(), chunk("good"), chunk(None, "stop"), *usage, DONE]

    return script


def refusing_temperatures(asked: Asked) -> list[bytes]:
    """Refuse any temperature but 1, as OpenAI's reasoning models do."""
    if orjson.loads(asked.body).get("temperature", 1) != 1:
        refusal = {"message": "Unsupported value: 'temperature'", "param": "temperature", "code": "unsupported_value"}
        return [head("400 Bad Request", **JSON_HEAD), orjson.dumps({"error": refusal})]
    return [head(), chunk("good"), chunk(None, "stop"), DONE]


def without_temperature_and_effort(asked: Asked) -> list[bytes]:
    """Refuse both as Anthropic's newer and older models do; answer on its wire."""
    body = orjson.loads(asked.body)
    words = "`temperature` is deprecated for this model." if "temperature" in body else ""
    if "effort" in body.get("output_config", {}):
        words = "This model does not support the effort parameter."
    if words:
        refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
        return [head("400 Bad Request", **JSON_HEAD), orjson.dumps(refusal)]
    events = [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "good"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return [head(), *map(event, events)]


def refusing_all(asked: Asked) -> list[bytes]:
    """Refuse each request in words that a prompt may have brought in."""
    refusal = {"error": {"message": "Invalid message: 'Unsupported parameter: stream_options'", "code": "bad"}}
    return [head("400 Bad Request", **JSON_HEAD), orjson.dumps(refusal)]


def vectors(asked: Asked) -> list[bytes]:
    """Refuse an encoding; answer with numbers."""
    if "encoding_format" in orjson.loads(asked.body):
        status, refusal = WORDINGS["groq"]("encoding_format")
        return [head(status, **JSON_HEAD), orjson.dumps(refusal)]
    reply = {"data": [{"index": 0, "embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    return [head(**JSON_HEAD), orjson.dumps(reply)]


SCRIPTS: dict[str, Script] = {
    **{f"usage-{wording}": strict(wording, "stream_options") for wording in WORDINGS},
    "older": strict("fastapi", "max_completion_tokens"),
    "newer": strict("openai", "max_tokens"),
    "both": strict("mistral", "stream_options", "max_completion_tokens"),
    "neither": strict("fastapi", "max_completion_tokens", "max_tokens"),
    "foreign": strict("openai", "logprobs"),
    "picky": strict("openai", "seed", "user"),
    "tierless": strict("openai", "service_tier"),
    "plain-sampling": refusing_temperatures,
    "prompt": refusing_all,
    "vectors": vectors,
    "known": strict("mistral", "stream_options", "max_completion_tokens"),
    "good": strict("openai"),
    "claude": without_temperature_and_effort,
    "marks-azure": strict("openai"),
    "marks-anybody": strict("openai"),
}


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    routes = {name: [f"openai:{name}"] for name in SCRIPTS} | {
        "known": ["mistral:known"],
        "then-good": ["openai:foreign", "openai:good"],
        "marks-azure": ["azure:marks-azure"],
        "claude": ["anthropic:claude"],
    }
    async with (
        HostileProvider(SCRIPTS).serving() as provider,
        running_hostile_router(tmp_path_factory.mktemp("dialect"), provider, routes) as router,
    ):
        yield router


async def bodies_of(router: HostileRouter, route: str, **fields: object) -> tuple[list[Json], routerpb.Attempt]:
    """Ask for a good answer; return what the server was sent for it, and the only attempt."""
    seen = len(router.provider.asked.get(route, []))
    stream = await router.complete(route, {"messages": [{"role": "user", "content": "hi"}], **fields})

    assert stream.error is None, stream.error
    assert ["good"] == stream.texts
    (attempt,) = stream.attempts
    return [orjson.loads(asked.body) for asked in router.provider.asked[route][seen:]], attempt


@pytest.mark.parametrize("wording", WORDINGS)
async def test_a_refused_wish_for_usage_is_dropped_once(router: HostileRouter, wording: str) -> None:
    """The same target is asked again at once and remembered; without a count the usage is an estimate."""
    first, attempt = await bodies_of(router, f"usage-{wording}")
    second, _ = await bodies_of(router, f"usage-{wording}")

    assert [True, False] == ["stream_options" in body for body in first]
    assert [False] == ["stream_options" in body for body in second]
    assert (routerpb.OUTCOME_OK, routerpb.USAGE_SOURCE_ESTIMATED) == (attempt.outcome, attempt.usage_source)


@pytest.mark.parametrize(("route", "wrong"), [("older", "max_completion_tokens"), ("newer", "max_tokens")])
async def test_the_limit_of_an_answer_is_said_by_the_name_that_is_known(
    router: HostileRouter, route: str, wrong: str
) -> None:
    """Whichever the client has used, and its number stays."""
    right = "max_tokens" if wrong == "max_completion_tokens" else "max_completion_tokens"
    first, attempt = await bodies_of(router, route, **{wrong: 17})
    second, _ = await bodies_of(router, route, **{wrong: 18})
    third, _ = await bodies_of(router, route, **{right: 19})

    assert [(17, None), (None, 17)] == [(body.get(wrong), body.get(right)) for body in first]
    assert [(None, 18)] == [(body.get(wrong), body.get(right)) for body in second]
    assert [(None, 19)] == [(body.get(wrong), body.get(right)) for body in third]
    assert routerpb.USAGE_SOURCE_REPORTED == attempt.usage_source


async def test_several_fields_are_learned_one_by_one(router: HostileRouter) -> None:
    """As a server names them."""
    first, _ = await bodies_of(router, "both", max_completion_tokens=17)
    second, _ = await bodies_of(router, "both", max_completion_tokens=17)

    assert 3 == len(first)
    assert [17] == [body["max_tokens"] for body in second]
    assert "dialect_learned" in router.log()


async def test_a_vendor_that_is_known_is_asked_in_its_own_words_at_once(router: HostileRouter) -> None:
    """By its row of the table: nothing is refused."""
    bodies, _ = await bodies_of(router, "known", max_completion_tokens=17)

    assert [17] == [body["max_tokens"] for body in bodies]
    assert "stream_options" not in bodies[0]


async def test_a_server_that_knows_neither_name_is_not_asked_for_ever(router: HostileRouter) -> None:
    """Both are tried; then it is the caller's error, for an answer without a limit is not what was asked for."""
    stream = await router.complete("neither", {"messages": [], "max_tokens": 5})

    assert stream.error is not None
    assert ("unsupported_parameter", "max_completion_tokens") == (stream.error.code, stream.error.param)
    assert "openai:neither" in stream.error.message
    assert 2 == len(router.provider.asked["neither"])


async def test_a_field_that_changes_no_answer_keeps_no_server_from_answering(router: HostileRouter) -> None:
    """It is asked again without, remembered, and the receipt has the name, each time."""
    first, attempt = await bodies_of(router, "picky", seed=4, user="u")
    second, again = await bodies_of(router, "picky", seed=4)

    assert [True, True, False] == ["user" in body for body in first]
    assert [False] == ["seed" in body for body in second]
    assert (["seed", "user"], ["seed"]) == (sorted(attempt.dropped), list(again.dropped))


async def test_a_tier_that_a_server_does_not_know_is_not_billed(router: HostileRouter) -> None:
    """One that is asked for is believed, unless the server is known not to read it."""
    for _ in range(2):
        _, attempt = await bodies_of(router, "tierless", service_tier="priority")

    assert ["service_tier"] == list(attempt.dropped)
    assert not attempt.usage.HasField("service_tier")


async def test_a_value_that_a_model_refuses_is_left_out_of_this_request_alone(router: HostileRouter) -> None:
    """Reasoning models take one temperature; another request may have one that is taken."""
    first, attempt = await bodies_of(router, "plain-sampling", temperature=0.2)
    second, again = await bodies_of(router, "plain-sampling", temperature=1)

    assert [0.2, None] == [body.get("temperature") for body in first]
    assert [1] == [body.get("temperature") for body in second]
    assert (["temperature"], []) == (list(attempt.dropped), list(again.dropped))


async def test_what_a_model_of_anthropics_refuses_is_left_out_of_translations(router: HostileRouter) -> None:
    """Which fields it takes depends on the model, and the caller has written none of Anthropic's."""
    fields = {"temperature": 0.2, "reasoning_effort": "low"}
    first, attempt = await bodies_of(router, "claude", **fields)
    (second,), again = await bodies_of(router, "claude", **fields)

    assert 3 == len(first)
    assert {"messages", "max_tokens", "model", "stream"} == second.keys() == first[-1].keys()
    assert [["reasoning_effort", "temperature"]] * 2 == [list(each.dropped) for each in (attempt, again)]


async def test_what_a_native_body_says_is_never_left_out(router: HostileRouter) -> None:
    """Its client speaks to Anthropic itself, and gets its own words."""
    native = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0.2}
    form = routerpb.MessagesForm(body=orjson.dumps(native))
    stream = await router.complete("claude", {"messages": [{"role": "user", "content": "hi"}]}, messages_form=form)

    assert stream.error is not None
    assert "`temperature` is deprecated" in stream.error.message


MARK: Json = {"cache_control": {"type": "ephemeral"}}
CALL: Json = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
PLAIN: Json = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "red"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"properties": MARK}}}],
}
USER, SAID, RESULT = PLAIN["messages"]
MARKED: Json = {
    "messages": [
        {**USER, **MARK, "content": [{"type": "text", "text": "hi", **MARK}]},
        {**SAID, "reasoning_content": "Hm.", "tool_calls": [{**CALL, "extra_content": {"a": 1}}], "reasoning": None},
        RESULT,
    ],
    "tools": [{**PLAIN["tools"][0], **MARK}],
}


async def test_marks_of_other_vendors_are_left_out_for_openai_itself(router: HostileRouter) -> None:
    """It refuses them, wherever they stand; a server that may be anybody's gets them, for it may want them back."""
    (azure,), attempt = await bodies_of(router, "marks-azure", **MARKED)
    (anybody,), other = await bodies_of(router, "marks-anybody", **MARKED)

    assert [PLAIN, MARKED] == [{name: body[name] for name in PLAIN} for body in (azure, anybody)]
    assert {
        *("messages.0.content.0.cache_control", "messages.0.cache_control", "messages.1.tool_calls.0.extra_content"),
        *("messages.1.reasoning_content", "tools.0.cache_control"),
    } == set(attempt.dropped)
    assert [] == list(other.dropped)


async def test_what_changes_the_answer_is_not_dropped(router: HostileRouter) -> None:
    """The next target is asked with it; alone it is a 400 with the name of the field and of the target."""
    stream = await router.complete("then-good", {"messages": [], "logprobs": True})
    alone = await router.complete("foreign", {"messages": [], "logprobs": True})

    assert [("openai", "unsupported_parameter"), ("openai", "ok")] == stream.outcomes
    assert True is orjson.loads(router.provider.asked["good"][-1].body)["logprobs"]
    assert alone.error is not None
    assert ("unsupported_parameter", "logprobs") == (alone.error.code, alone.error.param)
    assert "openai:foreign" in alone.error.message


async def test_the_words_of_a_prompt_teach_nothing(router: HostileRouter) -> None:
    """What did not help is not remembered: nobody can talk a router out of asking for usage."""
    for _ in range(2):
        await router.complete("prompt", {"messages": []})

    sent = [orjson.loads(asked.body) for asked in router.provider.asked["prompt"]]
    assert [True, False, True, False] == ["stream_options" in body for body in sent]


async def test_what_was_learned_while_a_request_waited_is_kept() -> None:
    """A request that began before, and was refused nothing, does not bring back what the server does not know."""
    sent: list[Json] = []
    may_answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head_of_request = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head_of_request.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        sent.append(orjson.loads(await reader.readexactly(int(lengths[0].partition(b":")[2]))))
        if sent[-1].get("stop"):
            await may_answer.wait()
            writer.write(head())
        else:
            writer.writelines(strict("groq", "stream_options")(Asked("", {}, orjson.dumps(sent[-1]))))
        writer.close()

    async def ask(**fields: object) -> None:
        async with provider.open(ChatBody({"messages": [], **fields})):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    provider = OpenAIProvider(
        Target(name="t", provider="openai", model="m", base_url=url, credential="sk-test"), Network(0.01)
    )
    early = asyncio.create_task(ask(stop=["x"]))
    while not sent:
        await asyncio.sleep(0.01)
    await ask()
    may_answer.set()
    await early
    await ask()
    await provider.close()
    server.close()

    assert [True, True, False, False] == ["stream_options" in body for body in sent]


async def test_vectors_are_asked_for_as_a_server_can_send_them(router: HostileRouter) -> None:
    """Without an encoding they come as numbers."""
    request = routerpb.EmbedRequest(request_id="test", tenant="t", route="vectors", body=orjson.dumps({"input": "x"}))
    replies = [await router.stub.Embed(request) for _ in range(2)]

    assert [[struct.pack("<2f", 0.5, 0.25)]] * 2 == [list(reply.vectors) for reply in replies]
    sent = [orjson.loads(asked.body) for asked in router.provider.asked["vectors"]]
    assert ["base64", None, None] == [body.get("encoding_format") for body in sent]


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_a_row_says_what_its_vendor_is_sent(vendor: Any) -> None:
    """The limit by its one name, and the wish for usage only where it is known."""
    body = {"stream": True, "max_completion_tokens": 9, "max_tokens": 7, "stream_options": {"include_usage": False}}
    written = Dialect.of(vendor).to_chat(body)

    if vendor.answer_limit is not None:
        assert [7] == [written[name] for name in ("max_tokens", "max_completion_tokens") if name in written]
        assert vendor.answer_limit in written
    assert ({"include_usage": True} if vendor.stream_options else None) == written.get("stream_options")
    assert {"include_usage": False} == body["stream_options"]


def test_base64_is_left_out_where_it_is_not_known() -> None:
    """And nothing is said of it, for some refuse a null."""
    assert {"input": "x"} == Dialect(base64_vectors=False).to_embeddings({"input": "x"})
    assert "base64" == Dialect().to_embeddings({"input": "x"})["encoding_format"]
