"""What a prompt is estimated at: text by its bytes, everything else by what it is and never by its base64."""

from __future__ import annotations

import base64
import os
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.estimate import estimate_input_tokens, estimate_prompt_tokens, estimate_tokens

MEGABYTE = 1_000_000
# What an image of unknown size counts as, and a page of a PDF.
IMAGE, PAGE = 1600, 2400


def png(width: int, height: int, size_bytes: int = 100) -> str:
    """Return the base64 of a PNG of this size; what is behind its header does not compress."""
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(header + os.urandom(size_bytes - len(header))).decode()


def picture(width: int, height: int, size_bytes: int = 100, **fields: Any) -> dict[str, Any]:
    """Return a part with a picture."""
    url = f"data:image/png;base64,{png(width, height, size_bytes)}"
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def user(content: object) -> dict[str, Any]:
    """Return a body of one message."""
    return {"messages": [{"role": "user", "content": content}]}


def in_parts(*parts: object) -> int:
    """Return the estimate of a message of these parts."""
    return estimate_prompt_tokens(user(list(parts)))


@pytest.mark.parametrize(("size_bytes", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (4_000_001, 1_000_001)])
def test_an_estimate_rounds_up(size_bytes: int, tokens: int) -> None:
    """Four bytes a token; a text that is there has at least one, none has none."""
    assert tokens == estimate_tokens(size_bytes)


@pytest.mark.parametrize(
    ("embedded", "tokens"),
    [("", 0), ("abcde", 2), ("ünï", 2), ([5, 6, 7], 3), (["abcd", "abcde"], 3), ([[1], [2, 3]], 3), ([], 0)],
)
def test_the_input_of_embeddings_is_estimated_or_counted(embedded: str | list[Any], tokens: int) -> None:
    """Texts by their bytes, each by itself; tokens by their number."""
    assert tokens == estimate_input_tokens(embedded)


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ({"role": "user", "content": "x" * 40}, 10),
        ({"role": "user", "content": "ü" * 20}, 10),
        ({"role": "user", "content": [{"type": "text", "text": "x" * 21}, {"type": "text", "text": "x" * 19}]}, 10),
        ({"role": "user", "name": "x" * 4, "content": "x" * 36}, 10),
        ({"role": "assistant", "content": None, "refusal": "x" * 40}, 10),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "x" * 40}]}, 10),
        ({"role": "assistant", "content": "x" * 20, "reasoning_content": "x" * 20}, 10),
        ({"role": "tool", "tool_call_id": "call_1", "content": "x" * 40}, 10),
    ],
)
def test_the_text_of_a_message_counts_wherever_it_stands(message: dict[str, Any], tokens: int) -> None:
    """Content, parts, name, refusal, reasoning, the result of a tool; rounded up once for the whole prompt."""
    assert tokens == estimate_prompt_tokens({"messages": [message]})


def test_messages_are_rounded_up_together() -> None:
    """A hundred messages of one byte are 25 tokens, not a hundred."""
    assert 25 == estimate_prompt_tokens({"messages": [{"role": "user", "content": "x"}] * 100})


def test_tool_calls_count_by_name_and_arguments() -> None:
    """Also without a content, the older form of a single call, and custom tools."""
    call = {"id": "call_1", "type": "function", "function": {"name": "x" * 8, "arguments": "x" * 32}}
    custom = {"id": "call_2", "type": "custom", "custom": {"name": "x" * 8, "input": "x" * 32}}

    assert 10 == estimate_prompt_tokens({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert 20 == estimate_prompt_tokens({"messages": [{"role": "assistant", "tool_calls": [call, custom]}]})
    assert 10 == estimate_prompt_tokens({"messages": [{"role": "assistant", "function_call": call["function"]}]})


def test_schemas_count_by_their_json() -> None:
    """Tools, the older functions, and the schema of the answer."""
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    size = len(orjson.dumps(tools))

    assert estimate_tokens(size) == estimate_prompt_tokens({"messages": [], "tools": tools})
    assert estimate_tokens(size) == estimate_prompt_tokens({"messages": [], "functions": tools})
    assert estimate_tokens(size) == estimate_prompt_tokens(
        {"messages": [], "response_format": {"type": "json_schema", "json_schema": tools}}
    )
    assert 0 == estimate_prompt_tokens({"messages": [], "response_format": {"type": "json_object"}})


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1, 1, 85),
        (200, 200, 85),
        (1000, 1000, 1334),
        (1092, 1092, 1590),
        (1568, 784, 1600),
        (4000, 3000, 1600),
        (3136, 400, 419),  # scaled to 1568 x 200
    ],
)
def test_an_image_counts_by_its_pixels(width: int, height: int, tokens: int) -> None:
    """Anthropic's published examples, the least and the most."""
    assert tokens == in_parts(picture(width, height))


