"""The OpenAI stream: what is content, what is a fact, what is a failure."""

from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.errors import ContextTooLong, ProviderError, ProviderRateLimited, ProviderUnavailable, StreamBroken
from llm_router.providers.openai.wire import OpenAIWire
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

KEYS = ["choices", "index", "delta", "content", "tool_calls", "function", "usage", "error", "finish_reason"]
COUNTS = ['"-5"', '"five"', "true", "-1", "1.5", "1" + "0" * 20, "1e300"]


def chunk(*choices: object, **more: object) -> bytes:
    """Write a chunk as a provider would."""
    return orjson.dumps({"id": "c", "object": "chat.completion.chunk", "model": "m-1", "choices": choices, **more})


def choice(delta: object, reason: str | None = None, index: int = 0, **more: object) -> dict[str, object]:
    """Write one choice of a chunk."""
    return {"index": index, "delta": delta, "finish_reason": reason, **more}


@pytest.mark.parametrize(
    "delta",
    [{"role": "assistant", "content": ""}, {"role": "assistant", "content": None}, {"role": "assistant"}, {}],
)
def test_role_is_not_content(delta: object) -> None:
    """A chunk without content must not commit the stream."""
    assert [] == OpenAIWire(1).read(chunk(choice(delta)))


@pytest.mark.parametrize("delta", [{"content": "Hi"}, {"role": "assistant", "content": "Hi"}])
def test_text_of_the_first_choice_takes_the_fast_path(delta: object) -> None:
    """Plain text is passed on as text."""
    assert ["Hi"] == OpenAIWire(1).read(chunk(choice(delta)))


@pytest.mark.parametrize(
    "given",
    [
        choice(
            {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        choice({"refusal": "No."}),
        choice({"reasoning_content": "Hm."}),
        choice({"content": "Hi"}, index=1),
        choice({"content": "Hi"}, logprobs={"content": [{"token": "Hi", "logprob": -0.1}]}),
        choice({"content": "Hi", "annotations": [{"type": "url"}]}),
    ],
)
def test_everything_else_passes_through_as_it_came(given: dict[str, object]) -> None:
    """Tool calls, refusals, logprobs, further choices and unknown fields arrive unharmed."""
    (content,) = OpenAIWire(2).read(chunk(given))

    assert isinstance(content, bytes)
    assert [given] == orjson.loads(content)


def test_finish_reason_never_travels_with_content() -> None:
    """A reader must not see an end before the end: the reason goes into the facts, the content goes on."""
    wire = OpenAIWire(1)

    assert ["."] == wire.read(chunk(choice({"content": "."}, "length")))
    assert {0: routerpb.FINISH_REASON_LENGTH} == wire.answer.finish_reasons
    assert wire.answer.is_whole


def test_answer_of_two_choices_is_whole_when_both_have_ended() -> None:
    """With n=2 one finish reason is not the end."""
    wire = OpenAIWire(2)
    wire.read(chunk(choice({}, "stop", index=1)))
    assert not wire.answer.is_whole

    wire.read(chunk(choice({}, "stop", index=0)))
    assert wire.answer.is_whole


def test_usage_is_read_with_its_parts() -> None:
    """Cached and reasoning tokens are kept apart; what is not reported stays None."""
    wire = OpenAIWire(1)
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }

    assert [] == wire.read(chunk(usage=usage))
    assert Usage(10, 5, 4, None, 0) == wire.answer.usage


@pytest.mark.parametrize(
    "data",
    [
        b"{not json",
        b"[]",
        b"null",
        chunk("not a choice"),
        chunk(choice("no delta")),
        chunk(choice({"content": 5})),
        chunk(choice({"refusal": 5})),
        chunk(choice({"content": "x"}, index=1)),
        chunk(choice({"content": "x"}, index=-1)),
        chunk(choice({"content": [5]})),
        chunk(choice({"reasoning": 5})),
        chunk({"index": "first", "delta": {"content": "x"}}),
        orjson.dumps({"choices": {"delta": {"content": "x"}}}),
        chunk(choice({"tool_calls": "x"})),
        chunk(choice({"tool_calls": ["x"]})),
        chunk(choice({"tool_calls": [{"index": "x", "function": {"name": "f"}}]})),
        chunk(choice({"tool_calls": [{"index": 0, "function": {"arguments": [5]}}]})),
        chunk(choice({"tool_calls": [{"index": 0, "function": {"name": {}, "arguments": 5}}]})),
        chunk(choice({}, "abort")),
        chunk(choice({}, "error")),
        chunk(choice({}, 7)),  # type: ignore[arg-type]
        orjson.dumps({"error": {"message": "boom"}}),
        orjson.dumps({"error": "boom"}),
        orjson.dumps({"error": {"code": ["boom"]}}),
    ],
)
def test_invalid_chunk_breaks_the_stream(data: bytes) -> None:
    """Malformed chunks, unknown ends and error frames are failures, never silence and never success."""
    with pytest.raises(StreamBroken):
        OpenAIWire(1).read(data)


@pytest.mark.parametrize("usage", ['"x"', "5", "{}", *(f'{{"prompt_tokens": {count}}}' for count in COUNTS)])
def test_invalid_usage_is_unknown(usage: str) -> None:
    """An invalid count is unknown, never a crash or a 0."""
    wire = OpenAIWire(1)
    wire.read(b'{"choices": [], "usage": %b}' % usage.encode())

    assert wire.answer.usage is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "index",
                        "delta",
                        "content",
                        "tool_calls",
                        "function",
                        "usage",
                        "error",
                        "finish_reason",
                    ]
                ),
                children,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_content_or_a_provider_error(data: object) -> None:
    """The chain can handle anything that a provider sends."""
    with suppress(ProviderError):
        OpenAIWire(1).read(orjson.dumps(data))


