"""The Anthropic stream, translated into OpenAI's chunks: content, facts, failures."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.errors import (
    CredentialRefused,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    RequestRejected,
    StreamBroken,
)
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.provider import MessagesEvent
from llm_router.providers.tool_names import ToolNames
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]


def event(kind: str, **more: object) -> bytes:
    """Write an event as the provider would."""
    return orjson.dumps({"type": kind, **more})


def delta(kind: str, index: int = 0, **more: object) -> bytes:
    """Write a delta of a content block."""
    return event("content_block_delta", index=index, delta={"type": kind, **more})


def delta_of(wire: AnthropicWire, data: bytes) -> Json:
    """Return the delta of the OpenAI chunk that one event became."""
    (content,) = wire.read(data)
    assert isinstance(content, bytes)
    (choice,) = orjson.loads(content)
    assert (0, None) == (choice["index"], choice["finish_reason"])
    openai_delta: Json = choice["delta"]
    return openai_delta


def test_text_takes_the_fast_path() -> None:
    """Plain text is passed on as text, empty text not at all."""
    wire = AnthropicWire(keeps_events=False)

    assert ["Hi"] == wire.read(delta("text_delta", text="Hi"))
    assert [] == wire.read(delta("text_delta", text=""))
    assert ["pre"] == wire.read(event("content_block_start", index=0, content_block={"type": "text", "text": "pre"}))


@pytest.mark.parametrize(
    "data",
    [
        event("ping"),
        event("message_start", message={"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        event("content_block_stop", index=0),
        delta("signature_delta", signature="abc"),
        delta("a_delta_of_next_year", x=1),
        event("an_event_of_next_year"),
        event("message_delta", delta={"stop_reason": None}),
    ],
)
def test_event_without_text_is_not_content(data: bytes) -> None:
    """Pings, frames around content and unknown kinds neither commit the stream nor break it."""
    wire = AnthropicWire(keeps_events=False)

    assert [] == wire.read(data)
    assert not wire.answer.is_whole


def test_thinking_becomes_reasoning_content() -> None:
    """Thoughts are kept apart from the answer, in the field that OpenAI-like clients read."""
    assert {"reasoning_content": "Hm."} == delta_of(
        AnthropicWire(keeps_events=False), delta("thinking_delta", thinking="Hm.")
    )
    assert [] == AnthropicWire(keeps_events=False).read(delta("thinking_delta", thinking=""))


def test_tool_calls_are_numbered_without_gaps() -> None:
    """Content blocks of other kinds leave no gap in the numbers of the tool calls."""
    wire = AnthropicWire(keeps_events=False)
    wire.read(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))

    for block, number in ((1, 0), (3, 1)):
        use = {"type": "tool_use", "id": f"id{block}", "name": "look", "input": {}}
        call = {
            "index": number,
            "id": f"id{block}",
            "type": "function",
            "function": {"name": "look", "arguments": ""},
        }
        assert {"tool_calls": [call]} == delta_of(wire, event("content_block_start", index=block, content_block=use))
        fragment = {"index": number, "function": {"arguments": '{"a":'}}
        assert {"tool_calls": [fragment]} == delta_of(wire, delta("input_json_delta", block, partial_json='{"a":'))
    assert [] == wire.read(delta("input_json_delta", 3, partial_json=""))


PATCH: Json = {"type": "tool_use", "id": "t1", "name": "patch", "input": {}}


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (['{"in', 'put": "*** Be', 'gin\\n"}'], "*** Begin\n"),
        (['{"input": ""}'], ""),
        ([], ""),
        (['{"input": 5}'], '{"input": 5}'),
        (["*** Begin"], "*** Begin"),
        (['{"inp'], '{"inp'),
    ],
)
def test_the_call_of_a_tool_that_takes_any_text_is_told_as_its_caller_knows_it(pieces: list[str], text: str) -> None:
    """As a custom call with its text, whole at the end; what stands there instead of the one argument is the text."""
    wire = AnthropicWire(keeps_events=False, custom_tools=frozenset({"patch"}))
    start = {"index": 0, "id": "t1", "type": "custom", "custom": {"name": "patch", "input": ""}}

    assert {"tool_calls": [start]} == delta_of(wire, event("content_block_start", index=0, content_block=PATCH))
    for piece in pieces:
        assert [] == wire.read(delta("input_json_delta", partial_json=piece))
    end = {"index": 0, "custom": {"input": text}}
    assert {"tool_calls": [end]} == delta_of(wire, event("content_block_stop", index=0))


def test_a_text_that_waits_for_its_end_has_a_limit() -> None:
    """Nobody holds what a provider sends without end."""
    wire = AnthropicWire(keeps_events=False, custom_tools=frozenset({"patch"}))
    wire.read(event("content_block_start", index=0, content_block=PATCH))
    piece = delta("input_json_delta", partial_json="x" * 1024 * 1024)
    for _ in range(8):
        assert [] == wire.read(piece)

    with pytest.raises(StreamBroken):
        wire.read(piece)


def test_a_tool_is_called_by_its_callers_name() -> None:
    """Where its name was written in another way for this wire."""
    names = ToolNames()
    use = {**PATCH, "name": names.written("fs.read")}
    wire = AnthropicWire(keeps_events=False, names=names)

    (call,) = delta_of(wire, event("content_block_start", index=0, content_block=use))["tool_calls"]
    assert "fs.read" == call["function"]["name"]


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("end_turn", routerpb.FINISH_REASON_STOP),
        ("stop_sequence", routerpb.FINISH_REASON_STOP),
        ("max_tokens", routerpb.FINISH_REASON_LENGTH),
        ("model_context_window_exceeded", routerpb.FINISH_REASON_LENGTH),
        ("tool_use", routerpb.FINISH_REASON_TOOL_CALL),
        ("refusal", routerpb.FINISH_REASON_CONTENT_FILTER),
    ],
)
def test_every_stop_reason_has_its_finish_reason(reason: str, known: int) -> None:
    """An answer is whole with its stop reason; the end marker comes after it."""
    wire = AnthropicWire(keeps_events=False)
    if reason == "tool_use":
        wire.read(start(0, "tool_use", id="t", name="look", input={}))
    wire.read(event("message_delta", delta={"stop_reason": reason}))
    assert wire.answer.is_whole
    assert not wire.answer.has_ended

    wire.read(event("message_stop"))
    assert wire.answer.has_ended
    assert {0: known} == wire.answer.finish_reasons


def test_usage_totals_become_inclusive() -> None:
    """Anthropic counts cache reads and writes apart from the input; our totals contain them."""
    wire = AnthropicWire(keeps_events=False)
    counts = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1}
    wire.read(event("message_start", message={"model": "m-1", "usage": counts}))
    assert Usage(18, 1, 5, 3, None) == wire.answer.usage

    late = {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 25}}
    wire.read(event("message_delta", delta={"stop_reason": "end_turn"}, usage=late))
    assert Usage(18, 40, 5, 3, 25) == wire.answer.usage
    assert "m-1" == wire.answer.response_model


def test_newer_counts_replace_older_ones() -> None:
    """The counts of later events are cumulative, not to be added."""
    wire = AnthropicWire(keeps_events=False)
    wire.read(event("message_start", message={"usage": {"input_tokens": 10, "output_tokens": 1}}))
    wire.read(event("message_delta", delta={}, usage={"input_tokens": 12, "output_tokens": 7}))

    assert Usage(12, 7) == wire.answer.usage


def test_count_that_is_not_reported_stays_unknown() -> None:
    """Absent is None and not 0, also for the parts and also when a count is invalid."""
    wire = AnthropicWire(keeps_events=False)
    assert wire.answer.usage is None

    strange = {"input_tokens": None, "cache_read_input_tokens": "many", "cache_creation_input_tokens": 2**64 - 1}
    wire.read(event("message_start", message={"usage": {**strange, "output_tokens": True}}))
    assert Usage() == wire.answer.usage


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("rate_limit_error", ProviderRateLimited),
        ("overloaded_error", ProviderUnavailable),
        ("api_error", ProviderUnavailable),
        ("timeout_error", ProviderUnavailable),
        ("not_found_error", ModelMissing),
        ("permission_error", CredentialRefused),
        ("invalid_request_error", RequestRejected),
        ("", StreamBroken),
        (None, StreamBroken),
    ],
)
def test_error_event_keeps_its_meaning(kind: str | None, error: type[ProviderError]) -> None:
    """An error inside the stream decides as its HTTP status would have; only the caller's own error is quoted."""
    with pytest.raises(error) as caught:
        AnthropicWire(keeps_events=False).read(event("error", error={"type": kind, "message": "SECRET"}))

    assert ("SECRET" in str(caught.value)) == (type(caught.value) is RequestRejected)
    assert "SECRET" not in caught.value.cause


