"""Replies with vectors: what is read, and what is no answer."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from llm_router.errors import ContextTooLong, ProviderUnavailable, StreamBroken
from llm_router.providers.openai.embeddings import EmbeddingsAnswer
from pricing.usage import Usage


def item(index: Any, embedding: Any) -> dict[str, Any]:
    """Return one element of `data`."""
    return {"object": "embedding", "index": index, "embedding": embedding}


def packed(*numbers: float) -> bytes:
    """Return little-endian float32."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def as_base64(*numbers: float) -> str:
    """Return the text of `packed`."""
    return base64.b64encode(packed(*numbers)).decode()


def read(inputs: int, data: Any, **fields: Any) -> EmbeddingsAnswer:
    """Read a reply."""
    answer = EmbeddingsAnswer()
    answer.read(orjson.dumps({"object": "list", "data": data, "model": "m-1", **fields}), inputs)
    return answer


def test_vectors_are_ordered_by_index_and_both_forms_are_the_same_bytes() -> None:
    """Base64 and numbers may even be mixed; a decimal becomes the nearest float32."""
    answer = read(3, [item(2, [0.1, -1]), item(0, as_base64(0.1, -1.0)), item(1, [1e-46, 3e38])])

    assert [packed(0.1, -1.0), packed(0.0, 3e38), packed(0.1, -1.0)] == answer.vectors
    assert "m-1" == answer.response_model
    assert answer.usage is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 3}, Usage(7, 0)),
        ({"prompt_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": "seven"}, None),
        ({"prompt_tokens": "7"}, Usage(7, 0)),
        ({"total_tokens": 7}, Usage(7, 0)),
        ({}, None),
        (None, None),
        ("many", None),
    ],
)
def test_usage_is_the_prompts_tokens_and_no_output(usage: Any, expected: Usage | None) -> None:
    """An invalid count is unknown."""
    assert expected == read(1, [item(0, [1.0])], usage=usage).usage


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        [item(0, [1.0])],
        [item(0, [1.0]), item(1, [1.0]), item(2, [1.0])],
        [item(0, [1.0]), item(0, [1.0])],
        [item(0, [1.0]), item(2, [1.0])],
        [item(0, [1.0]), item(-1, [1.0])],
        [item(0, [1.0]), item(True, [1.0])],
        [item(0, [1.0]), item("one", [1.0])],
        [item(None, [1.0]), item(0, [1.0])],
        [item(0, [1.0]), None],
        [item(0, [1.0]), item(1, [1.0, 2.0])],
        [item(0, []), item(1, [])],
        [item(0, ""), item(1, "")],
        [item(0, [1.0]), item(1, ["1.0"])],
        [item(0, [1.0]), item(1, [None])],
        [item(0, [1.0]), item(1, [1e39])],
        [item(0, [1.0]), item(1, None)],
        [item(0, [1.0]), item(1, 5)],
        [item(0, [1.0]), item(1, {"a": 1})],
        [item(0, as_base64(1.0)), item(1, as_base64(float("nan")))],
        [item(0, as_base64(1.0, 1.0)), item(1, as_base64(float("inf"), float("-inf")))],
        [item(0, as_base64(1.0)), item(1, "AAA=")],
        [item(0, as_base64(1.0)), item(1, "no base64!")],
        [item(0, as_base64(1.0)), item(1, "ünicode=")],
    ],
)
def test_anything_but_one_good_vector_an_input_is_broken(data: Any) -> None:
    """Never a vector in the wrong row, of the wrong length, or with a number that is not finite."""
    answer = EmbeddingsAnswer()
    with pytest.raises(StreamBroken):
        answer.read(orjson.dumps({"data": data, "model": "m-1", "usage": {"prompt_tokens": 3}}), 2)

    assert ([], "m-1", Usage(3, 0)) == (answer.vectors, answer.response_model, answer.usage)


@pytest.mark.parametrize(("first", "second"), [(0.0, 1.0), ("0", "1"), (None, None), ("", 1)])
def test_an_index_may_be_written_in_many_ways(first: Any, second: Any) -> None:
    """As a float, as digits, or not at all: then the order counts."""
    assert (
        read(2, [item(0, [1.0]), item(1, [2.0])]).vectors == read(2, [item(first, [1.0]), item(second, [2.0])]).vectors
    )


def test_a_bad_character_costs_no_vectors() -> None:
    """It is replaced where it stands."""
    answer = EmbeddingsAnswer()
    answer.read(b'{"model": "m\\u0000\\ud800", "data": [{"index": 0, "embedding": [1.0]}]}', 1)

    assert "m\ufffd\ufffd" == answer.response_model


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
def test_reply_that_is_no_object_is_broken(body: bytes) -> None:
    """A proxy in front of the engine may answer 200 with a page of its own."""
    with pytest.raises(StreamBroken):
        EmbeddingsAnswer().read(body, 1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "context_length_exceeded"}, ContextTooLong),
        ({"code": 503}, ProviderUnavailable),
        ({"message": "out of memory"}, StreamBroken),
        ("out of memory", StreamBroken),
    ],
)
def test_error_under_status_200_is_an_error(error: Any, kind: type[Exception]) -> None:
    """It is read as in a stream."""
    with pytest.raises(kind):
        EmbeddingsAnswer().read(orjson.dumps({"error": error}), 1)
