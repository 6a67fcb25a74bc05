"""Chunks become one message again, however they were cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.assembly import MalformedChunk, assemble

Json = dict[str, Any]


def chunk(delta: Json | None, index: int = 0, **more: object) -> bytes:
    """Write the `choices` array of an OpenAI chunk."""
    return orjson.dumps([{"index": index, "delta": delta, "finish_reason": None, **more}])


def message(*chunks: str | bytes) -> Json:
    """Return the one message of these chunks."""
    ((choice),) = assemble(chunks, 1)
    reported: Json = choice["message"]
    return reported


def call(index: int, arguments: str, **more: object) -> Json:
    """Write one fragment of a tool call."""
    function: Json = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"tool_calls": [{"index": index, **more, "function": function}]}


def test_an_empty_answer_has_no_content() -> None:
    """null and not an empty text, as OpenAI writes it."""
    empty = {"message": {"role": "assistant", "content": None, "refusal": None}, "logprobs": None}

    assert [empty] == assemble([], 1)
    assert [empty, empty] == assemble([chunk({"role": "assistant", "content": None}), chunk(None)], 2)


def test_text_of_both_paths_is_joined_in_order() -> None:
    """The fast path and the whole choice may take turns within one answer."""
    assert "a b c" == message("a", chunk({"content": " b"}), " c")["content"]


def test_fragments_of_tool_calls_become_whole_calls() -> None:
    """Several at once, their fragments mixed; the id and the name come with the first fragment only."""
    reported = message(
        chunk(call(0, "", id="c0", type="function", name="look")),
        chunk(call(0, '{"a"')),
        chunk(call(1, '{"b": ', id="c1", type="function", name="find")),
        chunk(call(0, ": 1}")),
        chunk(call(1, "2}")),
    )

    assert [
        {"id": "c0", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}},
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"b": 2}'}},
    ] == reported["tool_calls"]
    assert reported["content"] is None


def test_a_function_call_of_the_old_kind_is_joined() -> None:
    """Some engines still write it."""
    reported = message(
        chunk({"function_call": {"name": "look", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}})
    )

    assert {"name": "look", "arguments": "{}"} == reported["function_call"]


@pytest.mark.parametrize("field", ["refusal", "reasoning_content", "reasoning"])
def test_texts_beside_the_content_are_joined(field: str) -> None:
    """A refusal and thoughts come in pieces as well."""
    reported = message(chunk({field: "No"}), chunk({field: None}), chunk({field: "."}))

    assert ("No.", None) == (reported[field], reported["content"])


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ({"a": 1, "b": {"c": 1}}, {"a": 2, "b": {"d": 2}}, {"a": 2, "b": {"c": 1, "d": 2}}),
        ({"google": {"thought_signature": "S"}}, {"google": None}, {"google": {"thought_signature": "S"}}),
        ([{"type": "url"}], [{"type": "file"}], [{"type": "url"}, {"type": "file"}]),
        ("one", "two", "two"),
        ([1], 2, 2),
    ],
)
def test_a_field_that_nobody_knows_is_kept(first: object, second: object, joined: object) -> None:
    """Lists and objects grow; of all else the newest counts."""
    assert joined == message(chunk({"field": first}), chunk({"field": None}), chunk({"field": second}))["field"]


def test_pieces_of_reasoning_details_become_one_again() -> None:
    """As OpenRouter takes them back in the next turn: joined by index, signature included."""
    kept = {"type": "reasoning.text", "format": "f", "index": 0}
    reported = message(
        chunk({"reasoning_details": [{**kept, "text": "Hm"}]}),
        chunk({"reasoning_details": [{**kept, "text": ", yes", "signature": None}]}),
        chunk({"reasoning_details": [{**kept, "signature": "SIG"}]}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "y"}]}),
    )

    assert [
        {**kept, "text": "Hm, yes", "signature": "SIG"},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
        {"type": "reasoning.encrypted", "data": "y"},
    ] == reported["reasoning_details"]


def test_a_tool_call_keeps_what_its_vendor_wants_back() -> None:
    """Gemini refuses the next turn without the signature."""
    signature = {"google": {"thought_signature": "SIG"}}
    reported = message(chunk(call(0, "{", id="c", name="look", extra_content=signature)), chunk(call(0, "}")))

    assert [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}, "extra_content": signature}
    ] == reported["tool_calls"]


def test_choices_are_kept_apart() -> None:
    """By index and in its order; one that nobody asked for is left out."""
    choices = assemble(
        [chunk({"content": "b"}, 1), "a", chunk({"content": "x"}, 2), chunk({"content": "B"}, 1), "A"], 2
    )

    assert ["aA", "bB"] == [choice["message"]["content"] for choice in choices]


def test_logprobs_are_joined_token_by_token() -> None:
    """Each list for itself; null is nothing."""
    first = {"content": [{"token": "a"}], "refusal": None}
    (choice,) = assemble(
        [
            chunk({"content": "a"}, logprobs=first),
            chunk({"content": "-"}, logprobs=None),
            chunk({"content": "b"}, logprobs={"content": [{"token": "b"}], "refusal": [{"token": "r"}]}),
        ],
        1,
    )

    assert {"content": [{"token": "a"}, {"token": "b"}], "refusal": [{"token": "r"}]} == choice["logprobs"]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": 5},
        {"refusal": ["No"]},
        {"tool_calls": "look"},
        {"tool_calls": ["look"]},
        {"tool_calls": [{"index": "first"}]},
        {"tool_calls": [{"index": -1}]},
        {"tool_calls": [{"index": 10**12}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]},
        {"function_call": "look"},
        "text",
    ],
)
def test_a_chunk_of_the_wrong_shape_is_one_kind_of_error(delta: Any) -> None:
    """Whatever a provider sends, nothing crashes and no memory is filled."""
    with pytest.raises(MalformedChunk):
        assemble([chunk({"content": "a"}), chunk(delta)], 1)


@pytest.mark.parametrize("data", [b"", b"{", b"7", b"[7]", b"[{}]", b'[{"index":"a"}]', b'[{"index":0,"delta":7}]'])
def test_what_is_no_chunk_is_the_same_kind_of_error(data: bytes) -> None:
    """Also what is no JSON."""
    with pytest.raises(MalformedChunk):
        assemble([data], 1)


@given(st.text(max_size=30), st.data())
def test_texts_give_the_same_message_however_they_are_cut(text: str, data: st.DataObject) -> None:
    """In any pieces, on either path."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    paths = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    chunks = [p if fast else chunk({"content": p}) for p, fast in zip(pieces, paths, strict=True)]

    assert text == (message(*chunks)["content"] or "")


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3), st.data())
def test_tool_calls_give_the_same_message_however_they_are_cut(arguments: list[str], data: st.DataObject) -> None:
    """In any pieces, the fragments of several calls in any mixture."""
    left = list(arguments)
    chunks = [chunk(call(number, "", id=f"c{number}", name="look")) for number in range(len(arguments))]
    while any(left):
        number = data.draw(st.sampled_from([number for number, rest in enumerate(left) if rest]))
        length = data.draw(st.integers(1, len(left[number])))
        chunks.append(chunk(call(number, left[number][:length])))
        left[number] = left[number][length:]

    assert arguments == [reported["function"]["arguments"] for reported in message(*chunks)["tool_calls"]]


def test_what_only_its_engine_says_of_a_choice_is_kept() -> None:
    """Lists grow, of all else the newest value counts; each choice has its own."""
    chunks = [
        chunk({"content": "a"}, token_ids=[1, 2], stop_reason=None),
        chunk({"content": "b"}, token_ids=[3], filters={"hate": 0}),
        chunk({}, token_ids=None, stop_reason="END", filters={"violence": 0}),
        chunk({"content": "c"}, index=1, stop_reason=7),
    ]
    first, second = assemble(chunks, 2)

    assert ([1, 2, 3], "END", {"hate": 0, "violence": 0}) == (
        first["token_ids"],
        first["stop_reason"],
        first["filters"],
    )
    assert {"message", "logprobs", "stop_reason"} == second.keys()


def test_the_input_of_a_custom_tool_is_joined() -> None:
    """It has a text in place of a function."""
    reported = message(
        chunk({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SEL"}}]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "ECT"}}]}),
    )

    assert [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}] == reported["tool_calls"]