@pytest.mark.parametrize(
    "data",
    [
        b"{not json",
        b"",
        b"[]",
        b"null",
        b"7",
        b"{}",
        delta("text_delta", text=5),
        delta("thinking_delta", thinking=["Hm."]),
        delta("input_json_delta", 7, partial_json="{}"),
        event("content_block_start", index=0, content_block={"type": "text", "text": {"a": 1}}),
        event("content_block_start", index=0, content_block={"type": "tool_use", "id": 5, "name": "f"}),
        event("content_block_start", index=0, content_block={"type": "tool_use", "id": "i"}),
        event("content_block_start", index=0, content_block=None),
        event("content_block_start", index="x", content_block={"type": "text", "text": ""}),
        event("message_start", message={"usage": "many"}),
        event("message_delta", delta={"stop_reason": "tired"}),
        event("message_delta", delta={"stop_reason": ["end_turn"]}),
        event("message_delta", delta={"stop_reason": "pause_turn"}),
        event("error", error="boom"),
        event("error"),
    ],
)
def test_invalid_event_breaks_the_stream(data: bytes) -> None:
    """Malformed events and unknown ends are failures, never silence and never success."""
    with pytest.raises(StreamBroken):
        AnthropicWire(keeps_events=False).read(data)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
words = st.sampled_from(
    [
        *("type", "index", "delta", "content_block", "message", "usage", "error", "model", "text", "thinking", "id"),
        *("name", "partial_json", "stop_reason", "input_tokens", "output_tokens", "output_tokens_details"),
        *("thinking_tokens", "cache_read_input_tokens"),
    ]
)
kinds = st.sampled_from(
    [
        *("content_block_delta", "content_block_start", "message_start", "message_delta", "message_stop", "error"),
        *("text_delta", "input_json_delta", "thinking_delta", "tool_use", "text", "end_turn"),
    ]
)
documents = st.recursive(
    scalars | kinds,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=6),
    max_leaves=20,
)
# Right names around anything at all, so that every branch is reached.
nearly = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    kinds,
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(0, 2) | documents,
            "delta": st.dictionaries(words, documents | kinds, max_size=5),
            "content_block": st.dictionaries(words, documents | kinds, max_size=5),
            "message": st.dictionaries(words, documents, max_size=5),
            "usage": st.dictionaries(words, documents, max_size=5),
            "error": documents,
        },
    ),
)


