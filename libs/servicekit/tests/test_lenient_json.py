"""One bad character costs no document; what is no JSON stays none."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.lenient_json import clean_text, loads


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"a\\ud83db"', "a\ufffdb"),
        (b'"\\ude00\\ud83d"', "\ufffd\ufffd"),
        (b'{"\\udc00": ["\\ud800"]}', {"\ufffd": ["\ufffd"]}),
        (b'"a\\u0000b"', "a\ufffdb"),
        (b'"a\x00b"', "a\ufffdb"),
        (b'"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
        (b'"a\xffb"', "a\ufffdb"),
        (b'"tab\there"', "tab\there"),
        (b"[NaN, Infinity, -Infinity]", [None, None, None]),
        (b"[1e999, -1e999]", [None, None]),
        (b'["\\u0000", 18446744073709551615, -9223372036854775808]', ["\ufffd", 2**64 - 1, -(2**63)]),
        (b'["\\u0000", 100000000000000000000, ' + b"9" * 400 + b"]", ["\ufffd", 1e20, None]),
    ],
)
def test_what_cannot_be_used_is_replaced(data: bytes, expected: Any) -> None:
    """Lone surrogates, NUL, bytes that are no UTF-8, control characters, NaN."""
    assert expected == loads(data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b'{"a": "\\ud800', b"{not json}", b"[" * 100_000, b'["\\u0000", ' + b"9" * 5000),
        *(b"[" * 201 + b"]" * 201, b'{"a":' * 500 + b"1" + b"}" * 500, b'["\\u0000", ' * 300 + b"]" * 300),
    ],
)
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ValueError, match=r".*"):
        loads(data)


@given(st.text())
def test_what_is_read_can_be_written(text: str) -> None:
    """As UTF-8 and without NUL; good characters stay as they are."""
    assert clean_text(text) == loads(json.dumps(text).encode())
    assert "\0" not in clean_text(text)
    assert clean_text(text).encode().decode() == clean_text(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_good_text_is_untouched(text: str) -> None:
    """Character by character."""
    assert text == loads(json.dumps(text).encode()) == clean_text(text)


@pytest.mark.parametrize("begin", [b"[", b'{"a":', b'["\\u0000",'])
def test_what_is_as_deep_as_allowed_can_be_wrapped_and_written(begin: bytes) -> None:
    """In fifty levels more."""
    value = loads(begin * 200 + b"1" + (b"}" if begin.startswith(b"{") else b"]") * 200)
    for _ in range(50):
        value = [value]

    assert orjson.loads(orjson.dumps(value)) == value
