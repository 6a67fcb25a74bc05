"""A request that carries its native form: Anthropic targets get it as it came, all others get the translation."""

from __future__ import annotations

import re
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
    version: str = "",
    untranslatable: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
    **more: Any,
) -> Stream:
    """Ask `route` with a native form beside a translation."""
    form = routerpb.MessagesForm(
        body=orjson.dumps(native or {"messages": HELLO, "max_tokens": 50}),
        beta=beta,
        version=version,
        untranslatable=untranslatable,
        dropped=dropped,
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
    thought = {"role": "assistant", "content": thoughts}
    stream = await ask(router, "native", {"messages": [*HELLO, said, *HELLO, thought], "max_tokens": 50})

    assert [*HELLO, {"role": "assistant", "content": [signed, redacted, text]}, *HELLO] == last_body(seen, "native")[
        "messages"
    ]
    places = ("messages.1.content.0", "messages.1.content.1", "messages.3.content.0", "messages.3.content.1")
    assert list(places) == list(stream.attempts[0].dropped)


@pytest.mark.parametrize(
    ("beta", "is_sent"), [("", False), ("one-2026-01-01,two", True), ("line\nbreak", False), ("naïve", False)]
)
async def test_a_beta_reaches_anthropic_only(router: Router, seen: Seen, beta: str, is_sent: bool) -> None:
    """As a header, if it can be one."""
    await ask(router, "native", beta=beta)
    await ask(router, "plain-wire", beta=beta)

    names: Any = [seen.attempts(test)[-1]["header_names"] for test in ("native", "plain-wire")]
    assert [is_sent, False] == ["anthropic-beta" in each for each in names]


@pytest.mark.parametrize(
    ("version", "sent"),
    [("", "2023-06-01"), ("2026-10-21", "2026-10-21"), (" ", "2023-06-01"), ("line\nbreak", "2023-06-01")],
)
async def test_the_version_is_the_clients_or_one_that_takes_a_temperature(
    router: Router, seen: Seen, version: str, sent: str
) -> None:
    """The newest one refuses sampling fields: a client that does not speak it must not be made to."""
    await ask(router, "native", version=version)
    await router.complete("native")

    said: Any = [each["anthropic_version"] for each in seen.attempts("native")[-2:]]
    assert [sent, "2023-06-01"] == said


async def test_what_was_left_out_is_recorded_with_the_attempt(router: Router) -> None:
    """Of a translation, by the names that the edge has given; a target that got the native form was told everything."""
    dropped = ("context_management", "messages.0.content.1.cache_control")
    translated = await ask(router, "plain-wire", dropped=dropped)
    native = await ask(router, "native", dropped=dropped)

    assert [list(dropped), []] == [list(each.attempts[0].dropped) for each in (translated, native)]


async def test_names_of_what_was_left_out_are_few_and_short(router: Router) -> None:
    """A client may name its fields as it likes; what is beyond the first fifty is counted."""
    dropped = ("a\0b", *(f"{number}{'x' * 200}" for number in range(60)))
    stream = await ask(router, "plain-wire", dropped=dropped)

    names = list(stream.attempts[0].dropped)
    assert (51, "a\N{REPLACEMENT CHARACTER}b", "11 more") == (len(names), names[0], names[-1])
    assert all(len(name) <= 100 for name in names)


LONG_NAME = "mcp__a_server__" + "n" * 60
LONG_ID = "toolu_" + "1" * 40


async def test_names_and_ids_that_openai_refuses_are_written_in_another_way(router: Router, seen: Seen) -> None:
    """Tools, calls, results and the choice stay tied together; the answer calls the tool by its own name."""
    function = {"name": LONG_NAME, "arguments": "{}"}
    body = {
        "messages": [
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": LONG_ID, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": LONG_ID, "content": "red"},
        ],
        "tools": [{"type": "function", "function": {"name": LONG_NAME, "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": LONG_NAME}},
    }
    await ask(router, "plain-wire", body=body)

    asked = last_body(seen, "plain-wire")
    call = asked["messages"][1]["tool_calls"][0]
    name = asked["tools"][0]["function"]["name"]
    assert len(name) == 64
    assert [name, name] == [call["function"]["name"], asked["tool_choice"]["function"]["name"]]
    assert len(call["id"]) <= 40
    assert call["id"] == asked["messages"][2]["tool_call_id"]

    answer = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": name}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        "[DONE]",
    ]
    script = {"role": "user", "content": orjson.dumps(answer).decode()}
    stream = await ask(router, "plain-script", body={**body, "messages": [script]})
    called = [choice["delta"]["tool_calls"][0]["function"] for each in stream.choices for choice in each]
    assert LONG_NAME == called[0]["name"]


async def test_ids_of_other_engines_are_written_as_anthropic_takes_them(router: Router, seen: Seen) -> None:
    """A client sends back the calls of whoever has answered before."""
    use = {"type": "tool_use", "id": "functions.lookup:0", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "functions.lookup:0", "content": "red"}
    turns = [*HELLO, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await ask(router, "native", {"messages": turns, "max_tokens": 50})

    _, said, answered = last_body(seen, "native")["messages"]
    written = said["content"][0]["id"]
    assert {**use, "id": written} == said["content"][0]
    assert {**result, "tool_use_id": written} == answered["content"][0]
    assert re.fullmatch("[a-zA-Z0-9_-]+", written)


MANUAL: Json = {"type": "enabled", "budget_tokens": 1024}
CALLED: Json = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]}
ANSWERED: Json = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "red"}]}


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"thinking": MANUAL}, ["thinking"]),
        ({"thinking": {"type": "adaptive"}}, []),
        ({"thinking": MANUAL, "tool_choice": {"type": "any"}}, []),
        (
            {"thinking": MANUAL, "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
            ["thinking", "context_management"],
        ),
    ],
)
async def test_calls_of_another_engine_are_not_thought_about(
    router: Router, seen: Seen, fields: Json, dropped: list[str]
) -> None:
    """Manual thinking demands a signed thought before the last calls: Anthropic would refuse the request."""
    native = {"messages": [*HELLO, CALLED, ANSWERED], "max_tokens": 5000, **fields}
    stream = await ask(router, "native", native)

    assert dropped == list(stream.attempts[0].dropped)
    asked = last_body(seen, "native")
    assert ("thinking" in dropped) == ("thinking" not in asked)
    if "context_management" in dropped:
        assert {"edits": []} == asked["context_management"]


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
    """vLLM samples with `top_k` and takes any number of ends; what it does not know is refused by name all the same."""
    native = {"messages": HELLO, "max_tokens": 50, "top_k": 7, "thinking": {"type": "enabled"}}
    stream = await ask(router, "engine-wire", native, untranslatable=("top_k", "stop_sequences"))
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