@given(st.lists(documents | nearly, max_size=5))
def test_no_event_raises_anything_but_a_provider_error(events: list[object]) -> None:
    """Whatever JSON comes, it is content, a fact that can be recorded, or a ProviderError."""
    wire = AnthropicWire(keeps_events=False)
    try:
        for document in events:
            assert all(
                isinstance(content, str | bytes | MessagesEvent) for content in wire.read(orjson.dumps(document))
            )
    except ProviderError:
        return

    usage = wire.answer.usage or Usage()
    routerpb.Finished(response_model=wire.answer.response_model, usage=usage.to_proto())


def written(wire: AnthropicWire, *events: bytes) -> list[Json]:
    """Return what the events became besides text: deltas of OpenAI's chunks and events of Anthropic's."""
    contents = [content for data in events for content in wire.read(data) if not isinstance(content, str)]
    return [
        orjson.loads(content.data) if isinstance(content, MessagesEvent) else orjson.loads(content)[0]["delta"]
        for content in contents
    ]


def start(index: int, kind: str, **more: object) -> bytes:
    """Write the start of a content block."""
    return event("content_block_start", index=index, content_block={"type": kind, **more})


SIGNED = [
    start(0, "thinking", thinking="", signature=""),
    delta("signature_delta", signature="c2ln"),
    event("content_block_stop", index=0),
]