def test_a_picture_of_a_megabyte_is_the_same_as_a_small_file_with_as_many_pixels() -> None:
    """Bytes do not count: it was 4 tokens at one place and 250,037 at another."""
    assert 1399 == in_parts(picture(1024, 1024, MEGABYTE))
    assert 1399 == in_parts(picture(1024, 1024, MEGABYTE, detail="high"))
    assert 1399 == in_parts(picture(1024, 1024))
    assert 85 == in_parts(picture(1024, 1024, MEGABYTE, detail="low"))


@pytest.mark.parametrize(
    "image",
    [
        {"url": "https://example.com/a.png"},
        "https://example.com/a.png",
        {"url": "data:image/heic;base64," + "A" * MEGABYTE},
        {"url": "data:image/svg+xml;utf8," + "A" * MEGABYTE},
        {"url": "data:image/png;base64,"},
        {"url": 5},
        {},
        None,
        5,
    ],
)
def test_an_image_whose_size_is_not_known_counts_as_a_photograph(image: object) -> None:
    """By reference, in a format that is not read, malformed."""
    assert IMAGE == in_parts({"type": "image_url", "image_url": image})


def test_images_in_anthropics_form_count_alike() -> None:
    """As base64, by reference; inside the result of a tool too."""
    source = {"type": "base64", "media_type": "image/png", "data": png(1000, 1000, MEGABYTE)}
    image = {"type": "image", "source": source}

    assert 1334 == in_parts(image)
    assert 1334 == in_parts({"type": "tool_result", "tool_use_id": "t", "content": [image]})
    assert IMAGE == in_parts({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})
    assert IMAGE == in_parts({"type": "image", "source": {"type": "file", "file_id": "file_1"}})


@pytest.mark.parametrize(
    ("size_bytes", "pages"),
    [(1, 1), (100_000, 1), (100_001, 2), (MEGABYTE, 10), (9_900_001, 100), (20 * MEGABYTE, 100)],
)
def test_a_pdf_counts_by_the_pages_that_its_size_suggests(size_bytes: int, pages: int) -> None:
    """In OpenAI's form and in Anthropic's."""
    data = base64.b64encode(bytes(size_bytes)).decode().rstrip("=")
    source = {"type": "base64", "media_type": "application/pdf", "data": data}

    assert pages * PAGE == in_parts(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}}
    )
    assert pages * PAGE == in_parts({"type": "document", "source": source})


def test_a_file_by_reference_counts_as_ten_pages() -> None:
    """Its size is not known."""
    assert 10 * PAGE == in_parts({"type": "file", "file": {"file_id": "file-1"}})
    assert 10 * PAGE == in_parts({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}})
    assert 10 * PAGE == in_parts({"type": "file", "file": None})


