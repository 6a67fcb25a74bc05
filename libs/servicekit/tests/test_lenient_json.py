"""One bad character costs no document; what is no JSON stays none."""

from __future__ import annotations

import json
from typing import Any

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
    ],
)
def test_what_cannot_be_used_is_replaced(data: bytes, expected: Any) -> None:
    """Lone surrogates, NUL, bytes that are no UTF-8, control characters, NaN."""
    assert expected == loads(data)


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": "\\ud800', b"{not json}", b"[" * 100_000, b'["\\u0000", ' + b"9" * 5000]
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
