"""A request that carries its native form: Anthropic targets get it as it came, all others get the translation."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
import pytest

from fault_provider.answers import expected_text
from kit.router.process import Router, Seen, Stream
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

HELLO: list[Json] = [{"role": "user", "content": "hello"}]
# Fields and blocks that nobody here knows, in an order of their own.
NATIVE: Json = {
    "zeta": {"b": [1, 2.5, "x", None, True], "a": {}},
    "messages": [
        {"content": [{"text": "hello", "type": "text", "dream": {"z": 1, "a": 2}}], "role": "user", "mood": "good"},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "id": "t", "input": {"z": 1, "a": 2}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no"}]},
    ],
    "tools": [{"type": "bash_20250124", "name": "bash"}, {"input_schema": {"type": "object"}, "name": "look"}],
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "alpha": 0,
    "max_tokens": 50,
}


async def ask(
    router: Router,
    route: str,
    native: Json | None = None,
    *,
    body: Json | None = None,
    beta: str = "",
    untranslatable: tuple[str, ...] = (),
    **more: Any,
) -> Stream:
    """Ask `route` with a native form beside a translation."""
    form = routerpb.MessagesForm(
        body=orjson.dumps(native or {"messages": HELLO, "max_tokens": 50}), beta=beta, untranslatable=untranslatable
    )
    translation = body or {"messages": HELLO, "max_completion_tokens": 50}
    return await router.complete(route, translation, messages_form=form, **more)


def last_body(seen: Seen, test: str) -> Json:
    """Return what the fault provider was asked last."""
    body: Any = seen.attempts(test)[-1]["body"]
    return dict(body)


def own(test: str) -> Json:
    """Return what the router sets for the target of `test`, whatever the caller says."""
    return {"model": f"ok?test={test}", "stream": True}


@pytest.mark.parametrize("override", [{}, {"model": "dear", "stream": False}])
async def test_a_native_body_arrives_as_it_came(router: Router, seen: Seen, override: Json) -> None:
    """Every field keeps its value and the order inside it; only `model` and `stream` are the router's."""
    stream = await ask(router, "native", {**NATIVE, **override})

    assert stream.finished is not None
    asked = last_body(seen, "native")
    assert {**NATIVE, **own("native")} == asked
    assert {name: orjson.dumps(value) for name, value in NATIVE.items()} == {
        name: orjson.dumps(value) for name, value in asked.items() if name in NATIVE
    }


@pytest.mark.parametrize("route", ["plain-wire", "ok-anthropic"])
async def test_a_plain_body_cannot_choose_model_or_stream(router: Router, seen: Seen, route: str) -> None:
    """What the body says of both is replaced, on either wire."""
    stream = await router.complete(route, {"messages": HELLO, "model": "dear", "stream": False})

    assert stream.finished is not None
    asked = seen.attempts(route)[-1]
    assert True is asked["stream"]
    assert f"test={route}" in str(asked["model"])


async def test_thoughts_that_nobody_signed_are_left_out(router: Router, seen: Seen) -> None:
    """A target on another wire wrote them; Anthropic takes back only what it has signed."""
    text = {"type": "text", "text": "Yes."}
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    thoughts = [{"type": "thinking", "thinking": "Ah.", "signature": ""}, {"type": "thinking", "thinking": "Oh."}]
    redacted = {"type": "redacted_thinking", "data": "b3Bh"}
    said = {"role": "assistant", "content": [*thoughts, signed, redacted, text]}
    await ask(router, "native", {"messages": [*HELLO, said, *HELLO], "max_tokens": 50})

    assert [*HELLO, {"role": "assistant", "content": [signed, redacted, text]}, *HELLO] == last_body(seen, "native")[
        "messages"
    ]


@pytest.mark.parametrize(
    ("beta", "is_sent"), [("", False), ("one-2026-01-01,two", True), ("line\nbreak", False), ("naïve", False)]
)
async def test_a_beta_reaches_anthropic_only(router: Router, seen: Seen, beta: str, is_sent: bool) -> None:
    """As a header, if it can be one."""
    await ask(router, "native", beta=beta)
    await ask(router, "plain-wire", beta=beta)

    names: Any = [seen.attempts(test)[-1]["header_names"] for test in ("native", "plain-wire")]
    assert [is_sent, False] == ["anthropic-beta" in each for each in names]