def test_error_frame_keeps_its_meaning() -> None:
    """An error inside the stream decides as its HTTP status would have."""
    with pytest.raises(ProviderUnavailable):
        OpenAIWire(1).read(orjson.dumps({"error": {"code": "server_error", "message": "x"}}))
    with pytest.raises(ProviderUnavailable):
        OpenAIWire(1).read(orjson.dumps({"error": {"code": None, "type": "server_error", "message": "x"}}))
    with pytest.raises(ProviderRateLimited):
        OpenAIWire(1).read(orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "x"}}))
    with pytest.raises(ContextTooLong):
        OpenAIWire(1).read(orjson.dumps({"error": {"code": "context_length_exceeded", "message": "x"}}))


def test_fields_of_the_chunks_that_are_not_openais_stream_are_kept() -> None:
    """The newest value of each, within bounds; not the id, nor padding."""
    wire = OpenAIWire(1)
    wire.read(chunk(choice({"content": "a"}), service_tier=None, citations=["a"], obfuscation="xx"))
    wire.read(chunk(choice({}), service_tier="flex", citations=["a", "b"]))
    wire.read(chunk(**{f"f{number}": number for number in range(100)}))

    assert {"service_tier": "flex", "citations": ["a", "b"]}.items() <= wire.answer.fields.items()
    assert 50 == len(wire.answer.fields)
    assert not {"id", "object", "obfuscation"} & wire.answer.fields.keys()


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("eos", routerpb.FINISH_REASON_STOP),
        ("eos_token", routerpb.FINISH_REASON_STOP),
        ("stop_sequence", routerpb.FINISH_REASON_STOP),
        ("STOP", routerpb.FINISH_REASON_STOP),
        ("end_turn", routerpb.FINISH_REASON_STOP),
        ("model_length", routerpb.FINISH_REASON_LENGTH),
        ("max_tokens", routerpb.FINISH_REASON_LENGTH),
        ("content_filter", routerpb.FINISH_REASON_CONTENT_FILTER),
        ("SAFETY", routerpb.FINISH_REASON_CONTENT_FILTER),
        ("PROHIBITED_CONTENT", routerpb.FINISH_REASON_CONTENT_FILTER),
        ("content_filter: RECITATION", routerpb.FINISH_REASON_CONTENT_FILTER),
    ],
)
def test_other_words_for_an_end(reason: str, known: int) -> None:
    """Engines that speak OpenAI's wire name the same ends otherwise."""
    wire = OpenAIWire(1)
    wire.read(chunk(choice({"content": "Hi"}, reason)))

    assert {0: known} == wire.answer.finish_reasons


