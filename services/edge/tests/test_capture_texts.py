"""What is captured has neither personal data nor secrets in it, wherever they stand, and no more text than is kept."""

from __future__ import annotations

import itertools
import pickle
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.assembly import MessagesEvent
from edge.capture.texts import MAX_TEXT_BYTES, Source, read_texts

EMAIL, CARD, PHONE = "ada.love@lovelace.org", "4111 1111 1111 1111", "+49 30 901820"
KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
PLANTED = (EMAIL, CARD, KEY)


def prompt_of(body: Any) -> str:
    """Return what is kept of a body."""
    return read_texts(Source(orjson.dumps(body))).prompt


def answer_of(*chunks: str | bytes) -> list[dict[str, Any]]:
    """Return the parts that are kept of an answer."""
    kept = read_texts(Source(b"{}", chunks)).answer
    parts: list[dict[str, Any]] = orjson.loads(kept)
    return parts


def choice(index: int = 0, **delta: Any) -> bytes:
    """Return a chunk that is more than text."""
    return orjson.dumps([{"index": index, "delta": delta, "finish_reason": None}])


def test_a_conversation_is_kept_as_the_router_gets_it_but_for_who_is_in_it() -> None:
    """A placeholder names the kind of what stood there, and nothing leads back: not even that two were the same."""
    body = {"messages": [{"role": "user", "content": f"I am {EMAIL}, not bob@builders.net; again {EMAIL}; {KEY}"}]}

    kept = prompt_of({**body, "temperature": 0.5})

    text = "I am [EMAIL], not [EMAIL]; again [EMAIL]; [GITHUB_TOKEN]"
    assert {"messages": [{"role": "user", "content": text}], "temperature": 0.5} == orjson.loads(kept)


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "X", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "X", "text": "hi"}]}]},
        {"messages": [{"role": "tool", "tool_call_id": "X", "content": "hi"}]},
        {"messages": [{"role": "tool", "id": "X", "function": {"name": "X", "arguments": '{"to": "X"}'}}]},
        {"messages": [{"role": "assistant", "arguments": '{"to": "{\\"deep\\": \\"X\\"}"}'}]},
        {"messages": [{"role": "assistant", "arguments": '{"cut": "X'}]},
        {"tools": [{"function": {"parameters": {"properties": {"X": {"type": "string"}}}}}]},
        {"X": 1},
        {"a": {"b": [[["X"]]]}},
        {"metadata": {"user": "X"}},
        {"input": ["one", "X"]},
        ["X"],
        "X",
    ],
)
def test_no_place_is_exempt(body: Any, planted: str) -> None:
    """Neither words of a contract nor ids, names of fields, arguments of calls or what is in these."""
    filled = orjson.loads(orjson.dumps(body).replace(b"X", planted.encode()))

    kept = prompt_of(filled)

    assert planted not in kept
    assert "[" in kept


@pytest.mark.parametrize("number", [4111111111111111, 4111111111111111.0, -4111111111111111])
def test_a_number_may_be_a_cards(number: float) -> None:
    """Without quotes it is found as well; a short one stays what it is."""
    kept = orjson.loads(prompt_of({"card": number, "age": 36, "share": 0.25, "is": True, "none": None}))

    assert "[CARD]" in kept.pop("card")
    assert {"age": 36, "share": 0.25, "is": True, "none": None} == kept


@pytest.mark.parametrize("written", ["ada.love\\u0040lovelace.org", "ada.love\\\\u0040lovelace.org"])
@pytest.mark.parametrize("frame", ['{{"to": "{}"}}', '{{"to": "{}', "mail to {}"])
def test_escapes_hide_nothing(frame: str, written: str) -> None:
    """In arguments that are JSON, in those that broke off, and in any text."""
    kept = prompt_of({"arguments": frame.format(written)})

    assert "lovelace" not in kept
    assert "[EMAIL]" in kept


def test_bytes_are_not_kept() -> None:
    """An image is no text; and what looks like one is not looked into."""
    image = "data:image/png;base64," + "iVBOR" * 400

    kept = orjson.loads(
        prompt_of({"content": [{"image_url": {"url": image}}, {"data": "A" * 5000}, {"data": "A" * 9}]})
    )

    assert [{"image_url": {"url": "[BINARY, 2022 characters]"}}, {"data": "[BINARY, 5000 characters]"}] == kept[
        "content"
    ][:2]
    assert {"data": "A" * 9} == kept["content"][2]


def test_an_answer_is_put_together_before_it_is_looked_at() -> None:
    """However it was cut into chunks: text, thoughts, calls of tools, and each choice by itself."""
    chunks: list[str | bytes] = [
        *("Write to ada.lo", "ve@lovel", "ace.org."),
        choice(reasoning_content="She is ada.love@"),
        choice(reasoning_content="lovelace.org"),
        choice(1, content="Ask ada.love@lovelace"),
        choice(1, content=".org"),
        choice(
            tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "send", "arguments": '{"to": "ada.love'}}]
        ),
        choice(tool_calls=[{"index": 0, "function": {"arguments": '@lovelace.org"}'}}]),
    ]

    assert [
        {"choice": 0, "part": "content", "text": "Write to [EMAIL]."},
        {"choice": 0, "part": "reasoning_content 0", "text": "She is [EMAIL]"},
        {"choice": 1, "part": "content", "text": "Ask [EMAIL]"},
        {"choice": 0, "part": "function name 0", "text": "send"},
        {"choice": 0, "part": "function arguments 0", "text": '{"to":"[EMAIL]"}'},
    ] == answer_of(*chunks)