async def test_another_wire_gets_the_translation(router: Router, seen: Seen) -> None:
    """And nothing of the native form."""
    translation = {"messages": HELLO, "max_completion_tokens": 7, "user": "u" * 64}
    await ask(router, "plain-wire", NATIVE, body=translation)

    options = {"stream_options": {"include_usage": True}}
    assert {**translation, **own("plain-wire"), **options} == last_body(seen, "plain-wire")


async def test_a_user_that_openai_would_refuse_is_left_out(router: Router, seen: Seen) -> None:
    """Only when the request came in a contract that allows it; who writes OpenAI's gets OpenAI's own refusal."""
    body = {"messages": HELLO, "user": "u" * 65}
    await ask(router, "plain-wire", body=body)
    assert "user" not in last_body(seen, "plain-wire")

    await router.complete("plain-wire", body)
    assert "u" * 65 == last_body(seen, "plain-wire")["user"]


async def test_what_a_target_cannot_say_leads_to_the_next_target(router: Router, seen: Seen) -> None:
    """The one that speaks the contract answers; the other one was not called."""
    stream = await ask(router, "plain-then-native", untranslatable=("messages.0.content.1",))

    assert expected_text("ok") == "".join(stream.texts)
    assert [("openai", "unsupported_parameter"), ("anthropic", "ok")] == stream.outcomes
    assert [] == seen.attempts("ptn-1")


async def test_what_no_target_can_say_is_named(router: Router) -> None:
    """The first such field, by the caller's name, at a bounded length."""
    stream = await ask(router, "plain-wire", untranslatable=("x" * 300_000, "thinking"))

    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
    assert stream.error is not None
    assert ("unsupported_parameter", "x" * 100) == (stream.error.code, stream.error.param)


async def test_an_engine_gets_the_native_fields_that_it_knows(router: Router, seen: Seen) -> None:
    """vLLM samples with `top_k`; what it does not know is refused by name all the same."""
    native = {"messages": HELLO, "max_tokens": 50, "top_k": 7, "thinking": {"type": "enabled"}}
    stream = await ask(router, "engine-wire", native, untranslatable=("top_k",))
    refused = await ask(router, "engine-wire", native, untranslatable=("top_k", "thinking"))

    assert stream.finished is not None
    assert 7 == last_body(seen, "engine-wire")["top_k"]
    assert refused.error is not None
    assert "thinking" == refused.error.param


def event(kind: str, **more: object) -> Json:
    """Write an event of the Messages API."""
    return {"type": kind, **more}


SIGNATURE = {"type": "signature_delta", "signature": "c2ln"}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
CITATION = {"type": "citations_delta", "citation": {"cited_text": "it"}}
ANSWER = [
    event("message_start", message={"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block=THINKING),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."}),
    event("content_block_delta", index=0, delta=SIGNATURE),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "Yes"}),
    event("content_block_delta", index=1, delta=CITATION),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "."}),
    event("content_block_stop", index=1),
    event("message_delta", delta={"stop_reason": "pause_turn"}, usage={"output_tokens": 9}),
    event("message_stop"),
]


async def test_what_openai_json_cannot_say_arrives_as_native_events_in_order(router: Router) -> None:
    """Signatures, citations, an unusual end: as they came, without their index, between text and reasoning."""
    script = [{"role": "user", "content": orjson.dumps(ANSWER).decode()}]
    stream = await ask(router, "native-script", {"messages": script, "max_tokens": 50})

    assert stream.finished is not None
    reasoning = [{"index": 0, "delta": {"reasoning_content": "Hm."}, "logprobs": None, "finish_reason": None}]
    assert [
        ("messages_events", event("content_block_start", content_block=THINKING)),
        ("choices", reasoning),
        ("messages_events", event("content_block_delta", delta=SIGNATURE)),
        ("texts", "Yes"),
        ("messages_events", event("content_block_delta", delta=CITATION)),
        ("texts", "."),
        ("messages_events", event("message_delta", delta={"stop_reason": "pause_turn"})),
    ] == stream.contents


async def test_without_a_native_form_there_are_no_native_events(router: Router) -> None:
    """A client of OpenAI's contract could not read them."""
    end = event("message_delta", delta={"stop_reason": "end_turn"})
    answer = [end if each["type"] == "message_delta" else each for each in ANSWER]
    stream = await router.complete(
        "native-script", {"messages": [{"role": "user", "content": orjson.dumps(answer).decode()}]}
    )

    assert stream.finished is not None
    assert ["choices", "texts", "texts"] == [name for name, _ in stream.contents]