def test_a_file_of_text_counts_as_its_text() -> None:
    """As base64, as text, as nested content."""
    data = base64.b64encode(b"x" * 300).decode()

    assert 75 == in_parts({"type": "file", "file": {"file_data": f"data:text/plain;base64,{data}"}})
    assert 75 == in_parts({"type": "document", "source": {"type": "text", "data": "x" * 300}})
    assert 75 == in_parts({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": data}})
    assert 75 == in_parts({"type": "document", "source": {"type": "content", "content": "x" * 300}})


@pytest.mark.parametrize(("form", "tokens"), [("wav", 300), ("mp3", 600)])
def test_audio_counts_by_its_size(form: str, tokens: int) -> None:
    """Ten tokens a second: 30 s of WAV, 60 s of MP3."""
    data = base64.b64encode(bytes(960_000)).decode()

    assert tokens == in_parts({"type": "input_audio", "input_audio": {"data": data, "format": form}})


def test_other_parts_of_anthropics_count_by_their_text() -> None:
    """Thinking, calls and results of tools, the system prompt beside the messages."""
    assert 10 == in_parts({"type": "thinking", "thinking": "x" * 40, "signature": "A" * 4000})
    assert 10 == in_parts({"type": "tool_use", "id": "t", "name": "x" * 20, "input": {"place": "Paris66"}})
    assert 10 == in_parts({"type": "tool_result", "tool_use_id": "t", "content": "x" * 40})
    assert 10 == estimate_prompt_tokens({"system": "x" * 40, "messages": []})
    assert 10 == estimate_prompt_tokens({"system": [{"type": "text", "text": "x" * 40}], "messages": []})


def test_a_part_of_an_unknown_type_counts_by_its_json_without_its_base64() -> None:
    """Text counts, a file counts as an image, and a long text is not taken for a file."""
    assert estimate_tokens(len("typenovelwords") + 1000) == in_parts({"type": "novel", "words": "x" * 1000})
    assert 1605 == in_parts({"type": "video", "video": {"data": base64.b64encode(bytes(MEGABYTE)).decode()}})
    assert 1603 == in_parts({"type": "video", "url": "data:video/mp4;base64," + "A" * MEGABYTE})
    assert 50_000 < in_parts({"type": "novel", "words": "one word and another. " * 10_000})


def test_text_that_looks_like_base64_is_text_where_text_belongs() -> None:
    """A provider reads it as text and bills it as text."""
    assert 250_000 == in_parts({"type": "text", "text": "A" * MEGABYTE})
    assert 250_000 == estimate_prompt_tokens(user("A" * MEGABYTE))
    assert 250_000 == estimate_prompt_tokens({"messages": [{"role": "user", "content": "", "name": "A" * MEGABYTE}]})


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning": "A" * MEGABYTE},
        {"reasoning_details": [{"type": "reasoning.text", "text": "A" * MEGABYTE}]},
        {"context": {"passages": ["A" * MEGABYTE]}},
        {"role": "A" * MEGABYTE},
        {"role": ["A" * MEGABYTE]},
        {"tool_call_id": "A" * MEGABYTE},
        {"tool_calls": [{"id": "A" * MEGABYTE}]},
        {"tool_calls": [{"novel": "A" * MEGABYTE}]},
        {"tool_calls": [{"function": {"name": "f", "parameters": {"a": "A" * MEGABYTE}}}]},
        {"content": [{"type": "text", "text": "", "novel": "A" * MEGABYTE}]},
        {"content": [{"type": "input_text", "text": "A" * MEGABYTE}]},
        {"content": [{"type": "document", "title": "A" * MEGABYTE, "source": {"type": "text", "data": ""}}]},
        {"content": [{"type": "document", "context": "A" * MEGABYTE, "source": {"type": "text", "data": ""}}]},
        {"content": [{"type": "file", "file": {"filename": "A" * MEGABYTE, "file_id": "f"}}]},
        {"content": [{"type": "tool_use", "id": "A" * MEGABYTE, "input": {}}]},
    ],
    ids=lambda message: next(iter(message)),
)
def test_what_stands_in_any_other_field_of_a_message_counts_as_text(message: dict[str, Any]) -> None:
    """A chat template may read it; nobody gets past the limit with a field that we do not know."""
    tokens = estimate_prompt_tokens({"messages": [message]})

    assert MEGABYTE // 4 <= tokens <= MEGABYTE // 4 + 10 * PAGE + 10


@pytest.mark.parametrize(
    "body",
    [
        {"documents": [{"title": "a", "text": "A" * MEGABYTE}]},
        {"instructions": "A" * MEGABYTE},
        {"prediction": {"type": "content", "content": "A" * MEGABYTE}},
        {"chat_template_kwargs": {"context": "A" * MEGABYTE}},
        {"tool_choice": "A" * MEGABYTE},
        {"tool_choice": {"type": "function", "function": {"name": "A" * MEGABYTE}}},
        {"response_format": {"type": "grammar", "grammar": "A" * MEGABYTE}},
        {"response_format": "A" * MEGABYTE},
        {"output_config": {"format": {"type": "json_schema", "schema": {"title": "A" * MEGABYTE}}}},
    ],
    ids=lambda body: next(iter(body)),
)
def test_what_stands_in_any_other_field_of_the_body_counts_as_text(body: dict[str, Any]) -> None:
    """Schemas in Anthropic's form, documents of vLLM, fields of tomorrow."""
    assert MEGABYTE // 4 <= estimate_prompt_tokens({"messages": [], **body}) <= MEGABYTE // 4 + 20


