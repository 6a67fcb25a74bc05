"""What a provider says is made fit for the record of an attempt."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from llm_router.chain.recordable import MAX_TOKENS, recordable_status, recordable_text, recordable_usage
from llm_router.target import Name
from pricing.usage import FIELDS, TEXT_FIELDS, Usage


@pytest.mark.parametrize(
    ("said", "recorded"),
    [
        ("gpt-6-luna", "gpt-6-luna"),
        ("modèle 🙂", "modèle 🙂"),
        ("a\0b\nc\x7f", "a�b�c�"),
        ("half \ud800 of it", "half � of it"),
        ("x" * 300, "x" * 256),
        ("🙂" * 300, "🙂" * 256),
        (7, ""),
        (None, ""),
    ],
)
def test_texts(said: Any, recorded: str) -> None:
    """Protobuf takes every one of them, and so does PostgreSQL."""
    assert recorded == recordable_text(said)
    assert isinstance(recordable_text(said).encode(), bytes)


@pytest.mark.parametrize(("said", "recorded"), [(200, 200), (-1, 0), (2**32, 0), ("429", 0), (True, 0), (4.5, 0)])
def test_statuses(said: Any, recorded: int) -> None:
    """What is no HTTP status is none."""
    assert recorded == recordable_status(said)


@pytest.mark.parametrize("count", [-1, MAX_TOKENS + 1, 10**12, 2**63, 1.5, "12", True])
@pytest.mark.parametrize("name", [name for name in FIELDS if name not in TEXT_FIELDS])
def test_a_count_that_cannot_be_one_is_unknown(name: str, count: Any) -> None:
    """The others stay; the attempt has no price, instead of a smaller one."""
    others: dict[str, Any] = {"input_tokens": 5, "output_tokens": 6, "service_tier": "flex\0"}
    recorded = recordable_usage(Usage(**others | {name: count}))
    assert Usage(**others | {name: None, "unpriced_units": name, "service_tier": "flex\ufffd"}) == recorded
    assert recorded.to_proto().unpriced_units == name


def test_usual_counts_stay_the_same_object() -> None:
    """Nothing is copied."""
    usage = Usage(input_tokens=MAX_TOKENS, output_tokens=0)
    assert usage is recordable_usage(usage)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x7f"])
def test_names_of_the_routes_file_have_no_control_characters(name: str) -> None:
    """They are recorded with every request, too."""
    with pytest.raises(ValidationError, match="pattern"):
        TypeAdapter(Name).validate_python(name)
