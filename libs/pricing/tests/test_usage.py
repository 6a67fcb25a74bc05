"""Token counts: unknown is not zero, on the wire and off it; what is not counted is estimated from its size."""

from __future__ import annotations

from typing import Any

import pytest

from pricing.usage import Usage, estimate_input_tokens, estimate_tokens
from spillway.router.v1 import router_pb2 as routerpb


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(0, 0, 0, 0, 0), Usage(12, 8), Usage(12, None, 0), Usage(10**12, 1, 2, 3, 4)],
)
def test_usage_survives_the_wire(usage: Usage) -> None:
    """Also the difference between a count of zero and a count that nobody gave."""
    assert usage == Usage.from_proto(routerpb.Usage.FromString(usage.to_proto().SerializeToString()))


def test_a_count_that_is_absent_is_none_and_one_of_zero_is_zero() -> None:
    """A provider that says nothing of its cache has not said that it read nothing."""
    usage = Usage.from_proto(routerpb.Usage(input_tokens=0))

    assert 0 == usage.input_tokens
    assert usage.output_tokens is None
    assert not Usage().to_proto().HasField("input_tokens")
    assert Usage(0).to_proto().HasField("input_tokens")


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
