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
COUNTS = ['"5"', "true", "-1", "1.5", "1" + "0" * 20]


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
        choice({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]}),
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
        chunk({"delta": {"content": "no index"}}),
        chunk(choice({"content": 5})),
        chunk(choice({"refusal": 5})),
        chunk(choice({"content": ["x"]}, logprobs={"content": []})),
        chunk(choice({"content": "x"}, index=1)),
        chunk(choice({"content": "x"}, index=-1)),
        chunk(choice({"tool_calls": "x"})),
        chunk(choice({"tool_calls": [{"index": 10**12}]})),
        chunk(choice({"tool_calls": [{"index": 0, "function": {"arguments": {}}}]})),
        chunk(choice({}, "abort")),
        chunk(choice({}, "error")),
        chunk(choice({}, "")),
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