def deltas(*given: object) -> list[object]:
    """Return what these deltas of choice 0 become: texts, and deltas that are not mere text."""
    wire = OpenAIWire(1)
    contents = [content for delta in given for content in wire.read(chunk(choice(delta)))]
    return [orjson.loads(content)[0]["delta"] if isinstance(content, bytes) else content for content in contents]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "text", "text": "a"}], ["a"]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ["ab"]),
        (["a", None, "b"], ["ab"]),
        ({"type": "text", "text": "a"}, ["a"]),
        ([[{"type": "text", "text": "a"}]], ["a"]),
        ([{"type": "text", "text": ""}], []),
        ([{"type": "text", "text": None}], [{"content_parts": [{"type": "text", "text": None}]}]),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}], [{"reasoning_content": "hm"}]),
        ([{"type": "thinking", "thinking": "hm"}], [{"reasoning_content": "hm"}]),
        (
            [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "reference", "ids": [1]}],
            [{"reasoning_content": "hm", "content": "a", "content_parts": [{"type": "reference", "ids": [1]}]}],
        ),
    ],
)
def test_content_as_parts(content: object, expected: list[object]) -> None:
    """Text stays text, thoughts stay thoughts, and nothing is lost."""
    assert expected == deltas({"content": content})


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_nothing_is_said_in_many_ways(nothing: object) -> None:
    """Wherever it stands; beside it, text is as plain as ever."""
    wire = OpenAIWire(2)
    for data in (
        {"choices": nothing, "error": nothing, "usage": nothing},
        {"choices": [nothing]},
        {"choices": [{"index": 0, "delta": nothing, "finish_reason": nothing}]},
        {"choices": [{"index": 0, "delta": {"content": nothing, "tool_calls": nothing, "refusal": nothing}}]},
        {"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": nothing, "extra": nothing}]},
    ):
        assert [] == wire.read(orjson.dumps(data))
    assert {} == wire.answer.finish_reasons

    plain = {"role": "assistant", "content": "Hi", "tool_calls": nothing, "reasoning": nothing}
    both = [{"index": nothing, "delta": plain, "more": nothing}, {"index": nothing, "delta": {"content": "Ho"}}]
    text, other = wire.read(orjson.dumps({"choices": both}))
    assert "Hi" == text
    assert isinstance(other, bytes)
    assert 1 == orjson.loads(other)[0]["index"]


@pytest.mark.parametrize("index", [1, 1.0, "1"])
def test_index_is_a_number_however_it_is_written(index: object) -> None:
    """As a float or as digits."""
    (content,) = OpenAIWire(2).read(chunk({"index": index, "delta": {"content": "Hi"}}))

    assert isinstance(content, bytes)
    assert 1 == orjson.loads(content)[0]["index"]


def test_message_instead_of_deltas() -> None:
    """A message without deltas is the answer; beside deltas, and at their end, it only repeats them."""
    whole = {"role": "assistant", "content": "Hi"}
    assert ["Hi"] == OpenAIWire(1).read(orjson.dumps({"choices": [{"message": whole, "finish_reason": "stop"}]}))

    wire = OpenAIWire(1)
    assert ["H"] == wire.read(chunk(choice({"content": "H"}, message={"content": "H"})))
    assert ["i"] == wire.read(chunk(choice({"content": "i"}, message=whole)))
    assert [] == wire.read(chunk(choice({}, "stop", message=whole)))


def test_a_stop_behind_a_cut_says_nothing_new() -> None:
    """The answer is still cut short; unless there was more of it."""
    wire = OpenAIWire(1)
    wire.read(chunk(choice({"content": "a"}, "length")))
    wire.read(chunk(choice({}, "stop")))
    assert {0: routerpb.FINISH_REASON_LENGTH} == wire.answer.finish_reasons

    wire.read(chunk(choice({"content": "b"}, "stop")))
    assert {0: routerpb.FINISH_REASON_STOP} == wire.answer.finish_reasons