def test_native_events_travel_with_the_next_content() -> None:
    """A signature alone commits nothing: until content comes another target may still answer."""
    wire = AnthropicWire(keeps_events=True)
    assert [] == [content for data in SIGNED for content in wire.read(data)]

    *events, text = wire.read(delta("text_delta", 1, text="Hi"))
    assert "Hi" == text
    assert [
        {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "c2ln"}},
    ] == [orjson.loads(content.data) for content in events if isinstance(content, MessagesEvent)]
    assert ["again"] == wire.read(delta("text_delta", 1, text="again"))


def test_native_events_without_content_travel_at_the_end() -> None:
    """An answer may consist of nothing else."""
    wire = AnthropicWire(keeps_events=True)
    events = written(wire, *SIGNED, event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}))

    assert ["content_block_start", "content_block_delta"] == [each["type"] for each in events]
    assert wire.answer.is_whole


@pytest.mark.parametrize(
    "end",
    [
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "model_context_window_exceeded", "stop_sequence": None},
        {"stop_reason": "pause_turn"},
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio"}},
    ],
)
def test_end_that_openai_cannot_say_is_a_native_event(end: Json) -> None:
    """The stop sequence, a pause, the reason of a refusal."""
    wire = AnthropicWire(keeps_events=True)

    assert [{"type": "message_delta", "delta": end}] == written(wire, event("message_delta", delta=end))
    assert wire.answer.is_whole


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "tool_use", "refusal"])
def test_end_that_openai_can_say_is_no_native_event(reason: str) -> None:
    """It becomes a finish reason."""
    end = event("message_delta", delta={"stop_reason": reason, "stop_sequence": None})

    assert [] == AnthropicWire(keeps_events=True).read(end)


def test_what_only_anthropic_says_of_message_and_usage_is_a_native_event() -> None:
    """Beside the counts that every vendor has, which the edge writes anew; null says nothing."""
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": 0, "service_tier": "standard"}
    searches, container = {"web_search_requests": 2}, {"id": "c1"}
    start: Json = {"model": "m", "content": [], "container": None, "context_management": {"a": 1}, "usage": usage}
    events = [
        event("message_start", message=start),
        delta("text_delta", text="Hi"),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "container": container},
            usage={"output_tokens": 2, "server_tool_use": searches, "iterations": None},
        ),
    ]

    first, last = [each for each in written(AnthropicWire(keeps_events=True), *events) if "type" in each]
    assert {"context_management": {"a": 1}, "usage": {"service_tier": "standard"}} == first["message"]
    assert (container, {"server_tool_use": searches}) == (last["delta"]["container"], last["usage"])
    plain = AnthropicWire(keeps_events=False)
    assert ["Hi"] == [content for data in events for content in plain.read(data)]


def test_tool_that_anthropic_runs_itself_stays_in_native_events() -> None:
    """Its call and its result are not the caller's to answer; the caller's own calls become OpenAI's."""
    wire = AnthropicWire(keeps_events=True)
    contents = written(
        wire,
        start(0, "server_tool_use", id="s", name="web_fetch", input={}),
        delta("input_json_delta", 0, partial_json="{}"),
        start(1, "tool_use", id="t", name="look", input={}),
        delta("input_json_delta", 1, partial_json="{}"),
        event("content_block_stop", index=1),
        start(2, "tool_use", id="u", name="look", input={}),
    )

    assert [
        *("content_block_start", "content_block_delta", "tool_calls", "tool_calls", "content_block_stop", "tool_calls")
    ] == [each.get("type", "tool_calls") for each in contents]
    assert {"type": "content_block_stop"} == contents[4]