async def test_a_provider_on_openais_wire_makes_no_native_events(router: Router) -> None:
    """Whatever it writes into its chunks is a field of OpenAI JSON that nobody knows."""
    forged = {"type": "content_block_start", "content_block": {"type": "server_tool_use"}}
    chunks = [
        {"choices": [{"index": 0, "delta": {"anthropic": forged}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        "[DONE]",
    ]
    script = [{"role": "user", "content": orjson.dumps(chunks).decode()}]
    stream = await ask(router, "plain-script", body={"messages": script})

    assert stream.finished is not None
    assert [] == stream.messages_events
    assert [{"anthropic": forged}] == [each[0]["delta"] for each in stream.choices]


async def test_an_answer_is_continued_in_the_native_form(router: Router, seen: Seen) -> None:
    """The next target is asked with two more turns and a lower limit, and with every other field as it came."""
    native = {**NATIVE, "max_tokens": 500}
    stream = await ask(router, "native-carry", native, continuation=routerpb.CONTINUATION_ALLOW)

    assert expected_text("ok") == "".join(stream.texts)
    asked = last_body(seen, "nc-2")
    *before, delivered, request = asked["messages"]
    assert native["messages"] == before
    assert {"role": "assistant", "content": "w0 w1 w2 "} == delivered
    assert "<<<w0 w1 w2 >>>" in request["content"]
    assert 500 - 3 + 32 == asked["max_tokens"]
    unchanged = native.keys() - {"messages", "max_tokens"}
    assert {name: native[name] for name in unchanged} == {name: asked[name] for name in unchanged}


async def test_an_answer_in_a_format_of_the_native_form_is_not_continued(router: Router, seen: Seen) -> None:
    """Also when the translation has no word for the format: a repetition would break it."""
    native = {"messages": HELLO, "max_tokens": 50, "output_config": {"format": {"type": "grammar"}}}
    stream = await ask(router, "native-cut-silent", native, continuation=routerpb.CONTINUATION_ALLOW)

    assert grpc.StatusCode.ABORTED == stream.status
    assert [] == seen.attempts("never")


@pytest.mark.parametrize(
    ("native", "param"),
    [
        (b"", "messages"),
        (b"{", "messages"),
        (b"[]", "messages"),
        (b'{"max_tokens":5}', "messages"),
        (b'{"messages":[]}', "max_tokens"),
        (b'{"messages":[],"max_tokens":"many"}', "max_tokens"),
    ],
)
async def test_a_native_form_that_is_none_is_refused(router: Router, native: bytes, param: str) -> None:
    """The router does not trust its caller to have checked."""
    form = routerpb.MessagesForm(body=native)
    stream = await router.complete("native", {"messages": HELLO}, messages_form=form)

    assert grpc.StatusCode.INVALID_ARGUMENT == stream.status
    assert stream.error is not None
    assert param == stream.error.param


async def test_turns_of_any_shape_reach_the_provider(router: Router, seen: Seen) -> None:
    """The router reads no more of them than it has to; what makes no sense is Anthropic's to refuse."""
    turns: list[Any] = [
        5,
        None,
        [],
        {"role": "assistant", "content": [5, None, {"type": "thinking", "signature": "x"}]},
    ]
    await ask(router, "native", {"messages": turns, "max_tokens": 50})

    assert turns == last_body(seen, "native")["messages"]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(("by_the_edge", "tokens"), [(77, 77), (0, 1600)])
async def test_the_edges_estimate_counts_when_a_provider_reports_none(
    router: Router, provider: str, by_the_edge: int, tokens: int
) -> None:
    """A picture is far fewer tokens than a quarter of its bytes, also when an older edge sends no estimate."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    body = {"messages": [{"role": "user", "content": [picture]}]}
    stream = await router.complete(f"no-usage-{provider}", body, estimated_input_tokens=by_the_edge)

    (attempt,) = stream.attempts
    assert routerpb.USAGE_SOURCE_ESTIMATED == attempt.usage_source
    assert tokens == attempt.usage.input_tokens


async def test_a_continuation_is_estimated_with_what_was_delivered(router: Router) -> None:
    """Both prompts are billed: the first as the edge estimated it, the second with the text that it repeats."""
    stream = await router.complete("carry-estimated", estimated_input_tokens=77)

    assert [77, 77 + 3] == [attempt.usage.input_tokens for attempt in stream.attempts]