def test_what_spells_an_answer_out_is_not_kept() -> None:
    """Tokens one by one are personal data that no rule knows."""
    tokens = [{"token": each, "bytes": [*each.encode()], "top_logprobs": []} for each in ("ada.love", "@love", "lace")]
    chunk = [{"index": 0, "delta": {"content": EMAIL}, "logprobs": {"content": tokens}, "token_ids": [1, 2]}]

    assert [{"choice": 0, "part": "content", "text": "[EMAIL]"}] == answer_of(orjson.dumps(chunk))


def test_an_answer_in_the_form_of_messages_is_kept() -> None:
    """What only its events say: thoughts, and the tools that are called."""
    block = {"type": "tool_use", "id": "t", "name": "send", "input": {}}
    deltas = [
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "to ada.love@"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "lovelace.org"}},
        {"type": "content_block_start", "content_block": block},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"to": "ada.love@love'}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": 'lace.org"}'}},
    ]

    parts = answer_of("Hi", *(MessagesEvent(orjson.dumps(each)) for each in deltas))

    kept = {part["part"]: part["text"] for part in parts}
    assert ("Hi", "to [EMAIL]", '{"to":"[EMAIL]"}') == (kept["content"], kept["thinking 0"], kept["partial_json 1"])
    assert "send" in kept["block"]


def test_what_broke_off_is_kept_as_far_as_it_came() -> None:
    """Half a chunk, and a chunk of another shape, are no reason to lose the rest."""
    parts = answer_of("Hello ", b'[{"index": 0, "del', b"7", b'[{"index": "x", "delta": {"tool_calls": [7]}}]', "Ada")

    assert [{"choice": 0, "part": "content", "text": "Hello Ada"}] == parts


def test_the_texts_have_an_end_and_say_so() -> None:
    """256 KiB of each, in whole letters."""
    long = "ä " * MAX_TEXT_BYTES

    kept = read_texts(Source(orjson.dumps({"messages": [long]}), [long, long]))
    short = read_texts(Source(b'{"messages": ["hi"]}', ["Hello"], is_cut=True))

    assert (True, True) == (kept.prompt_cut, kept.answer_cut)
    for text in (kept.prompt, kept.answer):
        assert MAX_TEXT_BYTES - 3 <= len(text.encode()) <= MAX_TEXT_BYTES
    assert (False, True) == (short.prompt_cut, short.answer_cut)


@pytest.mark.parametrize("before", range(0, 60, 3))
def test_what_is_cut_in_the_middle_is_found_as_a_whole(before: int) -> None:
    """Half a secret at the end of what is kept would be one that no rule knows."""
    secret = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkq\n" * 200 + "-----END PRIVATE KEY-----"
    for planted in (EMAIL, CARD, KEY, secret):
        text = "x " * ((MAX_TEXT_BYTES - 20) // 2 - before) + planted + " and so on" * 10_000

        kept = read_texts(Source(orjson.dumps([text]))).prompt

        assert planted[:12] not in kept[-100:]


def test_many_fields_without_a_text_are_cut_too() -> None:
    """The end counts for all that is kept."""
    kept = read_texts(Source(orjson.dumps({"input": [[1, 2, 3]] * 200_000})))

    assert kept.prompt_cut
    assert MAX_TEXT_BYTES == len(kept.prompt)


def test_a_long_request_takes_time_in_proportion() -> None:
    """No text makes it slow: neither many JSONs within each other nor signs that begin something."""
    nested: Any = "x"
    for _ in range(15):
        nested = orjson.dumps([nested]).decode()
    for text in (
        nested,
        "[" * 100_000,
        "\\" * 200_000,
        "a@" * 100_000,
        "4111 " * 50_000,
        '{"' * 50_000,
        "+49 " * 60_000,
    ):
        began = time.perf_counter()
        read_texts(Source(orjson.dumps([text] * 3)))
        assert time.perf_counter() - began < 20, text[:10]


def test_what_a_reader_process_gets_is_what_it_was() -> None:
    """Chunks keep their kinds on the way."""
    event = MessagesEvent(b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}')
    source = pickle.loads(pickle.dumps(Source(b"{}", ["a", b"[]", event], True)))  # noqa: S301 - our own

    assert [str, bytes, MessagesEvent] == [type(chunk) for chunk in source.chunks]
    assert "Hi" in read_texts(source).answer


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


@given(body=_JSON, place=st.integers(0, 100), planted=st.sampled_from(PLANTED))
def test_whatever_is_asked_nothing_planted_is_kept(body: Any, place: int, planted: str) -> None:
    """In any JSON, at any place, also as JSON in a text."""
    texts = [{"here": f" {planted} "}, orjson.dumps({"here": f" {planted} "}).decode(), {f" {planted} ": body}]

    kept = prompt_of([body, texts[place % 3], body])

    assert planted not in kept


@given(cuts=st.sets(st.integers(1, 60)), planted=st.sampled_from(PLANTED))
def test_whatever_is_answered_nothing_planted_is_kept(cuts: set[int], planted: str) -> None:
    """However it is cut."""
    text = f"You are {planted} "
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]

    parts = answer_of(*(text[start:end] for start, end in itertools.pairwise(places)))

    assert planted not in parts[0]["text"]
    assert parts[0]["text"].startswith("You are [")