def test_what_no_model_reads_does_not_count() -> None:
    """Options, labels, signatures, identifiers of ordinary length: they are in every request of an agent."""
    options = {
        "model": "m",
        "stream": True,
        "temperature": 0.5,
        "max_tokens": 5,
        "top_k": 4,
        "stop": ["x" * 40],
        "metadata": {"a": "x" * 400},
        "user": "x" * 400,
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "output_config": {"effort": "high"},
        "new": 5,
        "logit_bias": {"5": 1},
        "prompt_cache_key": "x" * 400,
        "prediction": None,
    }
    call = {
        "id": "call_" + "x" * 24,
        "index": 0,
        "type": "function",
        "function": {"name": "x" * 8, "arguments": ""},
        "extra_content": {"google": {"thought_signature": "A" * 4000}},
    }
    cached = {"type": "text", "text": "x" * 32, "cache_control": {"type": "ephemeral"}, "citations": None}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": [], "audio": None},
        {"role": "tool", "tool_call_id": "call_" + "x" * 24, "content": [cached]},
    ]

    assert 10 == estimate_prompt_tokens({**options, "messages": messages})


FIELDS = [
    *("type", "text", "refusal", "thinking", "image_url", "source", "file", "input_audio", "content", "name", "input"),
    *("url", "detail", "data", "file_data", "media_type", "format", "function", "arguments", "custom", "json_schema"),
    *("messages", "tools", "functions", "system", "response_format", "tool_calls", "function_call", "role"),
    *("output_config", "tool_choice", "title", "filename", "tool_call_id", "id", "novel", "parameters"),
]
TYPES = ["text", "image_url", "image", "file", "document", "input_audio", "tool_use", "tool_result", "low", "content"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.sampled_from([*TYPES, "data:;base64,", "data:image/png;base64,iVBORw0KGgo", "https://a"]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=15,
)
PARTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)
MESSAGES = st.builds(
    lambda kind, part, calls: {"content": [{**part, "type": kind}], "tool_calls": calls},
    st.sampled_from(TYPES),
    PARTS,
    JSON,
)


@given(JSON, st.lists(JSON | MESSAGES, max_size=3))
def test_no_json_makes_it_raise(value: Any, messages: list[Any]) -> None:
    """Any value at any place: lone surrogates, huge numbers, parts without what their type promises."""
    rest = value if isinstance(value, dict) else {"tools": value, "system": value, "response_format": value}

    assert estimate_prompt_tokens({**rest, "messages": messages}) >= 0


@pytest.mark.parametrize("field", ["messages", "tools", "functions", "system", "response_format"])
@pytest.mark.parametrize("name", ["content", "json_schema", "input"])
def test_a_deep_body_is_measured_without_recursion(field: str, name: str) -> None:
    """Deeper than Python's own stack, in lists and objects, at the places where contents nest."""
    body: Any = "x" * 40
    for _ in range(5_000):
        body = [{"type": "tool_result", name: body}]

    assert estimate_prompt_tokens({field: body}) >= 0
    assert estimate_prompt_tokens({field: [{"role": "user", "content": body}]}) >= 0
    assert estimate_prompt_tokens({field: {"json_schema": body}}) >= 0


@pytest.mark.parametrize(
    "body",
    [
        user("word " * 200_000),
        user([{"type": "text", "text": "word"}] * 20_000),
        user([picture(1024, 1024, 2000)] * 5_000),
        user([{"type": "novel", "words": ["word"] * 10} for _ in range(5_000)]),
        {"messages": [{"role": "user", "content": "word"}] * 20_000},
    ],
    ids=["text", "parts", "pictures", "unknown", "messages"],
)
def test_twice_the_prompt_takes_twice_the_time(body: dict[str, Any]) -> None:
    """A large body costs a fraction of the time that parsing it does, and never grows faster than it."""
    messages = body["messages"]
    once, twice = (min(_seconds({"messages": messages * times}) for _ in range(5)) for times in (1, 2))

    assert once < 0.2
    assert twice < 4 * once + 0.01


def _seconds(body: dict[str, Any]) -> float:
    started = time.process_time()
    estimate_prompt_tokens(body)
    return time.process_time() - started