def test_without_a_native_form_native_events_are_left_out() -> None:
    """Then a pause is no end either."""
    wire = AnthropicWire(keeps_events=False)
    contents = written(
        wire,
        *SIGNED,
        start(1, "redacted_thinking", data="b3Bh"),
        start(2, "text", text=""),
        delta("text_delta", 2, text="Hi"),
        start(3, "text", text=""),
        delta("citations_delta", 3, citation={}),
        start(4, "tool_use", id="t", name="look", input={}),
        event("content_block_stop", index=4),
        event("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "END"}),
    )

    assert [["tool_calls"], ["tool_calls"]] == [list(each) for each in contents]


@given(st.lists(documents | nearly, max_size=5))
def test_no_native_event_raises_anything_but_a_provider_error(events: list[object]) -> None:
    """The same for a request with a native form."""
    wire = AnthropicWire(keeps_events=True)
    with suppress(ProviderError):
        for document in events:
            assert all(
                isinstance(content, str | bytes | MessagesEvent) for content in wire.read(orjson.dumps(document))
            )


def called(*events: bytes, keeps_events: bool = False) -> dict[int, tuple[str, str, str]]:
    """Return id, name and arguments of each tool call, put together by index."""
    wire = AnthropicWire(keeps_events=keeps_events)
    contents = [content for data in events for content in wire.read(data)] + wire.end()
    calls: dict[int, tuple[str, str, str]] = {}
    for content in contents:
        if isinstance(content, bytes):
            (call,) = orjson.loads(content)[0]["delta"]["tool_calls"]
            before, function = calls.get(call["index"], ("", "", "")), call["function"]
            after = (call.get("id", ""), function.get("name", ""), function["arguments"])
            calls[call["index"]] = (before[0] + after[0], before[1] + after[1], before[2] + after[2])
    return calls


def use(index: object, call_id: str, given: object = None) -> bytes:
    """Write the start of a tool call."""
    return event(
        "content_block_start",
        index=index,
        content_block={"type": "tool_use", "id": call_id, "name": f"look_{call_id}", "input": given or {}},
    )


def part(index: object, partial: object) -> bytes:
    """Write arguments."""
    return event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": partial})


STOP_0, STOP_1 = event("content_block_stop", index=0), event("content_block_stop", index=1)
BOTH = {0: ("a", "look_a", '{"k":1}'), 1: ("b", "look_b", '{"k":2}')}


@pytest.mark.parametrize("keeps_events", [True, False])
@pytest.mark.parametrize(
    "events",
    [
        [use(0, "a"), part(0, '{"k"'), part(0, ":1}"), STOP_0, use(1, "b"), part(1, '{"k":2}'), STOP_1],
        # the whole input in the start, with nothing behind it or with the same once more
        [use(0, "a", {"k": 1}), STOP_0, use(1, "b", {"k": 2}), STOP_1],
        [use(0, "a", '{"k":1}'), part(0, ""), STOP_0, use(1, "b", {"k": 2}), part(1, '{"k":2}'), STOP_1],
        # blocks that never stop, that all have one index or none, that overlap
        [use(0, "a", {"k": 1}), use(1, "b", {"k": 2})],
        [use(0, "a", {"k": 1}), use(0, "b"), part(0, '{"k":2}')],
        [use(None, "a", {"k": 1}), event("content_block_stop"), use(None, "b"), part(None, '{"k":2}')],
        [use("0", "a"), part(0.0, '{"k":1}'), use("1", "b"), part("1", {"k": 2})],
        [use(0, "a"), use(1, "b"), part(0, '{"k"'), part(1, '{"k"'), part(0, ":1}"), STOP_0, part(1, ":2}"), STOP_1],
    ],
)
def test_calls_of_those_who_only_speak_this_wire(events: list[bytes], keeps_events: bool) -> None:
    """Two calls, each with its own arguments."""
    assert BOTH == called(*events, keeps_events=keeps_events)


@pytest.mark.parametrize("end", [[STOP_0], []])
@pytest.mark.parametrize("deltas", [[], [part(0, "")], [part(0, None)]])
def test_no_arguments_become_an_empty_object(deltas: list[bytes], end: list[bytes]) -> None:
    """As Anthropic's own `input` is one."""
    assert {0: ("a", "look_a", "{}")} == called(use(0, "a"), *deltas, *end)


def test_a_missing_id_is_made_up() -> None:
    """A client sends it back with the result."""
    block: Json = {"type": "tool_use", "id": None, "name": "look", "input": {}}
    ((call_id, *_),) = called(event("content_block_start", index=0, content_block=block)).values()

    assert call_id.startswith("toolu_")


@pytest.mark.parametrize(
    ("events", "reason", "expected"),
    [
        ([use(0, "a"), STOP_0], "end_turn", routerpb.FINISH_REASON_TOOL_CALL),
        ([use(0, "a"), STOP_0], "tool_use", routerpb.FINISH_REASON_TOOL_CALL),
        ([use(0, "a"), STOP_0], "stop_sequence", routerpb.FINISH_REASON_TOOL_CALL),
        ([use(0, "a"), STOP_0], "max_tokens", routerpb.FINISH_REASON_LENGTH),
        ([delta("text_delta", text="Hi")], "tool_use", routerpb.FINISH_REASON_STOP),
        ([delta("text_delta", text="Hi")], "end_turn", routerpb.FINISH_REASON_STOP),
    ],
)
def test_the_end_is_called_by_what_was_delivered(events: list[bytes], reason: str, expected: int) -> None:
    """Whatever the target calls it."""
    wire = AnthropicWire(keeps_events=False)
    for data in (*events, event("message_delta", delta={"stop_reason": reason}), event("message_stop")):
        wire.read(data)

    assert {0: expected} == wire.answer.finish_reasons


def test_the_native_end_is_called_so_too() -> None:
    """When it travels as an event of its own."""
    end = event("message_delta", delta={"stop_reason": "end_turn", "stop_details": {"a": 1}})
    *_, native = written(AnthropicWire(keeps_events=True), use(0, "a"), STOP_0, end)

    assert {"stop_reason": "tool_use", "stop_details": {"a": 1}} == native["delta"]


def test_blocks_that_overlap_end_together() -> None:
    """A reader of Anthropic's contract knows one open block: its stop must not cut off the other one's arguments."""
    wire = AnthropicWire(keeps_events=True)
    contents = written(
        wire, use(0, "a"), use(1, "b"), STOP_0, part(1, '{"k":2}'), STOP_1, delta("text_delta", 2, text="")
    )

    assert all("tool_calls" in each for each in contents)
    assert [] == wire.read(event("message_delta", delta={"stop_reason": None}))
    (stop,) = written(wire, event("message_delta", delta={"stop_reason": "tool_use"}))
    assert {"type": "content_block_stop"} == stop


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_nothing_is_said_in_many_ways(nothing: object) -> None:
    """Wherever it stands."""
    wire = AnthropicWire(keeps_events=False)
    for data in (
        event("message_start", message=nothing),
        event("message_start", message={"model": nothing, "usage": nothing}),
        event("content_block_delta", index=0, delta=nothing),
        event("message_delta", delta=nothing, usage=nothing),
        event("message_delta", delta={"stop_reason": nothing}),
    ):
        assert [] == wire.read(data)
    assert {} == wire.answer.finish_reasons


def test_a_message_in_one_piece_is_an_answer() -> None:
    """Some answer so though a stream was asked for."""
    message = {
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "a", "name": "look", "input": {"k": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    wire = AnthropicWire(keeps_events=False)
    thought, text, *call = wire.read(event("message", **message))

    assert isinstance(thought, bytes)
    assert {"reasoning_content": "Hm."} == orjson.loads(thought)[0]["delta"]
    assert "Hi" == text
    assert 2 == len(call)
    assert (wire.answer.is_whole, Usage(3, 5), "m") == (True, wire.answer.usage, wire.answer.response_model)
